from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest
from support.fake_service import (
    AUTH_PATH,
    KINDS,
    PATH,
    FakeService,
    drop,
    envelope,
    expected,
    expected_bw,
    hold,
    http,
    items,
    ok,
    raw,
    redirect,
    until,
)

PHOTOS = {"file_0": b"first", "file_1": b"second"}


def body_of(photos: dict[str, bytes], *, filename: str | None = "", **meta: Any) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, data in photos.items():
        # An explicit text field, not bytes: FormData would give bytes a file name of its own.
        value = data if filename is not None else data.decode()
        form.add_field(name, value, filename=filename, content_type="image/jpeg")
    whole = {"mode": ["improve"], "images": [{"name": name} for name in photos]} | meta
    form.add_field("meta", json.dumps(whole))
    return form


async def ask(service: FakeService, form: aiohttp.FormData, *, token: str = "t", path: str = PATH) -> tuple[int, Any]:  # noqa: S107
    query = {"oauth_token": token, "oauth_provider": "mcs"}
    async with (
        aiohttp.ClientSession(service.url) as session,
        session.post(path, params=query, data=form, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.json() if answer.content_type == "application/json" else await answer.text()


@pytest.mark.parametrize("path", [PATH, PATH + "/"])
async def test_each_output_is_its_own_photos_and_the_request_is_recorded(path: str) -> None:
    both = body_of(PHOTOS, mode=["improve", "resolution"], rfactor=2, rtype="photo", ftype="photo")
    async with FakeService() as service:
        status, answer = await ask(service, both, path=path)
    assert (status, answer["status"]) == (200, 200)
    for mode, kinds in KINDS.items():
        assert [item["name"] for item in answer["body"][mode]] == list(PHOTOS)
        for item in answer["body"][mode]:
            photo = PHOTOS[item["name"]]
            assert {kind: base64.b64decode(item[kind]) for kind in kinds} == {
                kind: expected(kind, photo) for kind in kinds
            }
            assert item.get("bw") == (expected_bw(photo) if mode == "improve" else None)
    (request,) = service.requests
    assert [(part.name, part.filename, part.data) for part in request.parts[:2]] == [
        ("file_0", "", b"first"),
        ("file_1", "", b"second"),
    ]
    assert request.parts[2].name == "meta"
    assert request.raw_path == f"{path}?oauth_token=t&oauth_provider=mcs"
    assert request.content_length == int(request.headers["Content-Length"])
    assert (service.open_now, service.most_open, service.abandoned) == (0, 1, 0)


ENLARGE: dict[str, Any] = {"mode": ["resolution"], "rfactor": 2, "rtype": "photo", "ftype": "photo"}


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (body_of(PHOTOS, **ENLARGE | {"rfactor": 1010}), "rfactor must be 2 or 4"),
        (body_of({"file_0": b""}, **ENLARGE), "empty image"),
        (
            body_of(PHOTOS, **ENLARGE, images=[{"name": "file1"}]),
            "could not get image by name file1: http: no such file",
        ),
        (body_of(PHOTOS, filename=None), "could not get image by name file_0: http: no such file"),
        (body_of(PHOTOS, images=[{"name": "file_0"}] * 2), "duplicate name file_0"),
        (body_of({f"file_{k}": b"x" for k in range(4)}), "too many images: 4"),
        (body_of({"file_0": bytes(101)}), "image file_0 is too large"),
        (body_of(PHOTOS, mode=[]), "could not parse meta"),
    ],
)
async def test_refuses_what_the_service_refuses(form: aiohttp.FormData, text: str) -> None:
    async with FakeService(max_images=3, max_image_bytes=100) as service:
        status, answer = await ask(service, form)
        assert (status, answer["status"], answer["body"]) == (200, 400, text)
        service.error_http_status = None
        service.max_request_bytes = 10
        assert (await ask(service, body_of({"file_0": bytes(99)})))[0] == 200  # alone it may be any size
        assert (await ask(service, body_of(PHOTOS)))[0] == 413


async def test_answers_as_scripted_and_then_by_default() -> None:
    event = asyncio.Event()
    async with FakeService() as service:
        service.script(
            items(
                {"file_0": {"status": 2, "error": "busy"}, "file_1": {"improved": None}, "file_9": {"status": 1}},
                rename={"colorized": "colored"},
            ),
            items({"file_1": None}),
            envelope(500, "Internal Server Error"),
            http(429, "slow", {"Retry-After": "1"}),
            redirect("http://127.0.0.2/"),
            raw(b'{"status":200}', chunk=1),
            hold(event, then=ok()),
        )
        first = (await ask(service, body_of(PHOTOS)))[1]["body"]["improve"]
        assert first[0] == {"status": 2, "name": "file_0", "error": "busy"}
        assert set(first[1]) == {"status", "name", "colorized_improved", "colored", "bw"}
        assert first[2] == {"status": 1, "name": "file_9"}
        assert len((await ask(service, body_of(PHOTOS)))[1]["body"]["improve"]) == 1
        assert (await ask(service, body_of(PHOTOS)))[1]["status"] == 500
        assert await ask(service, body_of(PHOTOS)) == (429, "slow")
        assert (await ask(service, body_of(PHOTOS)))[0] == 307
        assert await ask(service, body_of(PHOTOS)) == (200, {"status": 200})
        held = asyncio.create_task(ask(service, body_of(PHOTOS)))
        await until(lambda: service.open_now == 1)
        assert (await ask(service, body_of(PHOTOS)))[1]["status"] == 200  # the script is over
        event.set()
        assert (await held)[1]["status"] == 200
        assert (service.open_now, service.most_open, len(service.requests)) == (0, 2, 8)


async def drain(answer: aiohttp.ClientResponse, into: bytearray) -> None:
    async for piece in answer.content.iter_any():
        into += piece


async def test_drops_a_connection_after_exactly_so_many_bytes_and_sees_callers_leave() -> None:
    async with FakeService() as service, aiohttp.ClientSession(service.url) as session:
        query = {"oauth_token": "t", "oauth_provider": "mcs"}
        for count in (1, 300_000):
            service.script(drop(after_bytes=count, of=http(200, "x" * 1_000_000)))
            came = bytearray()
            async with session.post(PATH, params=query, data=body_of(PHOTOS)) as answer:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await drain(answer, came)
            assert len(came) == count
        service.script(drop())
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(PATH, params=query, data=body_of(PHOTOS))
        assert service.abandoned == 0
        service.script(hold(asyncio.Event()))
        left = asyncio.create_task(ask(service, body_of(PHOTOS)))
        await until(lambda: service.open_now == 1)
        left.cancel()
        await until(lambda: service.open_now == 0)
        assert service.abandoned == 1


async def test_tokens_are_granted_checked_and_echoed() -> None:
    grant = {"client_id": "me", "client_secret": "s", "grant_type": "client_credentials"}
    async with FakeService(valid_tokens=set()) as service, aiohttp.ClientSession() as session:
        _, refused = await ask(service, body_of(PHOTOS), token="bait")
        assert refused["status"] == 403
        assert refused["body"].endswith("Access Token invalid: bait")
        service.script_grants(http(503))
        async with session.post(service.auth_url, json=grant) as answer:
            assert answer.status == 503
        async with session.post(service.url + AUTH_PATH, json=grant) as answer:
            tokens = await answer.json()
        assert tokens["expired_in"] == "3600"
        assert (await ask(service, body_of(PHOTOS), token=tokens["access_token"]))[1]["status"] == 200
    assert service.grants == [grant, grant]


async def test_what_the_contract_does_not_allow_fails_the_test() -> None:
    service = FakeService()
    await service.__aenter__()
    status, _ = await ask(service, body_of({"file_0": b"x"}, filename="grandmother.jpg"))
    assert status == 200
    with pytest.raises(AssertionError, match="file name"):
        await service.__aexit__(None)
