"""How quickly ``view`` shows a large folder: ``python -m benchmarks.view --photos 100000``.

It makes a journal of many photos, of which the first screens exist as files, starts the command in a process of its
own, and measures the time from the start of the program to what a browser asks for first. With Playwright and a
Chromium it measures the browser's first screen, too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from PIL import Image, ImageFilter

from smarty_async.archive.journal import schema

__all__ = ["main"]

REAL = 120
"""Photos that exist as files: two pages of the grid."""

SIZE = (4000, 3000)
"""Of those photos, in pixels."""


def main() -> None:
    """Make the folder, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.view", description=__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=1_000)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        out = Path(folder, "out")
        make_folder(out, Path(folder, "photos"), photos=options.photos, folders=options.folders)
        asyncio.run(measure(out))


def make_folder(out: Path, source: Path, *, photos: int, folders: int) -> None:
    """A journal of `photos`, spread over `folders`, with real files for the first `REAL` of them."""
    (out / ".smarty-async").mkdir(parents=True)
    names = [f"album {number % folders:05}/scan {number:07}.jpg" for number in range(photos)]
    with closing(schema.opened(out / ".smarty-async" / "journal.sqlite")) as sql:
        sql.execute("BEGIN")
        sql.executemany(
            "INSERT INTO photos (id, source, photo, place, size, version, outcome, attempts, error_type, error)"
            " VALUES (?, ?, ?, ?, 2000000, '0', ?, 1, ?, ?)",
            rows(os.fsencode(source), names),
        )
        sql.executemany(
            "INSERT INTO answers (photo, mode, spec, state, outputs) VALUES (?, 'improve', 'improve', 'committed', ?)",
            ((number, '{"improved":{"temporary":"","size":1}}') for number in range(1, photos + 1) if number % 1000),
        )
        sql.execute("COMMIT")
    picture = out / "picture.jpg"
    noise = Image.effect_noise((SIZE[0] // 8, SIZE[1] // 8), 60).resize(SIZE).filter(ImageFilter.GaussianBlur(2))
    Image.merge("RGB", [noise, noise.rotate(180), noise]).save(picture, quality=90)
    for name in sorted(names)[:REAL]:
        for path in (source / name, out / "improved" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(picture)


def rows(source: bytes, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """What the table `photos` holds; one in a thousand failed."""
    for number, name in enumerate(names, start=1):
        path = os.fsencode(name)
        failed = ("failed", "permanent", "the service said no") if number % 1000 == 0 else ("restored", None, None)
        yield number, source, path, path, *failed


async def measure(out: Path) -> None:
    """Start ``view`` and ask what its page asks."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "smarty_async", "view", str(out), "--no-browser"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout
        line = (await process.stdout.readline()).decode()
        url = next(word for word in line.split() if word.startswith("http://"))
        print_time("program started, address printed", time.perf_counter() - started)
        async with aiohttp.ClientSession(url) as session:
            await measure_answers(session)
        print_time("program started, all of the above answered", time.perf_counter() - started)
        await measure_browser(url)
    finally:
        process.terminate()
        await process.wait()


async def measure_answers(session: aiohttp.ClientSession) -> None:
    """The page, its data, thumbnails, and questions that are harder to answer."""

    async def get(path: str) -> Any:
        async with session.get(path) as response:
            assert response.status == 200, path
            return await response.json() if response.content_type == "application/json" else await response.read()

    await timed("index.html", lambda: get("/"))
    await timed("summary, journal read for the first time", lambda: get("api/summary"))
    await timed("summary again", lambda: get("api/summary"))
    first = await timed("first page of 60 photos", lambda: get("api/photos?limit=60"))
    await timed("first page of the rare failed ones", lambda: get("api/photos?limit=60&state=failed"))
    await timed("a page in the middle", lambda: get("api/photos?limit=60&after=500"))
    ids = [photo["id"] for photo in first["photos"][:12]]
    pictures = [f"thumbnails/{photo}/{which}" for photo in ids for which in ("before", "improved")]
    size = f"{SIZE[0] * SIZE[1] / 1e6:.0f} megapixels"
    await timed(f"24 thumbnails of {size}, made", lambda: asyncio.gather(*map(get, pictures)))
    await timed("24 thumbnails, kept", lambda: asyncio.gather(*map(get, pictures)))


async def measure_browser(url: str) -> None:
    """From opening the address to the first screen, where there is a browser for it."""
    browser_path = shutil.which("chromium")
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - it may be missing
    except ImportError:
        browser_path = None
    if browser_path is None:
        print("no Chromium or no Playwright: the browser is not measured")
        return
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        tab = await browser.new_page()
        start = time.perf_counter()
        await tab.goto(url)
        await tab.locator(".card").first.wait_for()
        print_time("browser: grid on the screen", time.perf_counter() - start)
        await tab.wait_for_function("[...document.images].slice(0, 16).every((image) => image.complete)")
        print_time("browser: its thumbnails, too", time.perf_counter() - start)
        await browser.close()


async def timed(what: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do it and say how long it took."""
    start = time.perf_counter()
    result = await work()
    print_time(what, time.perf_counter() - start)
    return result


def print_time(what: str, seconds: float) -> None:
    """One line of the result."""
    print(f"{seconds * 1000:8.0f} ms  {what}", flush=True)


if __name__ == "__main__":
    main()
