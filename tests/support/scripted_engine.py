"""An engine process for tests: the image says what it does."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from smarty_async.local.engine import EchoEngine, Improved, ItemRefused
from smarty_async.local.engine.protocol import check_wanted
from smarty_async.local.engine_process import run_engine


class Scripted(EchoEngine):
    """Returns the image and the number of its process, or does what the image says."""

    def improve(self, image: bytes, /) -> Improved:
        word, _, rest = image.partition(b" ")
        if word == b"die":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        if word == b"refuse":
            raise ItemRefused("not this one", status=1)
        if word == b"fail":
            raise ZeroDivisionError("on purpose")
        if word == b"fill":
            raise MemoryError
        if word == b"wait":
            self._wait(Path(os.fsdecode(rest)))
        # As libraries do; it must not get between the messages.
        print("a library's chatter")
        return Improved(improved=image, colorized=b"%d" % os.getpid(), bw=True)

    def _wait(self, place: Path) -> None:
        """Create a file when the work begins, and one when it is cancelled."""
        place.with_suffix(".begun").touch()
        try:
            while True:
                check_wanted()
                time.sleep(0.01)
        finally:
            place.with_suffix(".ended").touch()

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:
        return b"%d %s " % (factor, rtype.encode()) + image


if __name__ == "__main__":
    if sys.argv[1] == "broken":
        sys.exit("it does not start")
    if sys.argv[1].startswith("talking "):
        Path(sys.argv[1].removeprefix("talking ")).write_text(str(os.getpid()))
        print("what a sitecustomize prints", flush=True)
    run_engine(Scripted)
