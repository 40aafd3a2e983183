"""How long `smarty-async --help` and `import smarty_async` take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter

from benchmarks.scenarios import Lab, Medians, Ratio, Row

__all__ = ["compare", "measure"]

_COMMANDS = {
    "bare interpreter": ("-c", "pass"),
    "import smarty_async": ("-c", "import smarty_async"),
    "import SmartyClient": ("-c", "from smarty_async import SmartyClient"),
    "smarty-async --help": ("-m", "smarty_async", "--help"),
}
_SECONDS = "s"


def measure(lab: Lab) -> Iterator[Row]:
    """Each in turn, in a process of its own."""
    for _ in range(max(9, lab.repeats)):
        for name, arguments in _COMMANDS.items():
            began = perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)  # noqa: S603
            yield Row(name, "ours", _SECONDS, perf_counter() - began)


def compare(medians: Medians) -> Iterator[Ratio]:
    """To the goals."""
    bare = medians["bare interpreter", "ours", _SECONDS]
    yield Ratio("smarty-async --help", "time / 150 ms", medians["smarty-async --help", "ours", _SECONDS] / 0.15, "≤1")
    for name in ("import smarty_async", "import SmartyClient"):
        beyond = medians[name, "ours", _SECONDS] - bare
        yield Ratio(name, "time beyond a bare interpreter / 120 ms", beyond / 0.12, "≤1" if "C" not in name else "")
