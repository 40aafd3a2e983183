"""Items, budgets and requests in the rarer cases: an outage, a lost connection, a partly answered item."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from support.archives import assert_right, at_once, client, fill, outcomes, sent
from support.fake_service import FakeService, http
from support.pictures import jpeg

from smarty_async.errors import ServiceUnavailable
from smarty_async.hooks import all_hooks
from smarty_async.options import Limits, ModeSpec, Retries, Timeouts
from smarty_async.transport.body import MemoryBody
from smarty_async.transport.connection import _arriving
from smarty_async.transport.item import BatchGroup, ImageBudget, Item, Submitter
from smarty_async.transport.response import MemoryFile, MemorySink, ReceivedItem
from smarty_async.wire.messages import Answered, Blob

PATIENT = Retries(first_wait=0, longest_wait=0, give_up_after=900, give_up_before_first=900)


class TestAnOutage:
    @pytest.mark.slow
    async def test_one_photo_at_a_time_probes_whether_the_service_is_back(self, source: Path, out: Path) -> None:
        photos = fill(source, *(f"{number}.jpg" for number in range(48)))
        notices: list[str] = []

        async def sleep(seconds: float) -> None:
            notices.append(run.progress.status_message or "")
            await at_once(seconds)

        limits = Limits(max_images=12)
        async with (
            FakeService() as service,
            client(service, concurrency=4, limits=limits, retries=PATIENT, sleep=sleep) as c,
        ):
            service.script(*[http(500)] * 40)
            run = c.improve_archive(source, out=out)
            assert outcomes([result async for result in run]) == dict.fromkeys(photos, "restored")
            carried = [len(request.images) for request in service.requests]
        assert carried[:4] == [12] * 4
        assert carried[8:40] == [1] * 32, "it is asked as little as can be"
        assert len(set(sent(service)[-60:])) > 1, "and each time with another photo: one may be what it dies of"
        assert any("the service has been down for" in status_message for status_message in notices)
        assert_right(out, photos)

    async def test_the_status_message_ends_with_the_outage(self, source: Path, out: Path) -> None:
        fill(source, "a.jpg")
        async with FakeService() as service, client(service, retries=PATIENT) as c:
            service.script(http(500))
            run = c.improve_archive(source, out=out)
            results = aiter(run)
            await anext(results)
            assert run.progress.status_message is None
            assert run.progress.retries == 1
            await run.aclose()


def test_the_budget_takes_back_what_was_not_sent_until_it_is_closed() -> None:
    budget = ImageBudget(5)
    assert (budget.take(3), budget.take(3)) == (3, 2)
    budget.give_back(2)
    assert not budget.empty
    budget.close()
    budget.give_back(3)
    assert budget.empty
    endless = ImageBudget()
    endless.give_back(1)
    assert endless.take(1000) == 1000


@contextmanager
def deaf() -> Iterator[str]:
    """An address that takes no connection and refuses none: there is no room for another."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as waiting:
        for _ in range(4):
            caller = waiting.enter_context(socket.socket())
            caller.settimeout(0)
            caller.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse instead")
async def test_a_connection_that_does_not_open_is_given_up_on_and_costs_nothing(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    hasty = Retries(first_wait=0, longest_wait=0, give_up_after=0.1, give_up_before_first=0.1)
    timeouts = Timeouts(connect=0.05, silence=600)
    with deaf() as url:
        async with FakeService() as service, client(service, base_url=url, retries=hasty, timeouts=timeouts) as c:
            run = c.improve_archive(source, out=out)
            with pytest.raises(ServiceUnavailable, match="no answer in time"):
                assert [result async for result in run] == []
            assert (run.progress.requests, run.progress.images) == (0, 0)


@pytest.mark.parametrize("joined", [True, False])
async def test_data_received_before_the_connection_was_lost_is_read(*, joined: bool) -> None:
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    content.feed_data(b"the first item, ")
    content.feed_data(b"and half of the next")
    content.set_exception(aiohttp.ClientPayloadError("lost"))
    came = b""
    with pytest.raises(aiohttp.ClientPayloadError, match="lost"):  # noqa: PT012 - it comes after the data
        async for data in _arriving(content, joined=joined):
            came += data
    assert came == b"the first item, and half of the next"


async def test_an_item_hands_over_what_it_has_received_once() -> None:
    both = (ModeSpec("improve"), ModeSpec("resolution", 2, "photo"))
    item = Item(MemoryBody(jpeg(), "image/jpeg"), BatchGroup(both, Submitter(MemorySink(), all_hooks(()))))
    output = MemoryFile()
    output.append([b"\xff\xd8\xff"])
    answered = Answered("improve", "file_0", 0, blobs={"improved": Blob(0, 3, b"\xff\xd8\xff")})
    assert item.receive(ReceivedItem(answered, {"improved": output}))
    assert not item.done
    received = item.take("improve")
    assert received is not None
    assert received.files == {"improved": output}
    assert item.take("improve") is None
    assert item.take("resolution") is None


async def test_chunks_are_filled_while_the_number_of_items_to_come_is_unknown() -> None:
    async with FakeService() as service, client(service, concurrency=4, limits=Limits(max_images=3)) as c:
        assert c._dispatcher is not None
        with c._dispatcher.announce_unknown(c._submitter):
            await asyncio.gather(*(c.improve(jpeg(seed=seed)) for seed in range(4)))
        assert sorted(len(request.images) for request in service.requests) == [1, 3]
        await asyncio.gather(*(c.improve(jpeg(seed=seed)) for seed in range(4)))
        assert [len(request.images) for request in service.requests[2:]] == [1] * 4
