"""Weights of an ncnn network in 8 bits: for each layer a table of 256 values, and for each weight its place there.

ncnn reads such files by itself and computes with the values of the tables as it does with others.

    python -m training.scratches.tables work/scratches.param work/fill.param

puts tables into the `.bin` files beside these, which `training.scratches.export` wrote in 16 bits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_tables"]

_HALF = 0x01306B47
"""Precedes weights of 16 bits; any other number but 0 and ncnn's tags of other formats announces a table."""

_TABLE = 1

_SIZE = 256

_FEWEST = 4096
"""Weights of a layer from which a table is worth its kilobyte."""

_ROUNDS = 30


def in_tables(param: Path, weights: Path) -> bytes:
    """The contents of an ncnn `.bin` file of 16 bits, with tables instead.

    Args:
        param: the `.param` file; of layers with weights, it has convolutions only.
        weights: the `.bin` file.

    Raises:
        ValueError: the weights are not in 16 bits.
    """
    data, at, parts = weights.read_bytes(), 0, list[bytes]()
    for line in param.read_text(encoding="utf-8").splitlines()[2:]:
        fields = line.split()
        if fields[0] not in {"Convolution", "ConvolutionDepthWise"}:
            continue
        given = dict(field.split("=", 1) for field in fields[4 + int(fields[2]) + int(fields[3]) :])
        count, biases = int(given["6"]), int(given["0"]) * int(given.get("5", "0"))
        if int.from_bytes(data[at : at + 4], "little") != _HALF:
            raise ValueError(f"{weights}: the weights of {fields[1]} are not in 16 bits")
        end = at + 4 + (2 * count + 3) // 4 * 4
        parts.append(data[at:end] if count < _FEWEST else _table(np.frombuffer(data, np.float16, count, at + 4)))
        at = end + 4 * biases
        parts.append(data[end:at])
    if at != len(data):
        raise ValueError(f"{weights}: {len(data) - at} bytes are of no layer")
    return b"".join(parts)


def _table(values: NDArray[np.float16]) -> bytes:
    """A tag, the table, and the places, filled up to a multiple of 4 bytes."""
    exact = values.astype(np.float32)
    table = np.quantile(exact, (np.arange(_SIZE) + 0.5) / _SIZE).astype(np.float32)
    table = (table + np.linspace(exact.min(), exact.max(), _SIZE, dtype=np.float32)) / 2
    for _ in range(_ROUNDS):
        places = _nearest(table, exact)
        counts = np.bincount(places, minlength=_SIZE)
        sums = np.bincount(places, exact, _SIZE)
        table = np.sort(np.where(counts > 0, sums / np.maximum(1, counts), table)).astype(np.float32)
    places = _nearest(table, exact).astype(np.uint8).tobytes()
    return _TABLE.to_bytes(4, "little") + table.tobytes() + places + bytes(-len(places) % 4)


def _nearest(table: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.searchsorted((table[1:] + table[:-1]) / 2, values)


def main() -> None:
    """Put tables into the given files."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.tables", description=__doc__)
    parser.add_argument("params", type=Path, nargs="+", metavar="PARAM", help="`.param` files with `.bin` files beside")
    for param in parser.parse_args().params:
        weights = param.with_suffix(".bin")
        before = weights.stat().st_size
        weights.write_bytes(in_tables(param, weights))
        print(f"{weights}: {before:,} -> {weights.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
