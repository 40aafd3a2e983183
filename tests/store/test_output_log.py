"""The log of outputs in a bucket: what is put when, and whose it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.archives import outcomes, sent
from support.damaged_json import DAMAGED
from support.fake_service import FakeService
from support.s3_server import S3Server
from support.stores import StorePlace

from smarty_async.archive.object_store import Bucket, ObjectExists, UnlistableKey
from smarty_async.archive.outputs import output_log
from smarty_async.archive.outputs.output_log import OutputLog
from smarty_async.archive.s3 import _url_of, list_any_key
from smarty_async.archive.sources import object_store as source_module
from smarty_async.errors import DiskError, OutputInUse, StoreError
from smarty_async.store_address import StoreAddress

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LINE = {"photo": "a.jpg"}


@pytest.fixture
def bucket(place: StorePlace) -> Bucket:
    return Bucket(StoreAddress.parse(place.out), place.s3.options)


@pytest.fixture
def log(bucket: Bucket, tmp_path: Path) -> Iterator[OutputLog]:
    log = OutputLog(bucket, tmp_path / "log", interval=0.01)
    yield log
    log._closing.set()


def lines(log: OutputLog) -> list[dict[str, Any]]:
    return [line for segment in log.segments(after=0) for line in segment.lines]


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not happen")


def test_lines_are_put_in_segments_with_the_next_numbers(log: OutputLog, bucket: Bucket, tmp_path: Path) -> None:
    assert log.take_over() == 0
    log.start()
    log.add([LINE])
    until(lambda: lines(log) == [LINE])
    log.add([LINE, LINE])
    log.close()
    assert lines(log) == [LINE] * 3
    assert log.applied == 3
    following = OutputLog(bucket, tmp_path / "log")
    assert following.take_over() == 3
    following.close()
    assert following.owner == log.owner


def test_what_a_killed_run_left_is_put_by_the_next(log: OutputLog, bucket: Bucket, tmp_path: Path) -> None:
    log.take_over()
    log._waiting.write_text('{"photo":"first"}\n')
    log._waiting.rename(log._sending)
    log._waiting.write_text('{"photo":"second"}\n{"photo":"torn')
    following = OutputLog(bucket, tmp_path / "log", interval=60)
    assert following.waiting() == [{"photo": "first"}, {"photo": "second"}]
    log._waiting.write_text('{"photo":"second"}\n')
    following.take_over()
    following.start()
    following.close()
    assert lines(following) == [{"photo": "first"}, {"photo": "second"}]
    assert following.waiting() == []


def test_damaged_lines_are_left_out(log: OutputLog, bucket: Bucket, tmp_path: Path) -> None:
    log.take_over()
    other = {"photo": "b.jpg"}
    damaged = b"\n".join((*DAMAGED, b'{"photo":"a.jpg"}', *DAMAGED, b'{"photo":"b.jpg"}', b""))
    log._waiting.write_bytes(damaged)
    assert log.waiting() == [LINE, other]
    log.put_waiting()
    log._waiting.write_bytes(damaged)
    log.drop({("", "a.jpg", 1)})
    assert log._waiting.read_bytes() == b'{"photo":"b.jpg"}\n'
    for number, data in enumerate((b"", damaged), start=3):
        bucket.put(f".smarty-async/log/{number:09}.jsonl", data, content_type="application/jsonl")
    assert [(segment.owner, segment.lines) for segment in log.segments(after=1)] == [
        (log.owner, [LINE, other]),
        ("", []),
        ("", [LINE, other]),
    ]
    (tmp_path / "log" / "owner").write_bytes(b"\xff")
    following = OutputLog(bucket, tmp_path / "log")
    following.take_over()
    assert len(following.owner) == len(log.owner)


@pytest.mark.slow
async def test_lines_that_a_machine_left_do_not_count_more_than_what_another_logged_since(
    place: StorePlace, tmp_path: Path
) -> None:
    place.fill("a.jpg", "b.jpg")
    async with FakeService() as service:
        await place.restore(service)
        left = place.outputs()
        left.lock()
        lines = [line for segment in left._log.segments(after=0) for line in segment.lines]
        left.release()
        other = place.fill("a.jpg")["a.jpg"] + b"changed"
        place.s3.put({"a.jpg": other}, prefix=f"{place.scans.removeprefix('s3://photos/')}/")
        await place.restore(service, state=tmp_path / "other", include=["a.jpg"])
        text = "".join(json.dumps(line) + "\n" for line in lines)  # the run was killed before it put these
        left._log._waiting.write_text(text, "ascii")
        assert set(outcomes(await place.restore(service)).values()) == {"skipped"}
        assert not left._log.waiting()
        assert set(outcomes(await place.restore(service, state=tmp_path / "third")).values()) == {"skipped"}
    assert len(sent(service)) == 3


def test_a_run_without_anything_to_put_notices_that_another_has_taken_over(
    log: OutputLog, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_log, "_LOOK_EVERY", 1)
    log.take_over()
    log.start()
    other = OutputLog(bucket, tmp_path / "other")
    other.take_over()
    until(lambda: log._taken_over)
    with pytest.raises(StoreError, match="has taken over"):
        log.add([LINE])
    log.close()


def test_a_put_whose_answer_was_lost_is_its_own(
    log: OutputLog, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = bucket.put

    def losing(*args: Any, **kwargs: Any) -> str:
        put(*args, **kwargs)
        raise ObjectExists("it exists", 412)

    monkeypatch.setattr(bucket, "put", losing)
    log.take_over()
    log._waiting.write_text('{"photo":"a.jpg"}\n')
    assert log.put_waiting()
    assert lines(log) == [LINE]


def test_a_store_that_does_not_answer_for_a_while_gets_the_lines_later(log: OutputLog, place: StorePlace) -> None:
    log.take_over()
    place.s3.failing = [("PUT", "/log/", 403)]
    log.start()
    log.add([LINE])
    until(log._sending.exists)
    place.s3.failing = []
    until(lambda: lines(log) == [LINE])
    log.close()


def test_a_state_folder_that_cannot_be_written(log: OutputLog, tmp_path: Path) -> None:
    log.take_over()
    log._waiting.mkdir()
    with pytest.raises(DiskError):
        log.add([LINE])
    log._applied_path.mkdir(exist_ok=True)
    with pytest.raises(DiskError):
        log.note_applied(7)
    assert log.applied == 0
    with pytest.raises(DiskError):
        OutputLog(log._bucket, tmp_path / "no" / "folder").take_over()


def test_a_disk_that_takes_a_part_of_a_line_leaves_none_of_it(log: OutputLog, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullAfterSome(FileIO):
        def write(self, data: ReadableBuffer, /) -> int:
            if len(memoryview(data)) < 10:
                raise OSError(28, "No space left on device")
            return super().write(memoryview(data)[:10])

    log.take_over()
    log.add([LINE])
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, mode, **_: FullAfterSome(path, mode))
        with pytest.raises(DiskError, match="No space left"):
            log.add([LINE])
    log.add([LINE])
    log.put_waiting()
    assert lines(log) == [LINE, LINE]


def test_the_number_of_another_run_is_refused_at_the_start(log: OutputLog, bucket: Bucket, tmp_path: Path) -> None:
    other = OutputLog(bucket, tmp_path / "other")
    other.take_over()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log, "_numbers", lambda **_: iter(()))
        with pytest.raises(OutputInUse):
            log.take_over()


# where an ETag says nothing of the content


@pytest.fixture
def versions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """ETags are numbers of versions, as those of GCS and Azure."""
    monkeypatch.setattr(source_module, "_digest", lambda _: None)


@pytest.mark.usefixtures("versions_only")
@pytest.mark.slow
async def test_photos_are_read_to_be_compared_where_etags_do_not_tell(place: StorePlace) -> None:
    photos = place.fill("a.jpg", "b.jpg")
    folder = place.scans.removeprefix("s3://photos/")
    place.s3.put({"same.jpg": photos["a.jpg"], "long.jpg": photos["a.jpg"] + bytes(9000)}, prefix=f"{folder}/")
    async with FakeService() as service:
        first = outcomes(await place.restore(service))
        assert sorted(first.values()) == ["duplicate", "restored", "restored", "restored"]
        place.s3.put(photos, prefix=f"{folder}/")
        assert set(outcomes(await place.restore(service)).values()) == {"skipped"}
        assert len(sent(service)) == 3


# listing by S3's own request


def test_a_listing_is_tried_again_and_then_given_up(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smarty_async.archive.s3._FIRST_WAIT", 0.001)
    odd = UnlistableKey("odd")
    address = StoreAddress("s3", "photos")

    def listed(**changes: Any) -> Any:
        config = {**s3.options, **changes}
        return next(list_any_key(address, config, folder="nothing here", after="", odd=odd))

    assert listed() == []
    for status, said in ((503, "answers 503"), (403, "answers 403")):
        s3.failing = [("LIST", "", status)]
        with pytest.raises(StoreError, match=said):
            listed()
        s3.failing = []
    with pytest.raises(StoreError, match="cannot be reached"):
        listed(endpoint="http://127.0.0.1:9")


def test_addresses_of_buckets() -> None:
    assert _url_of("b", {}) == "https://s3.us-east-1.amazonaws.com/b"
    assert _url_of("b", {"region": "eu", "virtual_hosted_style_request": "true"}) == ("https://b.s3.eu.amazonaws.com/")
    assert _url_of("b", {"endpoint": "https://s/"}) == "https://s/b"
