"""The embedded service as a client sees it: every example of the published documents, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from threading import Event, Semaphore
from typing import Any

import aiohttp
import pytest
from support import pictures

from smarty_async.errors import ConfigurationError, OptionsError
from smarty_async.local.contract import Limits
from smarty_async.local.engine import EchoEngine, Improved, ItemRefused, engine_named
from smarty_async.local.engine.echo import unstamp
from smarty_async.local.engine.protocol import Abandoned, check_wanted
from smarty_async.local.faults import Faults
from smarty_async.local.memory import usable_memory
from smarty_async.local.response import Pace
from smarty_async.local.server import PATHS, make_app, serve_until_stopped, serving

QUERY = {"oauth_provider": "mcs", "oauth_token": "bait-token"}
IMPROVE = {"mode": ["improve"], "images": [{"name": "file"}]}
RESOLUTION = {"mode": ["resolution"], "rfactor": 2, "rtype": "photo", "images": [{"name": "file"}]}


class Service:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def post(
        self,
        meta: Any,
        files: dict[str, bytes] | None = None,
        *,
        path: str = PATHS[0],
        query: dict[str, str] = QUERY,
    ) -> tuple[int, Any]:
        """Send a form as curl does; the HTTP status and the envelope."""
        async with self.session.post(self.base + path, params=query, data=form(meta, files)) as response:
            return response.status, await response.json()


def form(meta: Any, files: dict[str, bytes] | None = None) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, content in ({"file": pictures.jpeg()} if files is None else files).items():
        # As a file: aiohttp warns of large bytes.
        data.add_field(name, io.BytesIO(content), filename=f"{name}.jpg", content_type="image/jpeg")
    if meta is not None:
        data.add_field("meta", meta if isinstance(meta, str) else json.dumps(meta))
    return data


@asynccontextmanager
async def service(**options: Any) -> AsyncIterator[Service]:
    keywords: dict[str, Any] = {"engine": EchoEngine(), "workers": 2} | options
    async with serving(make_app(**keywords)) as port, aiohttp.ClientSession() as session:
        yield Service(session, f"http://127.0.0.1:{port}")


def asking(names: Iterable[str], *modes: str) -> dict[str, Any]:
    extra = {"rfactor": 2, "rtype": "photo"} if "resolution" in modes else {}
    return {"mode": list(modes), "images": [{"name": name} for name in names], **extra}


def kinds(item: dict[str, Any], photo: bytes) -> set[str]:
    """The outputs of an echoed item, each seen to be the photo's own and of its own kind."""
    found = {key for key, value in item.items() if key not in ("status", "name", "error", "bw")}
    for key in found:
        assert unstamp(base64.b64decode(item[key], validate=True)) == (key, photo)
    return found


def refused(text: str, status: int = 400) -> dict[str, Any]:
    return {"status": status, "body": text, "htmlencoded": False, "last_modified": 0}


@pytest.mark.parametrize("path", PATHS)
async def test_improve_example(path: str) -> None:
    async with service() as at:
        status, answer = await at.post(IMPROVE, path=path)
    [item] = answer.pop("body").pop("improve")
    assert (status, answer) == (200, {"status": 200, "htmlencoded": False, "last_modified": 0})
    assert (item["status"], item["name"], item["bw"]) == (0, "file", False)
    assert kinds(item, pictures.jpeg()) == {"improved", "colorized_improved", "colorized"}


@pytest.mark.parametrize("spelled", [{"rtype": "photo"}, {"ftype": "photo"}, {"rtype": "art", "ftype": "art"}])
async def test_resolution_example_in_both_spellings(spelled: dict[str, str]) -> None:
    meta = {"mode": ["resolution"], "rfactor": 2, "images": [{"name": "file"}], **spelled}
    async with service() as at:
        status, answer = await at.post(meta)
    [item] = answer["body"]["resolution"]
    assert (status, list(answer["body"])) == (200, ["resolution"])
    assert (item["status"], kinds(item, pictures.jpeg())) == (0, {"resolved"})


async def test_older_example_asks_for_both_modes_of_a_provider_of_its_own() -> None:
    photo = pictures.jpeg(seed=3)
    meta = {"images": [{"name": "file_0"}], "mode": ["resolution", "improve"], "rfactor": 4, "rtype": "art"}
    query = {"oauth_provider": "mr", "oauth_token": "123"}
    async with service() as at:
        status, answer = await at.post(meta, {"file_0": photo}, path=PATHS[1], query=query)
    assert (status, list(answer["body"])) == (200, ["improve", "resolution"])
    assert [item["name"] for items in answer["body"].values() for item in items] == ["file_0", "file_0"]
    assert kinds(answer["body"]["resolution"][0], photo) == {"resolved"}


async def test_a_file_with_an_empty_filename_is_a_file() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\nContent-Type: image/jpeg\r\n\r\n'
        + pictures.jpeg()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="meta"\r\n\r\n'
        + json.dumps(IMPROVE).encode()
        + b"\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with (
        service() as at,
        at.session.post(at.base + PATHS[0], params=QUERY, data=body, headers=headers) as response,
    ):
        answer = await response.json()
    assert kinds(answer["body"]["improve"][0], pictures.jpeg())


async def test_a_field_without_filename_is_not_a_file() -> None:
    with aiohttp.MultipartWriter("form-data") as parts:
        for name, text in (("file", "plain"), ("meta", json.dumps(IMPROVE))):
            parts.append(text).set_content_disposition("form-data", name=name)
    async with service() as at, at.session.post(at.base + PATHS[0], params=QUERY, data=parts) as response:
        assert await response.json() == refused("could not get image by name file: http: no such file")


@pytest.mark.parametrize("body", [gzip.compress(bytes(5_000_000)), b"no gzip"], ids=["gzip", "broken"])
async def test_a_compressed_request_is_refused_and_the_next_served(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Encoding": "gzip"}
    async with service() as at:
        async with at.session.post(at.base + PATHS[0], params=QUERY, data=body, headers=headers) as response:
            status, answer = response.status, await response.json()
        assert (await at.post(IMPROVE))[0] == 200
    text = "request Content-Encoding gzip isn't supported: send the form as it is"
    assert (status, answer) == (415, refused(text, 415))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("meta", "files", "text"),
    [
        (RESOLUTION | {"rfactor": 1010}, None, "rfactor must be 2 or 4"),
        (RESOLUTION | {"rfactor": "many"}, None, "rfactor must be 2 or 4"),
        (RESOLUTION | {"rfactor": None}, None, "rfactor must be 2 or 4"),
        (RESOLUTION | {"rtype": "sculpture"}, None, "rtype must be art or photo"),
        (RESOLUTION | {"rtype": None}, None, "rtype must be art or photo"),
        (RESOLUTION | {"rtype": []}, None, "rtype must be art or photo"),
        (RESOLUTION | {"ftype": "art"}, None, "rtype must be art or photo"),
        (RESOLUTION, {"file": b""}, "empty image"),
        (
            RESOLUTION | {"images": [{"name": "file1"}]},
            None,
            "could not get image by name file1: http: no such file",
        ),
        (None, None, "meta is required"),
        (IMPROVE | {"mode": []}, None, "mode is required"),
        (IMPROVE | {"mode": ["paint"]}, None, "unknown mode paint"),
        (IMPROVE | {"images": []}, None, "images must be a list of non-empty names"),
        (IMPROVE | {"images": [{"name": ""}]}, None, "images must be a list of non-empty names"),
        (asking(["file", "file"], "improve"), None, "names of images must be unique"),
        (asking("abc", "improve"), {"a": b"1"}, "too many images: 3, at most 2"),
        (IMPROVE, {"a": b"1", "b": b"1", "c": b"1"}, "too many images: at most 2"),
        (IMPROVE, {"file": b"1" * 5001}, "could not get image by name file: larger than 5000 bytes"),
    ],
)
@pytest.mark.parametrize(("style", "http"), [("http", 400), ("envelope", 200)])
async def test_refusals(meta: Any, files: Any, text: str, style: str, http: int) -> None:
    async with service(limits=Limits(max_images=2, max_image_bytes=5000), error_style=style) as at:
        assert await at.post(meta, files) == (http, refused(text))


@pytest.mark.parametrize("meta", ["", "{", "[]", '{"mode":"improve"}', '{"images":[{}],"mode":["improve"]}'])
async def test_meta_that_cannot_be_understood(meta: str) -> None:
    async with service() as at:
        status, answer = await at.post(meta)
    assert (status, answer["body"].partition(":")[0]) == (400, "could not parse meta")


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"{}", "application/json", "request Content-Type isn't multipart/form-data"),
        (b"", "multipart/form-data; boundary=b", "could not parse multipart form"),
        (b"--b\r\nno form", "multipart/form-data; boundary=b", "could not parse multipart form"),
        (b"x", "multipart/form-data", "could not parse multipart form"),
        (
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--",
            "multipart/form-data; boundary=b",
            "nested multipart is not supported",
        ),
    ],
)
async def test_bodies_that_are_not_a_form(body: bytes, kind: str, text: str) -> None:
    async with (
        service() as at,
        at.session.post(at.base + PATHS[0], params=QUERY, data=body, headers={"Content-Type": kind}) as response,
    ):
        assert (response.status, await response.json()) == (400, refused(text))


@pytest.mark.parametrize("query", [{}, {"oauth_provider": "mcs", "oauth_token": ""}, {"oauth_token": "bait"}])
async def test_access_needs_provider_and_token(query: dict[str, str]) -> None:
    async with service() as at:
        status, answer = await at.post(IMPROVE, query=query)
    assert (status, answer["status"], answer["body"].startswith("authorization failed")) == (403, 403, True)
    assert "bait" not in answer["body"]


async def test_a_token_that_is_not_accepted_is_echoed_as_the_real_service_does() -> None:
    async with service(accepts=lambda token: token == "good") as at:
        bad, answer = await at.post(IMPROVE)
        good, _ = await at.post(IMPROVE, query=QUERY | {"oauth_token": "good"})
    assert (bad, good) == (403, 200)
    assert answer["body"] == 'authorization failed: oauth_token "bait-token": Access Token invalid'


async def test_a_request_of_several_images_is_limited_and_one_image_may_go_alone() -> None:
    limits = Limits(max_image_bytes=3000, max_request_bytes=4000)
    one = pictures.heavy(2900)
    async with service(limits=limits) as at:
        assert (await at.post(asking("a", "improve"), {"a": one}))[0] == 200
        assert await at.post(asking("ab", "improve"), {"a": one, "b": one}) == (
            413,
            refused("request body too large: at most 4000 bytes", 413),
        )
    async with service(limits=Limits(max_image_bytes=5000, max_request_bytes=10)) as at:
        assert (await at.post(asking("a", "improve"), {"a": one}))[0] == 200
        assert (await at.post(IMPROVE, {"file": bytes(1_100_000)}))[0] == 413


@pytest.mark.slow
async def test_large_images_go_through_a_temporary_file() -> None:
    photos = {f"file_{n}": pictures.heavy(1_900_000, seed=n) for n in range(4)}
    async with service() as at:
        _, answer = await at.post(asking(photos, "improve", "resolution"), photos)
    for items in answer["body"].values():
        assert {item["name"] for item in items} == set(photos)
        assert all(kinds(item, photos[item["name"]]) for item in items)


async def test_the_first_image_of_a_name_counts() -> None:
    data = aiohttp.FormData()
    for seed in (1, 2):
        data.add_field("file", pictures.jpeg(seed=seed), filename="x")
    data.add_field("meta", json.dumps(IMPROVE))
    async with service() as at, at.session.post(at.base + PATHS[0], params=QUERY, data=data) as response:
        answer = await response.json()
    assert kinds(answer["body"]["improve"][0], pictures.jpeg(seed=1))


class Unsteady(EchoEngine):
    """Fails in every way an engine can, by what the image says."""

    def improve(self, image: bytes, /) -> Improved:
        if image == b"bug":
            raise ZeroDivisionError
        if image == b"huge":
            raise ItemRefused("image dimensions are too large", status=1)
        if image == b"good":
            return Improved()
        return super().improve(image)


async def test_one_bad_image_does_not_affect_the_others() -> None:
    files = {"ok": pictures.jpeg(), "bad": b"no picture", "bug": b"bug", "huge": b"huge", "good": b"good"}
    async with service(engine=Unsteady()) as at:
        status, answer = await at.post(asking(files, "improve"), files)
    items = {item.pop("name"): item for item in answer["body"]["improve"]}
    assert status == 200
    assert kinds(items.pop("ok"), pictures.jpeg())
    assert items == {
        "bad": {"status": 2, "error": "unable decode input image"},
        "bug": {"status": 2, "error": "internal error"},
        "huge": {"status": 1, "error": "image dimensions are too large"},
        "good": {"status": 0, "bw": False},
    }


class Gated(EchoEngine):
    """Holds every image but the first until it is let go; counts what it finished."""

    def __init__(self) -> None:
        self.first = pictures.jpeg()
        self.go = Event()
        self.started = Semaphore(0)
        self.begun = 0

    def improve(self, image: bytes, /) -> Improved:
        self.begun += 1
        self.started.release()
        if image != self.first:
            assert self.go.wait(30)
        return super().improve(image)


async def test_the_answer_streams_as_images_finish() -> None:
    engine = Gated()
    files = {"b": pictures.jpeg(seed=1), "a": engine.first}
    async with service(engine=engine) as at:
        data = form(asking(files, "improve"), files)
        async with at.session.post(at.base + PATHS[0], params=QUERY, data=data) as response:
            begun = b""
            while b'"name":"a"' not in begun:
                begun += await response.content.readany()
            engine.go.set()
            answer = json.loads(begun + await response.content.read())
    assert [item["name"] for item in answer["body"]["improve"]] == ["a", "b"]


async def test_spaces_are_sent_during_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smarty_async.local.response.BLANK_EVERY", 0.001)
    engine = Gated()
    files = {"b": pictures.jpeg(seed=1)}
    async with service(engine=engine) as at:
        data = form(asking(files, "improve"), files)
        async with at.session.post(at.base + PATHS[0], params=QUERY, data=data) as response:
            begun = b""
            while b"  " not in begun:
                begun += await response.content.readany()
            engine.go.set()
            answer = json.loads(begun + await response.content.read())
    assert [item["name"] for item in answer["body"]["improve"]] == ["b"]


class Patient(EchoEngine):
    """Works until the request is cancelled."""

    def __init__(self) -> None:
        self.started = Event()
        self.cancelled = Event()

    def improve(self, image: bytes, /) -> Improved:
        self.started.set()
        try:
            for _ in range(30_000):
                check_wanted()
                self.cancelled.wait(0.001)
        except Abandoned:
            self.cancelled.set()
            raise
        return super().improve(image)


async def test_work_is_cancelled_when_its_client_disconnects() -> None:
    engine = Patient()
    async with service(engine=engine) as at:
        async with at.session.post(at.base + PATHS[0], params=QUERY, data=form(IMPROVE)):
            assert await asyncio.to_thread(engine.started.wait, 30)
        assert await asyncio.to_thread(engine.cancelled.wait, 30)


async def test_a_client_that_disconnects_cancels_its_queued_work() -> None:
    engine = Gated()
    files = {f"file_{n}": pictures.jpeg(seed=n) for n in range(1, 9)}
    async with service(engine=engine) as at:
        data = form(asking(files, "improve"), files)
        async with at.session.post(at.base + PATHS[0], params=QUERY, data=data):
            for _ in range(2):
                assert await asyncio.to_thread(engine.started.acquire, timeout=30)
        waiting = [task for task in asyncio.all_tasks() if "_write_items" in repr(task.get_coro())]
        await asyncio.gather(*waiting, return_exceptions=True)
        engine.go.set()
        await at.post(IMPROVE)
    assert (len(waiting), engine.begun) == (8, 3)


async def test_healthz() -> None:
    async with service() as at, at.session.get(at.base + "/healthz") as response:
        assert await response.json() == {
            "engine": "echo",
            "workers": 2,
            "max_images": 48,
            "max_image_bytes": usable_memory() // 16,
            "max_request_bytes": None,
            "max_pixels": usable_memory() // 96,
            "pace": None,
        }


async def test_healthz_reports_configured_limits_and_the_pace() -> None:
    limits = Limits(max_images=2, max_image_bytes=5000, max_request_bytes=9000)
    async with service(limits=limits) as at:
        await at.post(IMPROVE)
        async with at.session.get(at.base + "/healthz") as response:
            health = await response.json()
    assert [health[name] for name in limits.__struct_fields__] == [2, 5000, 9000]
    assert health["pace"] > 0


def test_the_pace_is_seconds_a_megapixel_however_many_work_at_the_same_time() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    image = pictures.jpeg(500, 400)
    with pace.measured(image), pace.measured(image):
        now += 2
    now += 100  # nothing is worked on
    with suppress(ItemRefused), pace.measured(image):
        now += 2
        raise ItemRefused("no", status=1)
    assert pace.seconds == pytest.approx(4 / 0.4)


@pytest.mark.slow
async def test_a_large_image_is_taken() -> None:
    photo = pictures.heavy(21_000_000, seed=1)
    async with service() as at:
        _, answer = await at.post(asking(["a", "b"], "improve"), {"a": photo, "b": pictures.jpeg()})
    first, second = sorted(answer["body"]["improve"], key=lambda item: item["name"])
    assert (first["status"], second["status"]) == (0, 0)
    assert kinds(first, photo) == kinds(second, pictures.jpeg()) == {"improved", "colorized_improved", "colorized"}


@pytest.mark.parametrize(
    ("faults", "status", "text"),
    [
        (Faults(fail_request=1), 500, "Internal Server Error"),
        (Faults(unavailable=1, retry_after=7), 503, "Service Unavailable"),
        (Faults(throttle=1, retry_after=7), 429, "Too Many Requests"),
    ],
)
@pytest.mark.parametrize("style", ["http", "envelope"])
async def test_request_faults(faults: Faults, status: int, text: str, style: str) -> None:
    async with (
        service(faults=faults, error_style=style) as at,
        at.session.post(at.base + PATHS[0], params=QUERY, data=form(IMPROVE)) as response,
    ):
        assert response.status == (status if style == "http" else 200)
        assert await response.json() == refused(text, status)
        assert response.headers.get("Retry-After") == (None if status == 500 else "7")


@pytest.mark.slow
async def test_temporary_faults_vary_and_permanent_ones_repeat() -> None:
    files = {f"file_{n}": pictures.jpeg(seed=n) for n in range(40)}
    seen: dict[str, set[int]] = {name: set() for name in files}
    async with service(faults=Faults(fail_temporary=0.4, fail_permanent=0.2, seed=1)) as at:
        for _ in range(12):
            _, answer = await at.post(asking(files, "improve"), files)
            for item in answer["body"]["improve"]:
                seen[item["name"]].add(item["status"])
    assert all(statuses in ({0, 2}, {1, 2}) for statuses in seen.values())
    assert 0 < sum(1 in statuses for statuses in seen.values()) < 20


async def test_the_same_seed_makes_the_same_faults() -> None:
    files = {f"file_{n}": pictures.jpeg(seed=n) for n in range(20)}
    runs: list[list[dict[str, int]]] = []
    for seed in (5, 5, 6):
        async with service(faults=Faults(fail_temporary=0.5, seed=seed)) as at:
            answers = [(await at.post(asking(files, "improve"), files))[1] for _ in range(2)]
        runs.append([{item["name"]: item["status"] for item in a["body"]["improve"]} for a in answers])
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0] != runs[0][1]


async def test_a_dropped_connection_breaks_in_the_middle_of_the_answer() -> None:
    files = {f"file_{n}": pictures.jpeg(seed=n) for n in range(4)}
    received = b""
    async with service(faults=Faults(drop=1)) as at:
        data = form(asking(files, "improve"), files)
        async with at.session.post(at.base + PATHS[0], params=QUERY, data=data) as response:
            try:
                async for piece in response.content.iter_any():
                    received += piece
            except aiohttp.ClientPayloadError:
                pass
            else:
                pytest.fail("the answer was whole")
    assert received.startswith(b'{"status":200,"body":{"improve":[{"status":0,"name":"file_')
    with pytest.raises(json.JSONDecodeError):
        json.loads(received)


@pytest.mark.parametrize("wrong", [{"drop": 1.5}, {"fail_temporary": -0.1}, {"latency": -1}])
def test_fault_rates_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionsError, match=next(iter(wrong))):
        Faults(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 10**30])
async def test_a_seed_may_be_any_integer(seed: int) -> None:
    async with service(faults=Faults(seed=seed, fail_permanent=1)) as at:
        status, answer = await at.post(IMPROVE)
    assert (status, answer["body"]["improve"][0]["status"]) == (200, 1)


def test_limits_are_checked() -> None:
    with pytest.raises(OptionsError, match="max_images"):
        Limits(max_images=0)


def test_engines_by_name() -> None:
    assert [engine_named(name).name for name in ("basic", "echo")] == ["basic", "echo"]
    with pytest.raises(OptionsError, match="basic, echo or restore"):
        engine_named("magic")


def test_a_port_in_use_is_reported() -> None:
    async def twice() -> None:
        async with (
            serving(make_app(engine=EchoEngine())) as port,
            serving(make_app(engine=EchoEngine()), port=port),
        ):
            pass

    with pytest.raises(ConfigurationError, match=r"^cannot listen on 127\.0\.0\.1:\d+: address already in use; choose"):
        asyncio.run(twice())


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "0.0.0.0", "localhost", ""),  # noqa: S104 - is what is tested
        *(pytest.param(host, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")) for host in ("::", "::1")),
    ],
)
async def test_the_address_that_is_announced_can_be_connected_to(host: str) -> None:
    announced: asyncio.Queue[str] = asyncio.Queue()
    app = make_app(engine=EchoEngine())
    serving = asyncio.create_task(serve_until_stopped(app, host=host, port=0, ready=announced.put_nowait))
    try:
        base = await announced.get()
        async with aiohttp.ClientSession() as session, session.get(f"{base}/healthz") as response:
            assert response.status == 200
    finally:
        serving.cancel()
        await asyncio.wait([serving])
