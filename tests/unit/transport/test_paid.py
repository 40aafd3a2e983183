"""What counts as paid for, and what is recorded of each request before it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from support.archives import client, fill, outcomes
from support.clients import client_of
from support.fake_service import Answer, FakeService, Respond, drop, envelope, expected, http, until
from support.pictures import jpeg

from smarty_async.errors import AuthorizationError, DiskError, RequestError, StoreError
from smarty_async.hooks import Hooks, ProgressHooks, all_hooks
from smarty_async.options import ModeSpec
from smarty_async.progress import Progress
from smarty_async.results import Kind
from smarty_async.transport.body import Body, MemoryBody
from smarty_async.transport.item import BatchGroup, Item, Submitter
from smarty_async.transport.request import was_refused
from smarty_async.transport.response import MemoryFile, MemorySink

NAMES = ("a.jpg", "b.jpg", "c.jpg")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (None, False),
        (200, False),
        (302, True),
        (400, True),
        (401, True),
        (403, True),
        (404, True),
        (408, False),
        (413, True),
        (429, True),
        (499, False),
        (500, False),
        (502, False),
        (503, False),
    ],
)
def test_only_a_request_refused_before_any_work_is_not_paid(status: int | None, *, refused: bool) -> None:
    assert was_refused(RequestError("no", status=status)) is refused


class TestCounters:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("first", "sent", "paid"),
        [
            pytest.param(http(429), 6, 3, id="throttled"),
            pytest.param(envelope(429, "later"), 6, 3, id="throttled in the envelope"),
            pytest.param(http(500), 6, 6, id="failed"),
            pytest.param(drop(), 6, 6, id="lost"),
            pytest.param(http(413), 6, 3, id="too large"),
            pytest.param(envelope(400, "empty image"), 6, 3, id="refused"),
            pytest.param(envelope(503, "busy"), 6, 6, id="unavailable"),
        ],
    )
    async def test_images_sent_and_images_paid_are_counted_apart(
        self, source: Path, out: Path, first: Respond, sent: int, paid: int
    ) -> None:
        photos = fill(source, *NAMES)
        async with FakeService() as service, client(service, concurrency=1) as c:
            service.script(first)
            run = c.improve_archive(source, out=out)
            assert outcomes([result async for result in run]) == dict.fromkeys(photos, "restored")
        assert (run.progress.images, run.progress.images_paid) == (sent, paid)
        assert run.progress.cost == pytest.approx(paid * 0.06)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refused_token_costs_nothing(self, source: Path, out: Path, status: int) -> None:
        fill(source, *NAMES)
        async with FakeService() as service, client(service, concurrency=1) as c:
            service.default = lambda _: envelope(status, "authorization failed")
            run = c.improve_archive(source, out=out)
            with pytest.raises(AuthorizationError):
                assert [result async for result in run] == []
        assert (run.progress.images, run.progress.images_paid) == (3, 0)

    async def test_a_refused_request_does_not_use_up_the_budget(self, source: Path, out: Path) -> None:
        photos = fill(source, *NAMES)
        async with FakeService() as service, client(service, concurrency=1) as c:
            service.script(http(429), http(413))
            run = c.improve_archive(source, out=out, max_cost=0.18)  # three images
            assert outcomes([result async for result in run]) == dict.fromkeys(photos, "restored")


class RecordedLog:
    """A request log in memory."""

    def __init__(self) -> None:
        self.started_requests: list[tuple[int, int]] = []
        self.ends: list[tuple[int, str]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def check_disk_space(self, size: int) -> None:
        """There is enough."""

    async def started(self, *, images: int, size: int) -> int:
        self.started_requests.append((images, size))
        await self.go.wait()
        return len(self.started_requests)

    def finished(self, number: int, *, state: Literal["answered", "refused"]) -> None:
        self.ends.append((number, state))


def group_of(log: RecordedLog, *hooks: Hooks) -> BatchGroup:
    submitter = Submitter(MemorySink(), all_hooks(hooks))
    submitter.request_log = log
    return BatchGroup((ModeSpec("improve"),), submitter)


class TestRequestLog:
    @staticmethod
    async def submit(
        service: FakeService, *answers: Answer, log: RecordedLog, bodies: int = 1
    ) -> list[dict[Kind, bytes]]:
        group = group_of(log)
        async with client_of(service, concurrency=1) as c:
            service.script(*answers)
            dispatcher = c._open_dispatcher()
            images: list[Body] = [MemoryBody(jpeg(16, 12, seed=seed), "image/jpeg") for seed in range(bodies)]
            items = [Item(image, group) for image in images]
            await asyncio.gather(*map(dispatcher.submit, items))
        received = [item.take("improve") for item in items]
        return [
            {kind: file.data for kind, file in answer.files.items() if isinstance(file, MemoryFile)}
            for answer in received
            if answer is not None
        ]

    async def test_a_request_is_recorded_before_a_byte_of_its_body_is_sent(self) -> None:
        log = RecordedLog()
        log.go.clear()
        async with FakeService() as service:
            sending = asyncio.create_task(self.submit(service, log=log, bodies=3))
            await until(lambda: bool(log.started_requests))
            await asyncio.sleep(0.02)
            assert not service.requests
            log.go.set()
            await sending
            assert log.started_requests == [(3, service.requests[0].content_length)]
        assert log.ends == [(1, "answered")]

    @pytest.mark.parametrize(
        ("answer", "ends"),
        [(http(429), [(1, "refused"), (2, "answered")]), (http(500), [(2, "answered")]), (drop(), [(2, "answered")])],
    )
    async def test_a_request_without_a_good_end_is_refused_or_stays_open(
        self, answer: Answer, ends: list[tuple[int, str]]
    ) -> None:
        log = RecordedLog()
        async with FakeService() as service:
            (outputs,) = await self.submit(service, answer, log=log)
        assert outputs["improved"] == expected("improved", jpeg(16, 12))
        assert log.ends == ends

    async def test_an_upload_that_the_store_of_an_image_breaks_off_is_refused(self) -> None:
        class Torn(MemoryBody):
            read_whole = None  # type: ignore[assignment]

            async def read(self) -> AsyncIterator[bytes]:
                yield b"a"
                raise StoreError("the store does not answer", 503)

        log, progress = RecordedLog(), Progress()
        group = group_of(log, ProgressHooks(progress))
        group.submitter.budget.limit(1)
        async with FakeService() as service, client_of(service) as c:
            with pytest.raises(StoreError, match="does not answer"):
                await c._open_dispatcher().submit(Item(Torn(jpeg(), "image/jpeg"), group))
            assert not service.requests
        assert log.ends == [(1, "refused")]
        assert (progress.images, progress.images_paid) == (1, 0)
        assert not group.submitter.budget.empty

    async def test_a_connection_that_is_not_established_is_not_recorded(self) -> None:
        log, progress = RecordedLog(), Progress()
        group = group_of(log, ProgressHooks(progress))
        async with FakeService() as service, client_of(service, base_url="http://127.0.0.1:9") as c:
            asking = asyncio.create_task(c._open_dispatcher().submit(Item(MemoryBody(jpeg(), "image/jpeg"), group)))
            await until(lambda: progress.retries > 3)
            asking.cancel()
        assert not log.started_requests
        assert (progress.images, progress.images_paid) == (0, 0)

    async def test_a_log_that_cannot_write_stops_the_request_before_it_costs_anything(self) -> None:
        class Full(RecordedLog):
            async def started(self, *, images: int, size: int) -> int:
                del images, size
                raise DiskError("no space left")

        async with FakeService() as service:
            with pytest.raises(DiskError, match="no space left"):
                await self.submit(service, log=Full())
            assert not service.requests
