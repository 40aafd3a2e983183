"""Prints the way of one photo through the package: which files it passes through, and how often control moves on.

    python -m benchmarks.trace_one_photo [--calls]

Photos are restored to disk through the command line's own path, against a service in this process that echoes them. A
profile function sees every call, in the event loop's thread and in all others. A move is a step from a function of one
file of the package to a function of another. A coroutine or a generator that continues counts as a call again; how many
moves there are without these is printed, too.

There are two figures. A run of one photo opens and closes everything: the journal, the output folder, the connection.
What each further photo of a run takes is the difference between two longer runs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import Counter
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

import smarty_async
from smarty_async import SmartyClient
from smarty_async.local.engine import engine_named
from smarty_async.local.server import make_app, serving

PACKAGE = Path(smarty_async.__file__).parent
OUTSIDE = ("local/", "web/")
"""The embedded service plays the service's part here: it is not on the photo's way."""
FEW, MANY = 100, 400
"""Photos of the two runs that are compared."""
LEAST_CALLS = 0.05
"""Calls a photo below which a file or a function is left out: it works for a request, or a batch of a scan."""


class Trace:
    """The files of the package that calls pass through, in order, for each thread."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.moves = 0
        self.moves_of_calls = 0
        self._last: dict[int, str] = {}
        self._last_called: dict[int, str] = {}
        self._suspendable: set[FrameType] = set()

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """What `sys.setprofile` calls."""
        if event != "call":
            return
        path = frame.f_code.co_filename
        if not path.startswith(str(PACKAGE)):
            return
        file = Path(path).relative_to(PACKAGE).as_posix()
        if file.startswith(OUTSIDE):
            return
        self.calls[f"{file}:{frame.f_code.co_qualname}"] += 1
        thread = threading.get_ident()
        self.moves += self._last.get(thread, file) != file
        self._last[thread] = file
        if not self._continues(frame):
            self.moves_of_calls += self._last_called.get(thread, file) != file
            self._last_called[thread] = file

    def _continues(self, frame: FrameType) -> bool:
        """Whether `frame` is a coroutine or a generator that was entered before."""
        if not frame.f_code.co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR):
            return False
        known = frame in self._suspendable
        self._suspendable.add(frame)
        return known

    @property
    def files(self) -> Counter[str]:
        """Calls by file."""
        files: Counter[str] = Counter()
        for call, count in self.calls.items():
            files[call.partition(":")[0]] += count
        return files


def write_photos(folder: Path, count: int) -> None:
    """Write so many photos of different content, few of them of the same size."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.jpg"
        Image.new("RGB", (64 + number % 7, 48 + number // 7), (number % 256, 7, 9)).save(path)
        with path.open("ab") as file:
            file.write(bytes(number))


async def trace(photos: int) -> Trace:
    """Restore so many photos in one run and trace it."""
    found = Trace()
    with tempfile.TemporaryDirectory() as folder:
        archive, out = Path(folder, "photos"), Path(folder, "out")
        write_photos(archive, photos)
        service = make_app(engine=engine_named("echo"))
        async with serving(service) as port, SmartyClient(base_url=f"http://127.0.0.1:{port}") as client:
            sys.setprofile(found.profile)
            threading.setprofile(found.profile)
            try:
                async for result in client.improve_archive(archive, out=out):
                    assert result.error is None, result
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
    return found


def each_further(few: Counter[str], many: Counter[str]) -> dict[str, float]:
    """Calls that each further photo takes, by what is called, the most first; without what is shared by many photos."""
    further = {name: (count - few[name]) / (MANY - FEW) for name, count in many.items()}
    return {name: calls for name, calls in sorted(further.items(), key=lambda one: -one[1]) if calls >= LEAST_CALLS}


def main() -> None:
    """Print what was traced."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", action="store_true", help="print every function, too")
    arguments = parser.parse_args()
    one, few, many = (asyncio.run(trace(photos)) for photos in (1, FEW, MANY))
    print("A run of one photo:")
    for name, count in (one.calls if arguments.calls else one.files).most_common():
        print(f"{count:8} {name}")
    print(f"{len(one.files)} files, {one.moves} moves ({one.moves_of_calls} by calls), {one.calls.total()} calls\n")
    print("Each further photo of a run:")
    files = each_further(few.files, many.files)
    for name, calls in (each_further(few.calls, many.calls) if arguments.calls else files).items():
        print(f"{calls:8.2f} {name}")
    print(f"{len(files)} files, {sum(files.values()):.0f} calls")


if __name__ == "__main__":
    main()
