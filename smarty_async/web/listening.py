"""Listening on an address: for the service, the page and the metrics alike."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from smarty_async.errors import ConfigurationError

__all__ = ["listen", "listening_errors", "url_host"]

_ON_THIS_MACHINE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not chosen
"""For hosts that mean every address, which cannot be connected to. asyncio listens on ``::`` for IPv6 alone."""


_ASYNCIO: Final = re.compile(r"error while attempting to bind on address \(.*?\): (\[errno \d+\] )?", re.IGNORECASE)
"""What asyncio puts before the system's words: the address once more, as Python writes it."""


async def listen(runner: web.AppRunner, *, host: str, port: int, choose: str) -> int:
    """Listen on the address; the port, which for 0 is a free one.

    Args:
        runner: what serves; it is set up.
        host: the address, or a name with several.
        port: the port; 0 picks a free one.
        choose: the options with which the user chooses another address.

    Raises:
        ConfigurationError: it is not possible.
    """
    with listening_errors(f"{host}:{port}", choose=choose):
        await web.TCPSite(runner, host, port).start()
    # The shortest is of IPv4: a host with both has two free ports.
    address: tuple[str, int] = min(runner.addresses, key=len)
    return address[1]


@contextmanager
def listening_errors(what: str, *, choose: str) -> Generator[None]:
    """Raise ConfigurationError for what the system says in the block to listening on `what`."""
    try:
        yield
    except (OSError, OverflowError) as error:
        reason = _ASYNCIO.sub("", getattr(error, "strerror", None) or str(error))
        raise ConfigurationError(f"cannot listen on {what}: {reason}; choose another {choose}") from error


def url_host(host: str) -> str:
    """Where a client on this machine reaches a server that listens on `host`, as it stands in a URL."""
    address = _ON_THIS_MACHINE.get(host, host)
    return f"[{address}]" if ":" in address else address
