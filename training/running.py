"""What the commands that train networks share: arguments, the log, the learning rate and CUDA graphs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["arguments", "capture", "log_to", "set_rate"]

_ITERATIONS_BEFORE = 4
"""Iterations that run before a graph is captured, as PyTorch asks for."""


def arguments(name: str, text: str | None, *, batch: int) -> argparse.ArgumentParser:
    """The arguments of a command that trains; `name` is its module and `text` its description."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=text)
    parser.add_argument("--pack", type=Path, required=True, help="the folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="where weights and the log go")
    parser.add_argument("--minutes", type=float, default=30, help="how long all of it takes")
    parser.add_argument("--batch", type=int, default=batch, help="samples an iteration")
    parser.add_argument("--most", type=int, help="use only so many photographs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-graphs", action="store_true", help="use no CUDA graphs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def log_to(folder: Path) -> Callable[[str], None]:
    """What prints a line, and appends it to `log.txt` in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        print(line, flush=True)
        with (folder / "log.txt").open("a") as log:
            log.write(f"{line}\n")

    return report


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, also inside a captured graph."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def capture(compute: Callable[[], None], optimizer: torch.optim.Optimizer) -> torch.cuda.CUDAGraph:
    """An iteration, which `compute` runs, as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_ITERATIONS_BEFORE):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    return graph
