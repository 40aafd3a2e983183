"""The before/after page's server: its JSON, its pictures, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import ExifTags, Image
from support import pictures
from support.journals import Entry, add_entries, make_output_folder, picture_entry
from support.metadata_samples import srgb_profile
from support.permissions import without_privileges
from yarl import URL

from smarty_async.errors import ConfigurationError, PhotoRejected
from smarty_async.report.page import view
from smarty_async.report.page.previews import Previews, render
from smarty_async.report.page.server import ASSETS
from smarty_async.web.assets import read_asset

MARKUP = "<img src=x onerror=alert(1)>.jpg"


class Page:
    """The server, asked by its own page."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, path: str, **headers: str) -> tuple[int, str, bytes]:
        """Status, media type and body; `path` goes out as it is."""
        url = URL(self.url + path, encoded=True)
        async with self.session.get(url, headers=headers) as response:
            return response.status, response.content_type, await response.read()

    async def json(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            assert response.status == 200
            return await response.json()


@asynccontextmanager
async def page_of(out: Path) -> AsyncIterator[Page]:
    async with view(out, open_browser=False) as url, aiohttp.ClientSession() as session:
        yield Page(session, url)


@pytest.fixture
def results(out: Path, source: Path) -> Path:
    entries = [
        picture_entry("cat.jpg", "improved", "resolved", seed=1),
        picture_entry(MARKUP, "improved", seed=2),
        Entry(name="scans/one.tif", outcome="already_good", original=pictures.tiff(900, 600)),
        Entry(name="text.jpg", outcome="rejected", original=b"no picture", error=("not_an_image", "<b>no</b>")),
        Entry(name="gone.jpg", outcome="failed", error=("permanent", "said no")),
    ]
    return make_output_folder(out, source, entries)


async def card(page: Page, name: str) -> dict[str, Any]:
    found = await page.json("api/photos")
    return next(one for one in found["photos"] if one["name"] == name)


async def test_summary(results: Path) -> None:
    async with page_of(results) as page:
        summary = await page.json("api/summary")
    assert summary["title"] == "out"
    assert summary["counts"] == {"restored": 2, "already_good": 1, "failed": 1, "rejected": 1}
    assert [(folder["name"], sum(folder["counts"].values())) for folder in summary["folders"]] == [
        ("", 4),
        ("scans", 1),
    ]


async def test_photos_come_in_pages(results: Path) -> None:
    async with page_of(results) as page:
        first = await page.json("api/photos?limit=2")
        rest = await page.json(f"api/photos?limit=200&after={first['photos'][-1]['id']}")
        failed = await page.json("api/photos?state=failed")
    assert ([len(first["photos"]), first["more"]], [len(rest["photos"]), rest["more"]]) == ([2, True], [3, False])
    assert [one["name"] for one in failed["photos"]] == ["gone.jpg"]
    assert failed["photos"][0]["error"] == {"type": "permanent", "message": "said no"}
    assert failed["photos"][0]["missing"] == ["before"]
    assert failed["photos"][0]["pictures"] == {}  # not on the disk: the page does not ask for it


async def test_pictures_are_the_files_themselves(results: Path, source: Path) -> None:
    async with page_of(results) as page:
        cat = await card(page, "cat.jpg")
        before = await page.get(f"pictures/{cat['id']}/before")
        resolved = await page.get(f"pictures/{cat['id']}/resolved")
        part = await page.get(f"pictures/{cat['id']}/before", Range="bytes=0-9")
    assert list(cat["pictures"]) == ["before", "improved", "resolved"]
    assert before == (200, "image/jpeg", (source / "cat.jpg").read_bytes())
    assert resolved == (200, "image/jpeg", (results / "resolved" / "cat.jpg").read_bytes())
    assert part == (206, "image/jpeg", before[2][:10])


@pytest.mark.parametrize("ending", [".gz", ".br"])
async def test_a_compressed_file_beside_a_picture_is_not_taken_for_it(ending: str, results: Path, source: Path) -> None:
    (source / f"cat.jpg{ending}").write_bytes(b"something else")
    async with page_of(results) as page:
        cat = await card(page, "cat.jpg")
        address = f"{page.url}pictures/{cat['id']}/before"
        async with page.session.get(address, headers={"Accept-Encoding": "gzip, br"}) as response:
            assert await response.read() == (source / "cat.jpg").read_bytes()
            headers = response.headers
        async with page.session.get(address, headers={"If-None-Match": headers["ETag"]}) as response:
            assert response.status == 304
    assert ("Content-Encoding" in headers, headers["X-Frame-Options"]) == (False, "DENY")


async def test_what_browsers_do_not_show_is_converted(results: Path) -> None:
    async with page_of(results) as page:
        scan = await card(page, "scans/one.tif")
        status, kind, data = await page.get(f"pictures/{scan['id']}/before")
    assert (status, kind) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(data)).size == (900, 600)


XMP_ON_ITS_SIDE = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def on_its_side() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "data", "size"),
    [
        ("exif.webp", pictures.encoded(pictures.scene(80, 60), "WEBP", exif=on_its_side()), (60, 80)),
        ("exif.png", pictures.encoded(pictures.scene(80, 60), "PNG", exif=on_its_side()), (60, 80)),
        ("xmp.jpg", pictures.encoded(pictures.scene(80, 60), xmp=XMP_ON_ITS_SIDE), (60, 80)),
        ("cmyk.jpg", pictures.encoded(pictures.scene(80, 60).convert("CMYK")), (80, 60)),
        ("transparent.png", pictures.encoded(Image.new("RGBA", (80, 60), (0, 0, 0, 0)), "PNG"), (80, 60)),
    ],
    ids=["exif.webp", "exif.png", "xmp.jpg", "cmyk.jpg", "transparent.png"],
)
async def test_what_browsers_show_in_different_ways_is_converted(
    results: Path, source: Path, name: str, data: bytes, size: tuple[int, int]
) -> None:
    add_entries(results, source, [Entry(name=name, outcome="already_good", original=data)])
    async with page_of(results) as page:
        _, kind, shown = await page.get(f"pictures/{(await card(page, name))['id']}/before")
    picture = pictures.opened(shown)
    assert (kind, picture.size, picture.mode, dict(picture.getexif())) == ("image/jpeg", size, "RGB", {})
    if name == "transparent.png":
        assert picture.getpixel((0, 0)) == (255, 255, 255)  # as in the output


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("exif.jpg", pictures.encoded(pictures.scene(80, 60), exif=on_its_side(), xmp=XMP_ON_ITS_SIDE), "image/jpeg"),
        ("opaque.png", pictures.png(), "image/png"),
        ("cut.jpg", pictures.cut(pictures.jpeg(200, 200)), "image/jpeg"),
    ],
    ids=["exif.jpg", "opaque.png", "cut.jpg"],
)
async def test_what_all_browsers_show_alike_is_sent_as_it_is(
    results: Path, source: Path, name: str, data: bytes, kind: str
) -> None:
    add_entries(results, source, [Entry(name=name, outcome="already_good", original=data)])
    async with page_of(results) as page:
        assert await page.get(f"pictures/{(await card(page, name))['id']}/before") == (200, kind, data)


async def test_a_page_of_a_file_is_shown_as_that_page(results: Path, source: Path) -> None:
    first, second = Image.new("RGB", (900, 600), "red"), Image.new("RGB", (600, 900), "blue")
    first.save(source / "two.tif", save_all=True, append_images=[second])
    after = pictures.jpeg(600, 900)
    add_entries(results, source, [Entry(name="two.tif"), Entry(name="two.tif", page=2, outputs={"improved": after})])
    async with page_of(results) as page:
        for name, size, thumbnail_size in (
            ("two.tif", first.size, (480, 320)),
            ("two.tif (page 2)", second.size, (320, 480)),
        ):
            found = await card(page, name)
            _, _, picture = await page.get(f"pictures/{found['id']}/before")
            _, _, thumbnail = await page.get(f"thumbnails/{found['id']}/before")
            assert (pictures.opened(picture).size, pictures.opened(thumbnail).size) == (size, thumbnail_size)
        assert await page.get(f"pictures/{found['id']}/improved") == (200, "image/jpeg", after)


async def test_thumbnails_are_small_and_kept(results: Path) -> None:
    async with page_of(results) as page:
        scan = await card(page, "scans/one.tif")
        status, kind, data = await page.get(f"thumbnails/{scan['id']}/before")
        kept = list((results / ".smarty-async" / "thumbnails").rglob("*.jpg"))
        again = await page.get(f"thumbnails/{scan['id']}/before")
    assert (status, kind, again[2]) == (200, "image/jpeg", data)
    assert Image.open(io.BytesIO(data)).size == (480, 320)
    assert [path.read_bytes() for path in kept] == [data]


async def test_what_is_no_picture_gets_a_sign(results: Path) -> None:
    async with page_of(results) as page:
        text = await card(page, "text.jpg")
        thumbnail = await page.get(f"thumbnails/{text['id']}/before")
        picture = await page.get(f"pictures/{text['id']}/before")
        gone = await page.get(f"pictures/{(await card(page, 'gone.jpg'))['id']}/before")
    assert {one[:2] for one in (thumbnail, picture, gone)} == {(200, "image/svg+xml")}
    assert b"no picture" not in picture[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "pictures/1/..%2F..%2Fcat.jpg",
        "pictures/../../etc/passwd",
        "pictures/1/improved/../../../secret",
        "pictures/..%2f..%2fetc%2fpasswd/before",
        "pictures/1/nonsense",
        "pictures/-1/before",
        "pictures/%D9%A1/before",
        "pictures/999999/before",
        "pictures/99999999999999999999/before",
        "pictures/1/colorized",
        "thumbnails/1/..%2f..%2fjournal.sqlite",
        "assets/..%2fserver.py",
        "assets/../server.py",
        "assets/view.html",
        ".smarty-async/journal.sqlite",
        "results.jsonl",
        "healthz",
    ],
)
async def test_no_address_names_a_file(results: Path, path: str) -> None:
    (results / "results.jsonl").write_text("secret")
    async with page_of(results) as page:
        status, _, data = await page.get(path)
    assert (status, b"secret" in data) == (404, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "folder=1e5", "limit=²", f"after={'9' * 30}", "state=nonsense", "state=%27"]
)
async def test_questions_that_make_no_sense(results: Path, query: str) -> None:
    async with page_of(results) as page:
        status, _, _ = await page.get(f"api/photos?{query}")
    assert status == 400


async def test_nothing_can_be_changed(results: Path) -> None:
    async with page_of(results) as page:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with page.session.request(method, page.url + "api/summary") as response:
                assert response.status == 405


async def test_pages_of_other_sites_are_refused(results: Path) -> None:
    async with page_of(results) as page:
        refused = [
            await page.get("api/photos", Origin="https://evil.example"),
            await page.get("api/photos", Host="evil.example"),
            await page.get("thumbnails/1/before", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}),
        ]
    assert [status for status, _, _ in refused] == [403, 403, 403]


async def test_every_answer_has_the_policy(results: Path) -> None:
    async with page_of(results) as page:
        for path in ("", "assets/view.js", "api/summary", "thumbnails/1/before", "pictures/1/before", "nothing"):
            async with page.session.get(page.url + path) as response:
                assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
                assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_it_listens_on_loopback_and_opens_the_browser(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    async with view(results) as url:
        assert url.startswith("http://127.0.0.1:")
        assert opened == [url]
        port = URL(url).port
        assert port
        with pytest.raises(ConfigurationError, match=f":{port}.*--port"):
            async with view(results, port=port, open_browser=False):
                pass


@pytest.mark.slow
async def test_it_stops_while_pictures_wait_to_be_decoded(out: Path, source: Path) -> None:
    big = pictures.tiff(2000, 1500)
    make_output_folder(out, source, [Entry(name=f"{number}.tif", original=big) for number in range(30)])
    async with aiohttp.ClientSession() as session:
        async with view(out, open_browser=False) as url:
            page = Page(session, url)
            asking = [asyncio.create_task(page.get(f"thumbnails/{number}/before")) for number in range(1, 31)]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        # Each is answered, or its connection is closed; none is waited for in vain.
        ends = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(end, (tuple, aiohttp.ClientError)) for end in ends)


async def test_photos_of_a_run_under_way_appear(results: Path, source: Path) -> None:
    async with page_of(results) as page:
        before = await page.json("api/summary")
        await asyncio.to_thread(add_entries, results, source, [picture_entry("new/one.jpg", "improved")])
        after = await page.json("api/summary")
    assert after["counts"]["restored"] == before["counts"]["restored"] + 1
    assert {"new"} == {one["name"] for one in after["folders"]} - {one["name"] for one in before["folders"]}


def test_the_page_holds_no_inline_script_and_no_address_of_another_host() -> None:
    for name, package in ASSETS.items():
        text = read_asset(package, name)
        assert "innerHTML" not in text
        assert [word for word in text.split() if "://" in word and "www.w3.org/2000/svg" not in word] == []
    html = read_asset(ASSETS["view.html"], "view.html")
    assert html.count("<script") == html.count("<script defer src=")
    assert " style=" not in html
    assert " on" not in html.replace(" only", "")


# pictures


def test_the_cache_has_a_limit(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(pictures.jpeg(200, 200, seed=number))
    one = len(render(tmp_path / "0.jpg", side=100))
    previews = Previews(tmp_path / "cache", max_bytes=4 * one)
    for number in range(12):
        made = previews.get(tmp_path / f"{number}.jpg", side=100)
        assert made.is_file()
    kept = list((tmp_path / "cache").rglob("*.jpg"))
    assert made in kept
    assert sum(path.stat().st_size for path in kept) <= 4 * one


def test_a_thumbnail_that_cannot_be_removed_is_no_obstacle(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.jpg").write_bytes(pictures.jpeg(200, 200, seed=number))
    one = len(render(tmp_path / "0.jpg", side=100))
    stuck = tmp_path / "cache" / "in use" / "old.jpg"
    stuck.parent.mkdir(parents=True)
    stuck.write_bytes(bytes(3 * one))
    os.utime(stuck, ns=(0, 0))
    stuck.parent.chmod(0o500)
    previews = Previews(tmp_path / "cache", max_bytes=5 * one)
    try:
        with without_privileges():
            for number in range(6):
                assert previews.get(tmp_path / f"{number}.jpg", side=100).is_file()
    finally:
        stuck.parent.chmod(0o700)
    kept = list((tmp_path / "cache").rglob("*.jpg"))
    assert stuck in kept
    assert sum(path.stat().st_size for path in kept) <= 5 * one


def test_a_changed_picture_gets_a_new_thumbnail(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(pictures.jpeg(seed=1))
    previews = Previews(tmp_path / "cache")
    before = previews.get(photo, side=50)
    photo.write_bytes(pictures.jpeg(90, 50, seed=2))
    assert previews.get(photo, side=50) != before


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg())
    (tmp_path / "taken").write_bytes(b"")
    previews = Previews(tmp_path / "taken" / "thumbnails")
    made = previews.get(tmp_path / "a.jpg", side=50)
    assert made.is_file()
    previews.close()
    assert not made.exists()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_every_kind_of_picture_is_shown(tmp_path: Path, mode: str) -> None:
    image = Image.new("I;16", (60, 40), 40_000) if mode == "I;16" else pictures.scene(60, 40).convert(mode)
    image.save(tmp_path / "a.tif" if mode in ("I;16", "CMYK") else tmp_path / "a.png")
    [path] = tmp_path.iterdir()
    shown = pictures.opened(render(path, side=100))
    assert (shown.size, shown.mode in ("L", "RGB")) == ((60, 40), True)
    if mode == "I;16":
        assert abs(int(shown.getpixel((5, 5)) or 0) - 40_000 // 257) <= 2  # type: ignore[arg-type]


def test_a_picture_keeps_its_profile_where_that_fits(tmp_path: Path) -> None:
    profile = srgb_profile()
    of_cmyk = profile[:16] + b"CMYK" + profile[20:]  # the colours become sRGB
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, stored in (("RGB", profile), ("CMYK", of_cmyk), ("L", profile)):
        pictures.scene(60, 40).convert(mode).save(tmp_path / "a.jpg", icc_profile=stored, exif=exif)
        shown = pictures.opened(render(tmp_path / "a.jpg", side=30))
        assert (shown.size, shown.info.get("icc_profile")) == ((20, 30), profile if mode == "RGB" else None)


def test_a_photo_on_its_side_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures.scene(60, 40).save(tmp_path / "a.jpg", exif=exif)
    assert pictures.opened(render(tmp_path / "a.jpg", side=100)).size == (40, 60)


@pytest.mark.parametrize("size", [(1, 9000), (9000, 1)])
def test_a_picture_one_pixel_wide_or_high_is_shown(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "a.jpg")
    assert sorted(pictures.opened(render(tmp_path / "a.jpg", side=480)).size) == [1, 480]


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures.huge())
    with pytest.raises(PhotoRejected):
        render(tmp_path / "a.jpg", side=100)


def test_a_picture_whose_damage_no_parser_expects_is_refused(tmp_path: Path) -> None:
    photo = tmp_path / "a.tif"
    Image.new("I;16", (60, 40), 5000).save(photo)
    bits = struct.pack("<HHLL", 258, 3, 1, 16)
    damaged = photo.read_bytes().replace(bits, bits[:8] + bytes(4))
    photo.write_bytes(damaged)
    with pytest.raises(PhotoRejected):
        render(photo, side=100)
