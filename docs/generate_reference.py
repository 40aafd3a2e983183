"""Writes the reference pages from the code, so that they cannot differ from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import mkdocs_gen_files
from typer.core import TyperOption
from typer.main import get_command

import smarty_async
from smarty_async import results, testing
from smarty_async.cli import app
from smarty_async.cli.command import CONFIG_FILE, option_key
from smarty_async.cli.errors import Exit
from smarty_async.report import wording

EXIT_STATUSES = {
    Exit.FINE: "Every photo came to a good end. Files that are not photos were left alone.",
    Exit.PHOTOS_FAILED: "The run is finished; some photos failed or were rejected. The last lines say which and why.",
    Exit.USAGE: "The command was not understood, its options do not go together, or it found no files.",
    Exit.CONFIGURATION: "Nothing can be sent: configuration, authorization, or another run in the same folder.",
    Exit.UNAVAILABLE: "The service, or the cluster, was given up on. Run the same command again later.",
    Exit.DISK: "The disk, or the store, refused: full, read-only, or its names cannot be written.",
    Exit.SPEND_LIMIT: "A spend limit was reached, and photos are left.",
    Exit.INTERRUPTED: "Interrupted, and photos are left. The same command continues.",
}

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined] # the program is a group


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    columns = list(head)
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def write(name: str, *parts: str | Iterable[str]) -> None:
    """Write the page `name`; each part is a paragraph, or the lines of one."""
    with mkdocs_gen_files.open(f"reference/{name}.md", "w") as page:
        for part in parts:
            page.write((part if isinstance(part, str) else "\n".join(part)) + "\n\n")


def help_of(name: str, command: Any) -> str:
    """The help of one command, as the terminal shows it."""
    context = command.make_context(name, [], resilient_parsing=True)
    context.info_name = f"smarty-async {name}"
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```"


def settings_of(name: str, command: Any) -> Iterator[str]:
    """One row for each option of a command: the option, its key in the file and its variable."""
    options = [option for option in command.params if isinstance(option, TyperOption) and not option.hidden]
    yield f"## {name}\n"
    yield from table(
        ("option", f"key in `{CONFIG_FILE}`", "environment"),
        (
            (f"`{option.opts[0]}`", f"`{option_key(option).replace('_', '-')}`", f"`{variable_of(option)}`")
            for option in options
            if option.name != "help"
        ),
    )


def variable_of(option: TyperOption) -> str:
    """The environment variable that sets an option."""
    name = option.envvar if isinstance(option.envvar, str) else None
    return name or f"SMARTY_{option_key(option).upper()}"


def public_names(module: Any, *, prefix: str) -> Iterator[str]:
    """What mkdocstrings replaces with the documentation of each public name."""
    return (f"::: {prefix}.{name}\n" for name in module.__all__)


write(
    "command-line",
    "# Command line",
    "Generated from the program's own help. `smarty-async` and `python -m smarty_async` are the same.",
    *(help_of(name, command) for name, command in COMMANDS.items() if not command.hidden),
    "## Exit statuses",
    table(("status", "means"), ((str(int(status)), EXIT_STATUSES[status]) for status in Exit)),
)

write(
    "configuration",
    "# Config file and environment",
    "Generated from the program's options. The command line comes first, then the environment, then the config file.",
    f"The file is `{CONFIG_FILE}` in the working folder, or the one that `--config` or `SMARTY_CONFIG` names. It is "
    "TOML. A key at the top is for every command that has the option; a key in a table such as `[improve]` is for that "
    "command alone. A list stands for an option that can be repeated; in the environment, spaces separate its values. "
    "An unknown key and a secret are errors.",
    '```toml\nmax-cost-total = 500\n\n[improve]\nmode = ["improve", "resolution"]\nrfactor = 2\nchain = true\n'
    'exclude = ["*-edited.jpg"]\n```',
    "## The account",
    "No option and no config file takes a secret.",
    table(
        ("variable", "holds"),
        (
            ("`SMARTY_TOKEN`", "a service token"),
            ("`SMARTY_TOKEN_FILE`", "instead of it, the path of a file that holds the token"),
            ("`SMARTY_CLIENT_ID`, `SMARTY_CLIENT_SECRET`", "instead of it, OAuth client credentials"),
            ("`SMARTY_AUTH_URL`", "the address that gives tokens for them"),
            ("`SMARTY_BASE_URL`", "another address of the service"),
            ("`SMARTY_PROVIDER`", "the token's provider: `mcs`, or the older `mr`"),
            ("`HTTPS_PROXY`, `NO_PROXY`", "the proxy, and the hosts that are reached without it"),
            ("`SSL_CERT_FILE`, `SSL_CERT_DIR`", "the certificates of a private authority"),
        ),
    ),
    *(settings_of(name, command) for name, command in COMMANDS.items() if not command.hidden),
)

write(
    "results",
    "# Results",
    "`results.jsonl` in the output folder has one line of JSON for each photo. `improve --json` prints the same lines "
    'on stdout, followed by one line `{"summary": {…}}`. Fields may be added; none is removed.',
    '```json\n{"photo": "album/p1.jpg", "source": "/home/me/scans", "outcome": "restored",\n'
    ' "outputs": {"improved": "improved/album/p1.jpg"}, "bw": false, "attempts": 1, "error": null,\n'
    ' "page": 1, "warnings": []}\n```',
    "::: smarty_async.results.Result\n    options:\n      heading_level: 2\n      members: false",
    "::: smarty_async.results.Outcome\n    options:\n      heading_level: 2",
    "::: smarty_async.results.Kind\n    options:\n      heading_level: 2",
    "## Error types",
    "`error.type` is one of these words. `error.message` is for people and may change.",
    table(
        ("type", "what to do"),
        (
            *((f"`{kind}`", "The message says it.") for kind in sorted(wording._SAID)),  # noqa: SLF001 - the table itself
            *((f"`{kind}`", f"{text[0].upper()}{text[1:]}.") for kind, text in wording._ADVICE.items()),  # noqa: SLF001 - likewise
            ("`internal`", "This is a bug of the program: please report it."),
        ),
    ),
)

write(
    "library",
    "# Library",
    f"Everything that `smarty_async` exports. The words for outputs, best first: {', '.join(results.BEST_FIRST)}.",
    *public_names(smarty_async, prefix="smarty_async"),
    "## Archive options",
    "The keywords of `SmartyClient.improve_archive` and `plan_archive`.",
    "::: smarty_async.options.ArchiveOptions",
    "## smarty_async.testing",
    *public_names(testing, prefix="smarty_async.testing"),
)
