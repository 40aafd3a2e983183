"""The embedded service's page in a real browser, and who may use the service."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from support import pictures
from support.browsing import Tab, Tabs

from smarty_async.local.engine import engine_named
from smarty_async.local.server import PATHS, make_app, serving

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MARKUP = "<img src=x onerror=alert(1)>.jpg"
LOADED = """image => image.complete && image.naturalWidth > 0"""
DROP = """
([files]) => {
    const transfer = new DataTransfer();
    for (const { name, data } of files) {
        const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    for (const kind of ["dragover", "drop"]) {
        document.getElementById("drop").dispatchEvent(
            new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true })
        );
    }
}
"""


@pytest_asyncio.fixture(loop_scope="session")
async def url(tabs: Tabs) -> AsyncIterator[str]:
    async with serving(make_app(engine=engine_named("basic"), workers=2)) as port:
        yield f"http://127.0.0.1:{port}"
        await tabs.close()


async def drop(tab: Tab, photos: dict[str, bytes]) -> None:
    files = [{"name": name, "data": base64.b64encode(data).decode()} for name, data in photos.items()]
    await tab.evaluate(DROP, [files])


async def test_a_dropped_photo_comes_back(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await drop(tab, {MARKUP: pictures.faded(160, 120)})
    slider = tab.get_by_role("slider")
    await slider.focus()
    await tab.keyboard.press("Home")
    assert await slider.get_attribute("aria-valuenow") == "0"
    assert await tab.locator(".photo h2").text_content() == MARKUP
    assert await tab.locator("img[src=x]").count() == 0
    await tab.wait_for_function(LOADED, arg=await tab.locator(".before-after-after").element_handle())
    async with tab.expect_download() as started:
        await tab.locator(".links a").first.click()
    saved = await asyncio.to_thread(Path(await (await started.value).path()).read_bytes)
    assert pictures.opened(saved).size == (160, 120)


async def test_several_photos_each_with_its_own_end(tabs: Tabs, url: str) -> None:
    tab = await tabs.open()
    photos = {f"{number}.jpg": pictures.faded(80, 60, seed=number) for number in range(4)}
    await tab.goto(url)
    await drop(tab, photos | {"empty.jpg": b"", "text.txt": b"no picture"})
    await tab.get_by_text("6 of 6 photos done").wait_for()
    assert await tab.locator("before-after").count() == 4
    failed = tab.locator(".photo.failed")
    assert await failed.locator("h2").all_text_contents() == ["empty.jpg", "text.txt"]
    assert await tab.locator(".photo h2").all_text_contents() == [*photos, "empty.jpg", "text.txt"]
    # The browser notes the requests that the empty file spoiled.
    assert all("status of 400" in complaint for complaint in tabs.complaints)
    tabs.complaints.clear()


async def test_enlarged(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await tab.get_by_label("Enlarge ×2").check()
    await drop(tab, {"a.jpg": pictures.jpeg(80, 60)})
    after = tab.locator(".before-after-after")
    await tab.wait_for_function(LOADED, arg=await after.element_handle())
    assert await after.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [160, 120]


async def test_a_photo_may_be_chosen_too(tabs: Tabs, url: str, tmp_path: Path) -> None:
    (tmp_path / "старое фото.jpg").write_bytes(pictures.faded(80, 60))
    tab = await tabs.open(locale="ru")
    await tab.goto(url)
    await tab.set_input_files("#files", tmp_path / "старое фото.jpg")
    await tab.get_by_text("Готово 1 из 1 фотографии").wait_for()
    assert await tab.locator("before-after").count() == 1


async def test_a_page_of_another_site_cannot_use_the_service(tabs: Tabs, url: str) -> None:
    """What a browser does with another site's page, not what we think it does."""

    async def other_page(_request: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><title>other</title><link rel=icon href=data:,>", content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/", other_page)
    async with serving(app) as port:
        tab = await tabs.open()
        await tab.goto(f"http://127.0.0.1:{port}/")
        ask = """async ([url, path]) => {
            const form = new FormData();
            form.append("meta", "{}");
            const answers = await Promise.all([
                fetch(url + path, { method: "POST", body: form, mode: "no-cors" }),
                fetch(url + "/healthz"),
            ].map((answer) => answer.then((response) => response.type, () => "refused")));
            const image = new Image();
            const shown = await new Promise((resolve) => {
                image.onload = () => resolve(true);
                image.onerror = () => resolve(false);
                image.src = url + "/assets/icon.svg";
            });
            return [...answers, shown];
        }"""
        assert await tab.evaluate(ask, [url, PATHS[0]]) == ["refused", "refused", False]
    assert tabs.complaints  # the browser says why
    tabs.complaints.clear()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "smarty-in-docker:8080"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_programs_use_the_service_as_before(headers: dict[str, str], status: int) -> None:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(pictures.jpeg()), filename="a.jpg", content_type="image/jpeg")
    form.add_field("meta", json.dumps({"mode": ["improve"], "images": [{"name": "file"}]}))
    query = {"oauth_provider": "mcs", "oauth_token": "t"}
    async with (
        serving(make_app(engine=engine_named("echo"))) as port,
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}{PATHS[0]}", params=query, data=form, headers=headers) as response,
    ):
        assert response.status == status


async def test_nothing_turns_for_those_who_asked_for_less_motion(tabs: Tabs, url: str) -> None:
    names = []
    for motion in ("no-preference", "reduce"):
        tab = await tabs.open(reduced_motion=motion)
        await tab.goto(url)
        names.append(
            await tab.evaluate(
                """() => {
                    const item = document.getElementById("photo").content.cloneNode(true).firstElementChild;
                    item.className = "photo working";
                    document.getElementById("photos").append(item);
                    return getComputedStyle(item.querySelector(".state"), "::before").animationName;
                }"""
            )
        )
    assert names == ["turn", "none"]


async def test_without_javascript_the_page_says_that_it_needs_it(tabs: Tabs, url: str) -> None:
    tab = await tabs.open(java_script_enabled=False)
    await tab.goto(url)
    assert await tab.locator(".noscript").is_visible()
    assert not await tab.locator("main").is_visible()
