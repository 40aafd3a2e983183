"""The same job, written by different people: photos of a folder up, three outputs each decoded into files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CONTESTANTS", "PATH", "QUERY", "Job", "chunks", "contestant", "outputs"]

PATH = "/api/v1/photo/improve"
QUERY = {"oauth_provider": "mcs", "oauth_token": "t"}
CONTESTANTS = {
    "floor": "floor",
    "ours": "ours",
    "ours, no fsync": "ours_without_fsync",
    "ours, counting": "ours_counting",
    "aiohttp": "with_aiohttp",
    "httpx": "with_httpx",
    "requests": "with_requests",
}
"""The module of each."""


class Job(NamedTuple):
    """What is to be done.

    Attributes:
        photos: the archive.
        out: where outputs go.
        url: the server.
        trusted: the authority of its certificate, None for plain http.
        concurrency: requests open at once.
        ticking: whether to measure how long the event loop is held.
    """

    photos: Path
    out: Path
    url: str
    trusted: str | None = None
    concurrency: int = 8
    ticking: bool = False


def contestant(name: str) -> Callable[[Job], list[float] | None]:
    """What does the job; it returns the delays of a ticker in its loop, when it has one."""
    run: Callable[[Job], list[float] | None] = import_module(f"benchmarks.contestants.{CONTESTANTS[name]}").run
    return run


def chunks(photos: Path, *, images: int = 48, size: int = 29_900_000) -> Iterator[list[Path]]:
    """The photos in chunks that are within the service's limits."""
    chunk: list[Path] = []
    weight = 0
    for photo in sorted(photos.rglob("*.jpg")):
        bytes_ = photo.stat().st_size
        if chunk and (len(chunk) == images or weight + bytes_ > size):
            yield chunk
            chunk, weight = [], 0
        chunk.append(photo)
        weight += bytes_
    if chunk:
        yield chunk


def outputs(answer: dict[str, Any], chunk: list[Path], job: Job) -> Iterator[tuple[Path, str]]:
    """Where each output of a parsed answer goes, its folder made, and its base64."""
    for item in answer["body"]["improve"]:
        photo = chunk[int(item["name"].removeprefix("file_"))]
        for kind in ("improved", "colorized_improved", "colorized"):
            if item.get(kind):
                place = job.out / kind / photo.relative_to(job.photos)
                place.parent.mkdir(parents=True, exist_ok=True)
                yield place, item[kind]
