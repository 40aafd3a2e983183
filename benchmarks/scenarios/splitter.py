"""The answer splitter alone: 32 MB of answer in pieces of 64 KiB, against pybase64 on the same base64 whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from time import perf_counter

import pybase64

from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.server import picture
from smarty_async.wire.splitter import AnswerSplitter

__all__ = ["compare", "measure"]

_ANSWER, _PIECE = 32_000_000, 1 << 16
_SIZES = {"one output of 24 MB": 23_999_700, "outputs of 1 MB": 999_900, "outputs of 100 KB": 99_900}
_SPEED, _PEAK = "MB/s", "peak bytes / 64 KiB"


def measure(lab: Lab) -> Iterator[Row]:
    """The two in turns; what the splitter gives is let go of at once."""
    for case, size in _SIZES.items():
        text = pybase64.b64encode(picture(size))
        count = _ANSWER // len(text)
        whole = text * count  # no padding: the sizes are multiples of 3
        items = b",".join(b'{"status":0,"name":"file_%d","improved":"%b"}' % (n, text) for n in range(count))
        answer = b'{"status":200,"body":{"improve":[' + items + b"]}}"
        pieces = [answer[start : start + _PIECE] for start in range(0, len(answer), _PIECE)]
        for _ in range(max(9, lab.repeats)):
            began = perf_counter()
            pybase64.b64decode(whole, validate=True)
            yield Row(case, "pybase64", _SPEED, len(answer) / 1e6 / (perf_counter() - began))
            began = perf_counter()
            _split(pieces)
            yield Row(case, "splitter", _SPEED, len(answer) / 1e6 / (perf_counter() - began))
        tracemalloc.start()
        _split(pieces)
        yield Row(case, "splitter", _PEAK, tracemalloc.get_traced_memory()[1] / _PIECE)
        tracemalloc.stop()


def _split(pieces: list[bytes]) -> None:
    splitter = AnswerSplitter()
    for piece in pieces:
        splitter.feed(piece, [])
    splitter.finish()


def compare(medians: Medians) -> Iterator[Ratio]:
    """The splitter's speed to pybase64's, and its memory."""
    for case in _SIZES:
        yield Ratio(
            case,
            "splitter / pybase64, speed",
            medians[case, "splitter", _SPEED] / medians[case, "pybase64", _SPEED],
            "≥0.6",
        )
        yield Ratio(case, "splitter's peak memory / 64 KiB", medians[case, "splitter", _PEAK], "O(1)")
