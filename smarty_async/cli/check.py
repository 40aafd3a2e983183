"""``smarty-async check``: whether photos could be sent. `cli.check_run` finds out."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from smarty_async.cli.errors import error_boundary
from smarty_async.cli.output import Output

__all__ = ["check"]


def check(
    *,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another address of the service. [env: SMARTY_BASE_URL]")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="The token's provider, mcs or mr. [env: SMARTY_PROVIDER]")
    ] = None,
    path: Annotated[str, typer.Option(metavar="PATH", help="The path of the service's method.")] = (
        "/api/v1/photo/improve"
    ),
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait for each answer.")
    ] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print tracebacks of unexpected errors.")] = False,
) -> None:
    """Check the account and the connection to the service, without sending a photo.

    Checks the token, the proxy, the certificates and the clock with one request that costs nothing. Exit status: 0
    all is well, 2 an option or an address is not written as it must be, 3 the account or the address is wrong, 4 the
    service or the authorization server cannot be reached or has trouble.
    """
    with error_boundary(verbose=verbose) as secrets:
        # Only here: help needs none of it.
        import asyncio  # noqa: PLC0415

        from smarty_async.account import read_account  # noqa: PLC0415
        from smarty_async.cli.check_run import Connectivity, check_connection, check_lines  # noqa: PLC0415

        account = read_account(os.environ, base_url=base_url, provider=provider)
        secrets.extend(account.secrets)
        output = Output()

        def report(found: Connectivity) -> None:
            if as_json:
                output.struct(found)
            else:
                output.lines(check_lines(found))

        asyncio.run(check_connection(account, path=path, seconds=timeout, report=report))
