"""``smarty-async bench``: what can be chosen. `cli.sweep` does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import Exit, error_boundary
from smarty_async.cli.output import say
from smarty_async.errors import OptionsError

__all__ = ["bench"]


def bench(
    *,
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Folders, photos, or patterns.", show_default=False),
    ],
    concurrency: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Requests open at once (repeatable). [default: 1, 2, 4, 8]", show_default=False),
    ] = None,
    chunk: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Photos in one request (repeatable). [default: 1, 8, 48]", show_default=False),
    ] = None,
    photos: Annotated[int, typer.Option(metavar="N", min=1, help="Photos sent with each setting, at most.")] = 96,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The service to measure. [default: the embedded one, which echoes]"),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="The token's provider, mcs or mr. [env: SMARTY_PROVIDER]")
    ] = None,
    path: Annotated[str, typer.Option(metavar="PATH", help="The method's path.")] = "/api/v1/photo/improve",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending photos that are paid for.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write bench.json and bench.svg into it.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line a setting on stdout, and the advice last.")
    ] = False,
) -> None:
    """Measure an endpoint: the same photos with every setting, and which one to take.

    What comes back is thrown away. Without --base-url it is the embedded service that is measured, for nothing; it
    sends the photos back, so that the way there and back is what takes the time.
    """
    with error_boundary(verbose=False) as hidden:
        concurrencies, chunks = tuple(concurrency or (1, 2, 4, 8)), tuple(chunk or (1, 8, 48))
        if min(*concurrencies, *chunks, 1) < 1:
            raise OptionsError("--concurrency and --chunk must be at least 1")

        # Only here: help, and a slip in the options, need none of it.
        import asyncio  # noqa: PLC0415

        from smarty_async.cli.account import read_account  # noqa: PLC0415
        from smarty_async.cli.bench_run import Load, sweep  # noqa: PLC0415

        account = read_account(os.environ, base_url=base_url, provider=provider, local=base_url is None)
        hidden.extend(account.secrets)
        load = Load(
            account=account,
            path=path,
            sources=tuple(sources),
            photos=photos,
            concurrencies=concurrencies,
            chunks=chunks,
            out=out,
            json=as_json,
        )
        if not (account.local or yes or _agreed(load.price_line())):
            say("Nothing was sent.")
            raise typer.Exit(Exit.INTERRUPTED)
        failed = asyncio.run(sweep(load))
    if failed:
        raise typer.Exit(Exit.PHOTOS_FAILED)


def _agreed(question: str) -> bool:
    """What the person at the terminal says to `question`.

    Raises:
        OptionsError: there is nobody.
    """
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # after the question
        raise OptionsError("there is nobody here to ask: give --yes to send them unasked") from None
