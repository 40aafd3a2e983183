"""One chunk on a worker: it is sent once, its errors are data, and its token is not seen."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
from support.damaged_json import DAMAGED
from support.fake_service import FakeService, drop, hold, late, ok, part, until
from support.pictures import jpeg

from smarty_async import AuthorizationError, ConfigurationError, NotTheService, RequestError, RequestRefused
from smarty_async.archive.entries import StoredOutput
from smarty_async.archive.outputs.temp_file import output_digest
from smarty_async.cluster.chunk_log import ChunkLog, ChunkUnwanted, LogFile
from smarty_async.cluster.messages import ChunkEnd, ChunkJob, ChunkReport, Failure, FinishedItem, Secret, ServiceAddress
from smarty_async.cluster.storage import FolderStorage
from smarty_async.cluster.worker import DrainPlugin, send_chunk
from smarty_async.errors import DiskError, PhotoRejected, StoreError
from smarty_async.options import ModeSpec, Timeouts
from smarty_async.results import Kind
from smarty_async.transport.body import BodyFailed, MemoryBody
from smarty_async.wire.messages import Answered

pytestmark = pytest.mark.slow

TOKEN = "the-token-of-this-test"


def job_for(service: FakeService, folder: Path, **changes: Any) -> ChunkJob:
    address = ServiceAddress(
        url=f"{service.url}/api/v1/photo/improve", provider="mcs", timeouts=Timeouts(), max_output_bytes=1_000_000
    )
    bodies = [MemoryBody(jpeg(seed=number), "image/jpeg") for number in range(3)]
    values: dict[str, Any] = {
        "id": "0123456789abcdef",
        "version": version("smarty_async"),
        "service": address,
        "token": Secret(TOKEN),
        "specs": (ModeSpec("improve"),),
        "bodies": bodies,
        "editors": [None] * len(bodies),
        "storage": FolderStorage(str(folder)),
    }
    return ChunkJob(**values | changes)


@pytest.fixture(autouse=True)
async def drained() -> AsyncIterator[None]:
    """What a worker does at its end."""
    yield
    await DrainPlugin().teardown(cast("Any", None))


def log_in(folder: Path, chunk: str) -> ChunkLog:
    return FolderStorage(str(folder)).log(chunk)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# what a worker does


async def test_a_chunk_is_sent(service: FakeService, tmp_path: Path) -> None:
    report = await send_chunk(job_for(service, tmp_path))
    assert [item.answered.name for item in report.items] == ["file_0", "file_1", "file_2"]
    assert report.end is not None
    assert report.end.sent
    assert report.end.failure is None
    for item in report.items:
        for output in item.outputs.values():
            assert output.digest == output_digest(str(tmp_path / output.temporary))
            assert output.size == (tmp_path / output.temporary).stat().st_size
        assert item.outputs.keys() == item.answered.blobs.keys()
    assert (await log_in(tmp_path, "0123456789abcdef").read())[0] == report


async def test_a_second_run_of_the_task_is_refused(service: FakeService, tmp_path: Path) -> None:
    job = job_for(service, tmp_path)
    first, second = await asyncio.gather(send_chunk(job), send_chunk(job))
    assert sorted([first.refused or "", second.refused or ""]) == ["", "it was begun before"]
    assert (await send_chunk(job)).refused == "it was begun before"
    assert len(service.requests) == 1


async def test_a_chunk_of_another_version_is_refused(service: FakeService, tmp_path: Path) -> None:
    report = await send_chunk(job_for(service, tmp_path, version="0.0.9"))
    assert report == ChunkReport(refused=f"the worker has version {version('smarty_async')} of smarty_async")
    assert not service.requests
    assert not names_in(tmp_path)


async def test_the_request_goes_on_when_its_task_is_cancelled(service: FakeService, tmp_path: Path) -> None:
    service.default = lambda _: late(0.2)
    task = asyncio.create_task(send_chunk(job_for(service, tmp_path)))
    await until(lambda: bool(service.requests))
    task.cancel()
    log = log_in(tmp_path, "0123456789abcdef")
    async with asyncio.timeout(20):
        while (await log.read())[0].end is None:  # noqa: ASYNC110 - as the caller does
            await asyncio.sleep(0.01)
    assert len((await log.read())[0].items) == 3
    assert service.abandoned == 0


async def test_a_request_that_nobody_waits_for_is_given_up(service: FakeService, tmp_path: Path) -> None:
    service.default = lambda _: late(60)
    task = asyncio.create_task(send_chunk(job_for(service, tmp_path)))
    await until(lambda: bool(service.requests))
    await log_in(tmp_path, "0123456789abcdef").remove()
    assert (await task).refused == "nobody waits for it"
    await until(lambda: service.abandoned == 1)
    assert not names_in(tmp_path)


async def test_a_chunk_that_was_given_up_before_a_worker_took_it_is_not_sent(
    service: FakeService, tmp_path: Path
) -> None:
    log = log_in(tmp_path, "0123456789abcdef")
    await log.close()
    assert (await log.read())[0] == ChunkReport([])
    await log.remove()
    assert (await send_chunk(job_for(service, tmp_path))).refused == "it was begun before"
    assert not service.requests


async def test_a_chunk_that_is_given_up_before_its_first_byte_is_not_sent(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ChunkLog.begin

    async def begin_and_be_given_up(log: ChunkLog, *lines: Any) -> bool:
        began = await begin(log, *lines)
        await log_in(tmp_path, "0123456789abcdef").close()
        return began

    monkeypatch.setattr(ChunkLog, "begin", begin_and_be_given_up)
    assert (await send_chunk(job_for(service, tmp_path))).refused == "nobody waits for it"
    assert not service.requests


async def test_what_was_reported_of_a_chunk_that_is_given_up_stays(service: FakeService, tmp_path: Path) -> None:
    service.default = lambda _: part(2)
    task = asyncio.create_task(send_chunk(job_for(service, tmp_path)))
    log = log_in(tmp_path, "0123456789abcdef")
    async with asyncio.timeout(20):
        while len((await log.read())[0].items) < 2:  # noqa: ASYNC110 - as the caller does
            await asyncio.sleep(0.01)
    await log.close()
    assert (await task).refused == "nobody waits for it"
    report, _ = await log.read()
    outputs = {output.temporary for item in report.items for output in item.outputs.values()}
    assert len(report.items) == 2
    assert names_in(tmp_path) == outputs | {"chunk-0123456789abcdef", "chunk-0123456789abcdef.closed-0"}
    await log.remove()
    assert "chunk-0123456789abcdef.closed-0" not in names_in(tmp_path)
    assert (await send_chunk(job_for(service, tmp_path))).refused == "it was begun before"


async def test_a_log_that_takes_no_sign_of_life_for_a_while_ends_no_request(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[bytes] = []
    append = LogFile.append

    def refusing(log: LogFile, data: bytes) -> None:
        if data != b"\n":
            append(log, data)
            return
        refused.append(data)
        raise DiskError("cannot write 'log': Stale file handle")

    monkeypatch.setattr(LogFile, "append", refusing)
    monkeypatch.setattr(FolderStorage, "beat_seconds", 0.01)
    gate = asyncio.Event()
    service.script(hold(gate))
    task = asyncio.create_task(send_chunk(job_for(service, tmp_path)))
    await until(lambda: len(refused) > 1)
    gate.set()
    report = await task
    assert (len(report.items), report.end and report.end.failure) == (3, None)


async def test_what_is_durable_is_reported_beside_what_the_disk_refuses(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_durable = FolderStorage.make_durable

    async def refusing(storage: FolderStorage, answered: Answered, *rest: Any) -> FinishedItem:
        if answered.name == "file_1":
            raise DiskError("the disk is full")
        return await make_durable(storage, answered, *rest)

    monkeypatch.setattr(FolderStorage, "make_durable", refusing)
    report = await send_chunk(job_for(service, tmp_path))
    assert [item.answered.name for item in report.items] == ["file_0", "file_2"]
    assert report.end is not None
    assert report.end.failure is not None
    assert "the disk is full" in str(report.end.failure)
    logged, _ = await log_in(tmp_path, "0123456789abcdef").read()
    assert len(logged.items) == 2


async def test_what_was_answered_before_a_break_is_reported(service: FakeService, tmp_path: Path) -> None:
    service.script(drop(after_bytes=900, of=ok()))
    report = await send_chunk(job_for(service, tmp_path))
    assert 0 < len(report.items) < 3
    assert report.end is not None
    assert report.end.failure is not None
    assert report.end.failure.kind == "request"
    held = {output.temporary for item in report.items for output in item.outputs.values()}
    assert names_in(tmp_path) == held | {"chunk-0123456789abcdef"}


async def test_a_service_that_cannot_be_reached_was_sent_nothing(tmp_path: Path) -> None:
    async with FakeService() as gone:
        job = job_for(gone, tmp_path)
    report = await send_chunk(job)
    assert report.end is not None
    assert not report.end.sent
    assert report.end.failure is not None
    error = report.end.failure.error(sent=report.end.sent)
    assert isinstance(error, RequestError)
    assert not error.sent


async def test_a_worker_that_cannot_write_a_log_says_that_it_is_unusable(service: FakeService, tmp_path: Path) -> None:
    report = await send_chunk(job_for(service, tmp_path / "gone"))
    assert report.suspect
    assert (report.refused or "").startswith("cannot write")
    assert report.end is None
    assert not service.requests


async def test_the_token_is_neither_shown_nor_logged(
    service: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = job_for(service, tmp_path)
    await send_chunk(job)
    assert service.requests[0].query["oauth_token"] == TOKEN
    assert TOKEN not in repr(job) + str(job) + caplog.text
    assert not [name for name in names_in(tmp_path) if TOKEN.encode() in (tmp_path / name).read_bytes()]
    assert pickle.loads(pickle.dumps(job)).token.reveal() == TOKEN  # noqa: S301 - our own


# the log


async def test_one_process_has_the_right_to_a_chunk(tmp_path: Path) -> None:
    logs = [log_in(tmp_path, "a") for _ in range(20)]
    assert sum(await asyncio.gather(*(log.begin() for log in logs))) == 1


async def test_a_log_that_cannot_be_replaced_still_tells_what_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "chunk-1")
    assert LogFile(path).create(b"reported\n")
    caller = LogFile(path)

    def refused(*_: object) -> bool:
        raise DiskError("the disk is full")

    monkeypatch.setattr(caller, "create", refused)
    with pytest.raises(DiskError):
        caller.close(b"closed\n")
    assert caller.read() == b"reported\n"


async def test_a_log_that_is_created_again_while_it_is_closed_still_tells_what_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "chunk-1")
    assert LogFile(path).create(b"reported\nand cu")
    caller, again = LogFile(path), LogFile(path)

    def create_later(data: bytes) -> bool:
        monkeypatch.undo()
        return again.create(b"begun again\n") and caller.create(data)

    monkeypatch.setattr(caller, "create", create_later)
    caller.close(b"closed\n")
    assert caller.read() == b"reported\nbegun again\n"
    with pytest.raises(ChunkUnwanted):
        again.append(b"\n")
    caller.remove()
    assert names_in(tmp_path) == {"chunk-1"}


async def test_a_log_tells_what_was_written_whole(tmp_path: Path) -> None:
    log = log_in(tmp_path, "a")
    assert await log.read() == (ChunkReport([]), 0)
    await log.begin()
    outputs: dict[Kind, StoredOutput] = {"improved": StoredOutput("a-0", 5, digest="0f")}
    item = FinishedItem(answered=Answered("improve", "file_0", 0), outputs=outputs, digest=b"\x00\xff")
    await log.append(item)
    await log.append()
    with (tmp_path / "chunk-a").open("ab") as file:
        file.write(b'{"type":"end","sec')
    report, size = await log.read()
    assert report == ChunkReport([item])
    assert size == (tmp_path / "chunk-a").stat().st_size


async def test_a_damaged_line_of_a_log_tells_nothing_and_the_others_do(tmp_path: Path) -> None:
    log = log_in(tmp_path, "0123")
    assert await log.begin()
    end = ChunkEnd(seconds=1.0, sent=True)
    await log.append(end)
    path = tmp_path / "chunk-0123"
    path.write_bytes(b"\n".join((*DAMAGED, b'\xff\x00{"type"', b'{"type":"end"}', path.read_bytes())))
    assert (await log.read())[0] == ChunkReport([], end)


async def test_a_log_that_was_removed_is_not_written_again(tmp_path: Path) -> None:
    log = log_in(tmp_path, "a")
    await log.begin()
    await log.remove()
    await log.remove()
    with pytest.raises(ChunkUnwanted):
        await log.append(ChunkEnd(seconds=1, sent=True))
    assert not names_in(tmp_path)


# errors as data


@pytest.mark.parametrize(
    "error",
    [
        RequestError("no", status=503, retry_after=2.5, enveloped=True, timed_out=True, sent=False),
        AuthorizationError("no", status=403),
        RequestRefused("no", status=400),
        NotTheService("no", status=404),
        ConfigurationError("no"),
        DiskError("no"),
        StoreError("no", 503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_it_was(error: Exception) -> None:
    again = Failure.of(error).error(sent=False)
    assert type(again) is type(error)
    assert (again.args, vars(again)) == (error.args, vars(error))


def test_a_photo_that_cannot_be_read_comes_back_as_it_was() -> None:
    again = Failure.of(BodyFailed(2, PhotoRejected("it changed", type="changed"))).error(sent=True)
    assert isinstance(again, BodyFailed)
    assert isinstance(again.error, PhotoRejected)
    assert (again.number, again.error.message, again.error.type) == (2, "it changed", "changed")


def test_a_photo_whose_store_does_not_answer_comes_back_as_it_was() -> None:
    again = Failure.of(BodyFailed(2, StoreError("no", 503))).error(sent=True)
    assert isinstance(again, BodyFailed)
    assert isinstance(again.error, StoreError)
    assert (again.number, str(again.error), again.error.status) == (2, "no", 503)


def test_an_unexpected_error_is_called_a_bug() -> None:
    again = Failure.of(ZeroDivisionError("zero")).error(sent=True)
    assert "which is a bug: ZeroDivisionError: zero" in str(again)


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert {Secret("a")} == {Secret("a")}
    assert repr(Secret("a")) == "Secret()"
