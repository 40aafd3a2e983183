"""Folders of photos for tests of the disk side, runs over them, and looks at what those left."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smarty_async import SmartyClient
from smarty_async.options import Limits
from smarty_async.results import Result
from support.fake_service import KINDS, FakeService, expected
from support.pictures import heavy

IMPROVED = KINDS["improve"]
STATE = ".smarty-async"


async def at_once(_: float) -> None:
    """Waits for nothing; where a caller would wait some seconds."""
    await asyncio.sleep(0)


def photo(name: str) -> bytes:
    """A small photo, one for each name."""
    return heavy(2000, seed=zlib.crc32(name.encode("utf-8", "surrogateescape")))


def fill(folder: Path, *names: str) -> dict[str, bytes]:
    """Put a photo of its own under each of `names` in `folder`, and give their bytes by name."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = {name: photo(name) for name in names}
    for name, data in photos.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return photos


def client(service: FakeService, **choices: Any) -> SmartyClient:
    keywords: dict[str, Any] = {"base_url": service.url, "sleep": at_once} | choices
    return SmartyClient(**keywords)


async def restore(
    service: FakeService, source: Any, out: Path, *, limits: Limits | None = None, concurrency: int = 8, **choices: Any
) -> list[Result]:
    """One whole run."""
    async with client(service, limits=limits, concurrency=concurrency) as open_client:
        return [result async for result in open_client.improve_archive(source, out=out, **choices)]


def outcomes(results: Iterable[Result]) -> dict[str, str]:
    reported = list(results)
    by_photo = {result.photo: result.outcome for result in reported}
    assert len(by_photo) == len(reported), "a photo was reported of twice"
    return {name: str(outcome) for name, outcome in by_photo.items()}


def lines(out: Path) -> list[dict[str, Any]]:
    """``results.jsonl``, one line a photo."""
    text = (out / "results.jsonl").read_bytes()
    assert not text or text.endswith(b"\n")
    found = [json.loads(line) for line in text.splitlines()]
    twice = [name for name, times in Counter((line["source"], line["photo"]) for line in found).items() if times > 1]
    assert not twice, twice
    return found


def line_of(out: Path, name: str) -> dict[str, Any]:
    return next(line for line in lines(out) if line["photo"] == name)


def tree(out: Path) -> set[str]:
    """The outputs under `out`."""
    files = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if path.parts[0] != STATE} - {"results.jsonl"}


def temporaries(out: Path) -> list[str]:
    """What a run left that it should not."""
    known = ("journal.sqlite", "lock", "tmp")
    files = [path for path in (out / STATE).rglob("*") if path.is_file()]
    return [path.name for path in files if not path.name.startswith(known)]


def assert_right(out: Path, photos: dict[str, bytes], *, kinds: Iterable[str] = IMPROVED) -> None:
    """Every output of `photos` is there, each its own photo's byte for byte, and nothing else is."""
    right = {f"{kind}/{output_of(name)}": expected(kind, data) for name, data in photos.items() for kind in kinds}
    assert tree(out) == set(right)
    wrong = [path for path, data in right.items() if (out / path).read_bytes() != data]
    assert not wrong, wrong
    assert not temporaries(out)


def output_of(name: str) -> str:
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"


def is_there(path: Path) -> bool:
    return path.exists()


def sent(service: FakeService) -> list[bytes]:
    """Every image that was paid for, in order."""
    return [image for request in service.requests for image in request.images.values()]
