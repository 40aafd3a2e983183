"""The documents name only tests, commands, constants, options and files that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Set as AbstractSet
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from smarty_async.archive.journal.schema import VERSION
from smarty_async.cli import app
from smarty_async.progress import Progress

ROOT = Path(__file__).parents[1]
PROOF = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
GENERATOR = (ROOT / "docs" / "generate_reference.py").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PROOF)))
BOUNDS = sorted(set(re.findall(r"`(_?[A-Z_]+)` in `([\w/]+\.py)`", PROOF)))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LINKS = [
    (document, target)
    for document in DOCUMENTS
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
]
MODULES = [
    path
    for folder in ("smarty_async", "tests", "benchmarks", "training", "examples", "docs")
    for path in (ROOT / folder).rglob("*.py")
]
PROGRAM = get_command(app)
OPTIONS = {
    name
    for command in (PROGRAM, *PROGRAM.commands.values())  # type: ignore[attr-defined] # the program is a group
    for option in command.params
    for name in (*option.opts, *option.secondary_opts)
} | {"--help"}
OPTIONS_OF_OTHERS = {
    *("--group", "--schedules", "--seed", "--call", "--kind", "--sources", "--work"),  # pip, tests, training
    *("--nthreads", "--no-nanny", "--no-dashboard", "--protocol", "--scale", "--detach"),  # dask, docker compose
    *("--build-arg", "--endpoint-url"),  # docker, aws
    *("--now", "--rm", "--stop-timeout", "--user"),  # docker, systemctl
    *("--pack", "--nets", "--start", "--minutes", "--weights", "--net", "--seconds", "--file"),  # training, benchmarks
    *("--side", "--batch", "--before", "--after", "--share", "--calls", "--some", "--pieces"),  # likewise
}
"""Options that are not this program's."""


def test_every_test_that_is_named_is_there() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    assert [named for named in NAMED if not re.search(rf"def {named[1]}\b", texts.get(named[0], ""))] == []


def test_every_row_of_a_promise_names_a_test() -> None:
    tables = PROOF.split("| promise | how | test |\n|---|---|---|\n")[1:]
    rows = [row for table in tables for row in table.partition("\n\n")[0].splitlines()]
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row.rpartition(" | ")[2]] == []


def test_every_bound_that_is_named_is_there() -> None:
    for bound, file in BOUNDS:
        text = (ROOT / "smarty_async" / file).read_text(encoding="utf-8")
        assert re.search(rf"^{bound}\b.* = ", text, re.MULTILINE), (bound, file)


def test_every_environment_that_is_named_is_there() -> None:
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for environment in set(re.findall(r"tox -e ([\w-]+)", PROOF)):
        assert f"[testenv:{environment}]" in tox


def test_every_link_leads_somewhere() -> None:
    for document, target in LINKS:
        path = (document.parent / target).resolve()
        generated = path.parent == ROOT / "docs" / "reference"
        assert f'"{path.stem}",' in GENERATOR if generated else path.exists(), (document, target)


def test_every_option_that_is_named_is_there() -> None:
    assert unknown(r"(?<![\w-])(--[a-z][a-z-]*[a-z])", OPTIONS | OPTIONS_OF_OTHERS) == []


def unknown(pattern: str, known: AbstractSet[str]) -> list[str]:
    """What the documents name by `pattern` and is not in `known`."""
    return [
        f"{document.relative_to(ROOT)}: {name}"
        for document in DOCUMENTS
        for name in re.findall(pattern, document.read_text(encoding="utf-8"))
        if name not in known
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_python_example_compiles_and_imports_what_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        tree = compile(block, document.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smarty_async"):
                module = import_module(node.module or "")
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_every_former_name_that_is_listed_is_deprecated() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    for former, name in re.findall(r"^\| `Progress\.(\w+)` \| `Progress\.(\w+)` \|", text, re.MULTILINE):
        with pytest.warns(DeprecationWarning, match=name):
            getattr(Progress(), former)


def test_the_journal_s_version_is_the_last_that_is_listed() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    versions = [int(number) for number in re.findall(r"^\| (\d+) \| ", text, re.MULTILINE)]
    assert versions == list(range(1, VERSION + 1))


def test_every_type_of_error_with_advice_is_listed() -> None:
    text = (ROOT / "docs" / "how-to" / "formats.md").read_text(encoding="utf-8")
    source = (ROOT / "smarty_async" / "report" / "wording.py").read_text(encoding="utf-8")
    types = {*re.findall(r'^    "(\w+)": ', source, re.MULTILINE), "truncated", "damaged", "raw", "heic", "internal"}
    assert len(types) > 20
    assert sorted(kind for kind in types if f"`{kind}`" not in text) == []


def test_every_module_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    [drawn] = [part for part in text.split("```")[1::2] if part.lstrip().startswith("cli/")]
    named = {*re.findall(r"\w+", drawn), "__init__", "__main__"}
    modules = [path for path in (ROOT / "smarty_async").rglob("*.py") if path.parent.name != "cli"]
    assert modules
    assert sorted(str(path) for path in modules if path.stem not in named) == []


def test_every_module_that_is_named_is_there() -> None:
    known = {"/".join(parts[at:]) for parts in (path.parts for path in MODULES) for at in range(len(parts))}
    assert unknown(r"`([\w/]+\.py)`", known) == []


def test_every_command_that_is_named_is_there() -> None:
    known = set(PROGRAM.commands)  # type: ignore[attr-defined] # a group
    assert unknown(r"\bsmarty-async (?:--config \S+ )?([a-z]+)\b", known) == []
