"""The answer splitter alone: 32 MB of answer in pieces of 64 and 256 KiB, against pybase64 on the same base64 whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from time import process_time

import pybase64

from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.server import KINDS, picture
from smarty_async.wire.splitter import AnswerSplitter

__all__ = ["compare", "measure"]

_ANSWER = 32_000_000
_SIZES = {
    "one output of 24 MB": (23_999_700, KINDS[:1]),
    "outputs of 1 MB": (999_900, KINDS[:1]),
    "outputs of 100 KB": (99_900, KINDS[:1]),
    "photos of 20 KB, three outputs each": (20_100, KINDS),
}
_PIECES = {"pieces of 64 KiB": 1 << 16, "pieces of 256 KiB": 1 << 18}
_SPEED, _PEAK = "MB/s", "peak bytes / piece"


def measure(lab: Lab) -> Iterator[Row]:
    """In turns, in CPU time; what the splitter gives is let go of piece by piece."""
    for case, (size, kinds) in _SIZES.items():
        text = pybase64.b64encode(picture(size))
        count = _ANSWER // len(text) // len(kinds)
        whole = text * count * len(kinds)  # no padding: the sizes are multiples of 3
        answer = _answer(text, count, kinds)
        batches = {
            _in(case, name): [answer[start : start + piece] for start in range(0, len(answer), piece)]
            for name, piece in _PIECES.items()
        }
        for _ in range(max(9, lab.repeats)):
            began = process_time()
            pybase64.b64decode(whole, validate=True)
            decoding = process_time() - began
            for name, pieces in batches.items():
                yield Row(name, "pybase64", _SPEED, len(answer) / 1e6 / decoding)
                began = process_time()
                _split(pieces)
                yield Row(name, "splitter", _SPEED, len(answer) / 1e6 / (process_time() - began))
        for name, pieces in batches.items():
            tracemalloc.start()
            _split(pieces)
            yield Row(name, "splitter", _PEAK, tracemalloc.get_traced_memory()[1] / len(pieces[0]))
            tracemalloc.stop()


def _answer(text: bytes, count: int, kinds: tuple[str, ...]) -> bytes:
    """`count` items as the service writes them, `text` in the field of each of `kinds`."""
    outputs = b"".join(b',"%b":"%b"' % (kind.encode(), text) for kind in kinds)
    items = b",".join(b'{"status":0,"name":"file_%d"%b,"bw":false}' % (n, outputs) for n in range(count))
    return b'{"status":200,"body":{"improve":[' + items + b']},"htmlencoded":false,"last_modified":0}'


def _in(case: str, pieces: str) -> str:
    return f"{case}, {pieces}"


def _split(pieces: list[bytes]) -> None:
    splitter = AnswerSplitter()
    for piece in pieces:
        splitter.feed(piece, [])
    splitter.finish()


def compare(medians: Medians) -> Iterator[Ratio]:
    """The splitter's speed to pybase64's, and its memory."""
    for case in (_in(case, pieces) for case in _SIZES for pieces in _PIECES):
        yield Ratio(
            case,
            "splitter / pybase64, speed",
            medians[case, "splitter", _SPEED] / medians[case, "pybase64", _SPEED],
            "≥0.6",
        )
        yield Ratio(case, "splitter's peak memory / a piece", medians[case, "splitter", _PEAK], "O(1)")
