"""``smarty-async bench``: its options. `cli.bench_run` does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import Exit, error_boundary
from smarty_async.cli.output import Output, say
from smarty_async.errors import OptionsError

__all__ = ["bench"]


def bench(
    *,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, photos or patterns; or, to compare two reports: compare A.json B.json.",
            show_default=False,
        ),
    ],
    concurrency: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Requests open at once (repeatable). [default: 1, 2, 4, 8]", show_default=False),
    ] = None,
    chunk: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Photos in one request (repeatable). [default: 1, 8, 48]", show_default=False),
    ] = None,
    photos: Annotated[int, typer.Option(metavar="N", min=1, help="Photos sent in each run, at most.")] = 96,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs with each setting; from 3 on there is advice.")
    ] = 3,
    label: Annotated[str, typer.Option(metavar="TEXT", help="A name for the measurement, in the report.")] = "",
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The service to measure. [default: the embedded one, which echoes]"),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="The token's provider, mcs or mr. [env: SMARTY_PROVIDER]")
    ] = None,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="The path of the service's method.")
    ] = "/api/v1/photo/improve",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending photos that are paid for.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the report bench.json into this folder, with every sample.", show_default=False
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line per setting on stdout, and the advice last.")
    ] = False,
) -> None:
    """Measure how fast an endpoint is, and find the setting that suits it.

    The same photos are sent with every setting, several times in turn, and the results are thrown away. Without
    --base-url the embedded service is measured, for free; it sends the photos back unchanged, so that only the
    transfer takes time.
    """
    with error_boundary(verbose=False) as hidden:
        concurrencies, chunks = tuple(concurrency or (1, 2, 4, 8)), tuple(chunk or (1, 8, 48))
        if sources[0] == Path("compare") and not sources[0].exists():
            if as_json:
                raise OptionsError("bench compare prints a table only: leave out --json")
            _compare(sources[1:])
            return
        if min(*concurrencies, *chunks, 1) < 1:
            raise OptionsError("--concurrency and --chunk must be at least 1")

        # Only here: help, and a slip in the options, need none of it.
        import asyncio  # noqa: PLC0415

        from smarty_async.account import read_account  # noqa: PLC0415
        from smarty_async.cli.bench_run import Load, measure  # noqa: PLC0415

        account = read_account(os.environ, base_url=base_url, provider=provider, local=base_url is None)
        hidden.extend(account.secrets)
        load = Load(
            account=account,
            path=path,
            sources=tuple(sources),
            photos=photos,
            concurrencies=concurrencies,
            chunks=chunks,
            repeats=repeats,
            label=label,
            out=out,
            json=as_json,
        )
        if not (account.local or yes or _agreed(load.price_line())):
            say("Nothing was sent.")
            raise typer.Exit(Exit.INTERRUPTED)
        failed = asyncio.run(measure(load))
    if failed:
        raise typer.Exit(Exit.PHOTOS_FAILED)


def _compare(reports: list[Path]) -> None:
    from smarty_async.cli.bench_report import compare_lines, read_report  # noqa: PLC0415 - help is quick

    if len(reports) != 2:  # noqa: PLR2004 - a comparison is of two
        raise OptionsError("bench compare takes two reports: bench compare A.json B.json")
    before, after = map(read_report, reports)
    Output().lines(compare_lines(before, after))


def _agreed(question: str) -> bool:
    """Ask the person at the terminal.

    Raises:
        OptionsError: there is none.
    """
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # after the question
        raise OptionsError("nobody can answer here: add --yes to send the photos without being asked") from None
