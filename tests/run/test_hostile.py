"""Whole runs against a service that is out for harm: what the disk holds in the end, and what it held meanwhile."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.archives import STATE, assert_right, client, fill, outcomes, restore, sent
from support.fake_service import (
    Answer,
    FakeService,
    Request,
    Respond,
    answer_body,
    drop,
    expected,
    http,
    items,
    raw,
    until,
)

from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import NotTheService, ServiceUnavailable
from smarty_async.options import Limits, Retries
from smarty_async.results import Result
from smarty_async.wire import splitter

pytestmark = pytest.mark.slow

NAMES = ("a.jpg", "b/c.jpg", "d.jpg")
BOUND = 100_000
"""Bytes, where the real bounds would make a test slow."""
NARROW = Limits(max_output_bytes=BOUND)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "home" / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "home" / "out"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound that no caller sets, brought down to what a test can pass."""
    monkeypatch.setattr(splitter, "MAX_BESIDE_BYTES", BOUND)


def whole(request: Request) -> bytes:
    """The right answer to `request`."""
    return json.dumps({"status": 200, "body": answer_body(request, {}, {})}).encode()


def after_the_first_item(trouble: bytes) -> Respond:
    """The first item, and then `trouble` in the place of the next."""

    async def respond(request: Request) -> web.StreamResponse:
        text = whole(request)
        return await raw(text[: text.index(b"}") + 1] + trouble)(request)

    return respond


class Endless:
    """The first item, and then `noise` behind `head` for as long as anybody listens."""

    def __init__(self, head: bytes, noise: bytes) -> None:
        self.head, self.noise = head, noise

    async def __call__(self, request: Request) -> web.StreamResponse:
        text = whole(request)
        response = web.StreamResponse()
        await response.prepare(request.http)
        await response.write(text[: text.index(b"}") + 1] + self.head)
        while request.http.transport is not None and not request.http.transport.is_closing():
            await response.write(self.noise)
        return response


class Watch:
    """The most that lay in temporaries at a time, in bytes, as far as it was seen."""

    def __init__(self, out: Path) -> None:
        self._folder = out / STATE / "tmp"
        self.most = 0

    async def look(self) -> None:
        while True:
            self.most = max(self.most, sum(path.stat().st_size for path in self._folder.glob("*") if path.exists()))
            await asyncio.sleep(0)


async def restored(service: FakeService, source: Path, out: Path) -> list[Result]:
    return await restore(service, source, out, concurrency=1, limits=NARROW)


def images_of(service: FakeService) -> list[int]:
    """How many photos each request carried."""
    return [len(request.images) for request in service.requests]


def inside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# what is cut, and what is said about its length


@pytest.mark.parametrize("behind", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])
async def test_an_answer_longer_than_its_content_length(source: Path, out: Path, behind: bytes) -> None:
    photos = fill(source, *NAMES)

    async def respond(request: Request) -> web.StreamResponse:
        text = whole(request)
        declared = text.index(b"}") + 1
        response = web.StreamResponse()
        response.content_length = declared
        await response.prepare(request.http)
        assert request.http.transport is not None
        await response.write(text[:declared])
        await until(lambda: run.progress.bytes_received >= declared)  # in one piece with the rest, all would be lost
        request.http.transport.write(behind or text[declared:])
        return response

    async with FakeService() as service, client(service, concurrency=1, limits=NARROW) as open_client:
        service.script(respond)
        run = open_client.improve_archive(source, out=out)
        assert set(outcomes([result async for result in run]).values()) == {"restored"}
        assert images_of(service) == [3, 2]
    assert_right(out, photos)


async def test_an_answer_shorter_than_its_content_length(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)

    async def respond(request: Request) -> web.StreamResponse:
        text = whole(request)
        return await drop(after_bytes=text.index(b"}") + 1, of=web.Response(body=text))(request)

    async with FakeService() as service:
        service.script(respond)
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert images_of(service) == [3, 2]
    assert_right(out, photos)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(b"," + b"[" * 1_000_000, id="a million deep"),
        pytest.param(b',{"x":' + b'{"x":' * 1_000_000, id="objects a million deep"),
        pytest.param(b"," + b"1" * 2_000_000, id="a long number"),
        pytest.param(b"<html>We will be back soon</html>", id="HTML"),
        pytest.param(b"\x00\xff" * 5_000, id="noise"),
        pytest.param(b"]}}" + b"{}" * 5_000, id="more documents"),
    ],
)
async def test_what_had_closed_before_the_trouble_is_kept(source: Path, out: Path, trouble: bytes) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        service.script(after_the_first_item(trouble))
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert images_of(service) == [3, 2]
    assert_right(out, photos)


# what has no end


@pytest.mark.parametrize(
    ("head", "noise"),
    [
        pytest.param(b',{"status":0,"improved":"', b"QUFB" * 4_000, id="output"),
        pytest.param(b',{"status":0,"improved":"', b"!!!!" * 4_000, id="output that is none"),
        pytest.param(b',{"status":0,"error":"', b"text" * 4_000, id="text"),
        pytest.param(b',{"status":0,"', b"name" * 4_000, id="key"),
        pytest.param(b"", b" \n\t " * 4_000, id="white space"),
        pytest.param(b"", b',{"status":0,"name":"a"}' * 700, id="items"),
        pytest.param(b",", b"1234" * 4_000, id="number"),
    ],
)
@pytest.mark.usefixtures("narrow")
async def test_an_endless_answer_is_left(source: Path, out: Path, head: bytes, noise: bytes) -> None:
    photos = fill(source, *NAMES)
    watch = Watch(out)
    watching = asyncio.create_task(watch.look())
    async with FakeService() as service, client(service, concurrency=1, limits=NARROW) as open_client:
        service.script(Endless(head, noise))
        run = open_client.improve_archive(source, out=out)
        assert set(outcomes([result async for result in run]).values()) == {"restored"}
        assert images_of(service) == [3, 2]
        await until(lambda: not service.open_now)
    watching.cancel()
    assert run.progress.bytes_received < 10 * BOUND
    assert watch.most < 2 * BOUND
    assert_right(out, photos)


@pytest.mark.usefixtures("narrow")
async def test_an_item_that_repeats_its_outputs_does_not_fill_the_disk(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    output = b',"improved":"' + b"QUFB" * (BOUND // 6) + b'"'
    watch = Watch(out)
    watching = asyncio.create_task(watch.look())
    async with FakeService() as service:
        service.script(Endless(b',{"status":0', output))
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert images_of(service) == [3, 2]
        await until(lambda: not service.open_now)
    watching.cancel()
    assert watch.most < 10 * BOUND
    assert_right(out, photos)


@pytest.mark.usefixtures("narrow")
async def test_an_output_that_decodes_to_more_than_its_bound_spoils_no_neighbour(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    bomb = base64.b64encode(b"\xff\xd8\xff" + bytes(BOUND)).decode()
    watch = Watch(out)
    watching = asyncio.create_task(watch.look())
    async with FakeService() as service:
        service.script(items({"file_1": {"improved": bomb}}))
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert images_of(service) == [3, 1]
    watching.cancel()
    assert watch.most <= BOUND + 10_000
    assert_right(out, photos)


async def test_one_byte_at_a_time_is_an_answer_all_the_same(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)

    async def respond(request: Request) -> web.StreamResponse:
        return await raw(whole(request), chunk=1)(request)

    async with FakeService() as service:
        service.script(respond)
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert len(service.requests) == 1
    assert_right(out, photos)


# what is something else


@pytest.mark.parametrize("status", [200, 400, 500, 503])
async def test_a_bomb_is_never_unpacked(source: Path, out: Path, status: int) -> None:
    photos = fill(source, *NAMES)
    bomb = gzip.compress(bytes(50_000_000))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}

    async def respond(_: Request) -> web.StreamResponse:
        return web.Response(status=status, body=bomb, headers=headers)

    async with FakeService() as service, client(service, concurrency=1, limits=NARROW) as open_client:
        service.script(items({"file_0": None}), respond)
        run = open_client.improve_archive(source, out=out)
        assert set(outcomes([result async for result in run]).values()) <= {"restored", "failed"}
        assert run.progress.bytes_received < 10_000  # of the bomb nothing was even read
        service.default = service.answer_rightly
        await restore(service, source, out, retry_failed=True)
    assert_right(out, photos)


async def test_a_redirect_takes_neither_photos_nor_token_elsewhere(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service, FakeService() as elsewhere:
        service.script(http(307, headers={"Location": elsewhere.url}))
        with pytest.raises(NotTheService, match="redirect"):
            await restored(service, source, out)
        assert not elsewhere.requests
        await restored(service, source, out)
    assert_right(out, photos)


async def test_a_page_under_200_is_an_outage_and_fails_no_photo(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    hasty = Retries(give_up_after=0.02, give_up_before_first=0.02)
    async with FakeService() as service:
        service.default = lambda _: http(200, "<html>We will be back soon</html>")
        with pytest.raises(ServiceUnavailable, match="not JSON"):
            async with client(service, retries=hasty) as open_client:
                assert [result async for result in open_client.improve_archive(source, out=out)] == []
        service.default = service.answer_rightly
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
    assert_right(out, photos)


# whose it is, and where it goes


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..\\x", "improved/x", "file_3", "", "file_0\0", "a" * 5_000])  # noqa: S108
async def test_no_path_is_chosen_by_the_service(source: Path, out: Path, tmp_path: Path, name: str) -> None:
    photos = fill(source, *NAMES)
    stray = dict.fromkeys(("improved", "colorized_improved", "colorized"), "/9j/2Q==")
    strays: list[dict[str, Any]] = [{"status": 0, "name": name} | stray, {"status": 0, "place": name} | stray]

    async def respond(request: Request) -> web.StreamResponse:
        body = answer_body(request, {}, {})
        body["improve"] = [*strays, *body["improve"], *strays]
        return web.json_response({"status": 200, "body": body, "path": name})

    async with FakeService() as service:
        service.script(respond)
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert len(service.requests) == 1
    assert_right(out, photos)
    assert inside(tmp_path) == {"home"}
    assert inside(source.parent) == {"photos", "out"}


async def test_a_second_answer_never_replaces_the_first(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    other = base64.b64encode(expected("improved", b"somebody else")).decode()

    async def respond(request: Request) -> web.StreamResponse:
        body = answer_body(request, {}, {})
        body["improve"] += [item | {"improved": other} for item in body["improve"]]
        return web.json_response({"status": 200, "body": body})

    async with FakeService() as service:
        service.script(respond)
        await restored(service, source, out)
        assert len(service.requests) == 1
    assert_right(out, photos)


Scripted = Callable[[Request], Awaitable[web.StreamResponse]] | Answer


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        pytest.param(items({"file_1": None}), 1, id="not answered"),
        pytest.param(items({"file_1": {"improved": "!!"}}), 1, id="no base64"),
        pytest.param(items({"file_1": {"colorized": "/9j"}}), 1, id="base64 cut short"),
        pytest.param(items({"file_1": {"colorized": "R0lGODlh"}}), 1, id="no JPEG"),
        pytest.param(items({"file_1": {"name": "file_0"}}), 1, id="somebody else's name"),
        pytest.param(items({"file_1": {"status": "0"}}), 1, id="no item"),
    ],
)
async def test_what_cannot_be_used_is_asked_again_alone(source: Path, out: Path, answer: Scripted, again: int) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        service.script(answer)
        assert set(outcomes(await restored(service, source, out)).values()) == {"restored"}
        assert images_of(service) == [3, again]
        assert len(sent(service)) == 4
    assert_right(out, photos)


# what is a bug of ours


async def test_an_unexpected_error_fails_one_photo_and_the_run_goes_on(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = fill(source, *NAMES)
    probe = FolderSource.probe

    async def broken(self: FolderSource, file: PhotoFile, **options: Any) -> Any:
        if file.path.endswith("a.jpg"):
            raise TypeError("an unexpected type of tag")
        return await probe(self, file, **options)

    monkeypatch.setattr(FolderSource, "probe", broken)
    async with FakeService() as service:
        results = await restored(service, source, out)
        assert outcomes(results) == {"a.jpg": "failed"} | dict.fromkeys(("b/c.jpg", "d.jpg"), "restored")
        error = next(result.error for result in results if result.error is not None)
        assert error.type == "internal"
        assert "bug" in error.message
        assert "TypeError: an unexpected type of tag" in error.message
        monkeypatch.setattr(FolderSource, "probe", probe)
        again = await restore(service, source, out, retry_failed=True)
        assert outcomes(again) == {"a.jpg": "restored"} | dict.fromkeys(("b/c.jpg", "d.jpg"), "skipped")
    assert_right(out, photos)
