"""Writes the reference pages from the code: the command line's help, and every public name."""

from __future__ import annotations

import mkdocs_gen_files
from typer.main import get_command

import smarty_async
from smarty_async.cli import app

with mkdocs_gen_files.open("reference/command-line.md", "w") as page:
    group = get_command(app)
    page.write("# Command line\n\nGenerated from the program's own help.\n")
    for name, command in sorted(group.commands.items()):
        context = command.make_context(name, [], resilient_parsing=True)
        context.info_name = f"smarty-async {name}"
        page.write(f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n")

with mkdocs_gen_files.open("reference/library.md", "w") as page:
    page.write("# Library\n\nEverything that `smarty_async` exports.\n")
    for name in smarty_async.__all__:
        page.write(f"\n::: smarty_async.{name}\n")
