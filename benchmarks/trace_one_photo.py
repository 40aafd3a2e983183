"""Prints the way of one photo through the package: which files it passes through, and how often control moves on.

    python -m benchmarks.trace_one_photo [--calls]

One photo is restored to disk through the command line's own path, against a service in this process that echoes it.
A profile function sees every call and return, in the event loop's thread and in all others. A move is a step from a
function of one file of the package to a function of another. A coroutine or a generator that continues counts as a call
again; how many moves there are without these is printed, too.
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


async def trace() -> Trace:
    """Restore one photo and trace it."""
    found = Trace()
    with tempfile.TemporaryDirectory() as folder:
        photo, out = Path(folder, "photo.jpg"), Path(folder, "out")
        Image.new("RGB", (64, 48), "gray").save(photo)
        service = make_app(engine=engine_named("echo"))
        async with serving(service) as port, SmartyClient(base_url=f"http://127.0.0.1:{port}") as client:
            sys.setprofile(found.profile)
            threading.setprofile(found.profile)
            try:
                async for result in client.improve_archive(photo, out=out):
                    assert result.error is None, result
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
    return found


def main() -> None:
    """Print what was traced."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", action="store_true", help="print every function, too")
    arguments = parser.parse_args()
    found = asyncio.run(trace())
    for name, count in (found.calls if arguments.calls else found.files).most_common():
        print(f"{count:6} {name}")
    print(
        f"{len(found.files)} files, {found.moves} moves ({found.moves_of_calls} by calls), {found.calls.total()} calls"
    )


if __name__ == "__main__":
    main()
