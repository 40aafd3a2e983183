"""One client in a long-lived application: what one caller does, or suffers, is no other caller's trouble."""

from __future__ import annotations

import asyncio

from support.clients import client_of
from support.fake_service import FakeService
from support.pictures import jpeg


class StalledUpload:
    """An asynchronous file whose bytes are long in coming."""

    def __init__(self, data: bytes) -> None:
        self.goes_on = asyncio.Event()
        self._data = data

    async def read(self) -> bytes:
        await self.goes_on.wait()
        return self._data


async def test_a_photo_that_is_long_in_being_read_holds_no_other_one_back() -> None:
    upload = StalledUpload(jpeg())
    async with FakeService() as service, client_of(service, concurrency=1) as client:
        stalled = asyncio.create_task(client.improve(upload))
        for seed in range(1, 4):
            assert (await client.improve(jpeg(seed=seed), timeout=30)).improved
        upload.goes_on.set()
        assert (await stalled).improved
