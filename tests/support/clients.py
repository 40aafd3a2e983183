"""A client that waits for nothing, for tests against the fake service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from smarty_async.client import SmartyClient
from smarty_async.options import Retries, Timeouts
from support.fake_service import FakeService
from support.pictures import heavy, jpeg

TOKEN = "s3cr/et+тok en="
"""Every encoder writes it in its own way."""


def retries(**changes: Any) -> Retries:
    """Waits too short to notice, attempts few."""
    quick: dict[str, Any] = {
        "max_attempts": 4,
        "first_wait": 0.001,
        "longest_wait": 0.002,
        "longest_retry_after": 0.002,
    }
    return Retries(**quick | changes)


def hasty() -> Retries:
    """Gives the service up almost at once."""
    return retries(give_up_after=0.02, give_up_before_first=0.02)


async def no_wait(_: float) -> None:
    """The next turn of the loop is soon enough."""
    await asyncio.sleep(0)


def client_of(service: FakeService, **options: Any) -> SmartyClient:
    """A client of `service`."""
    given: dict[str, Any] = {
        "token": TOKEN,
        "base_url": service.url,
        "retries": retries(),
        "sleep": no_wait,
        "timeouts": Timeouts(connect=5, silence=20),
    }
    if "credentials" in options:
        del given["token"]
    return SmartyClient(**given | options)


def photos(folder: Path, count: int, *, size: int | None = None) -> Path:
    """A folder with `count` photos, no two the same, `a000.jpg` and on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"a{number:03}.jpg"
        if not path.exists():
            path.write_bytes(jpeg(16, 12, seed=number) if size is None else heavy(size, seed=number))
    return folder
