"""Damage clean pictures, have the embedded service restore them, and say how near they came to what they were.

    python -m benchmarks.quality --wheels wheels --out quality

prints PSNR (dB) and SSIM of each task's mean for what was sent, for Lanczos, and for each engine, and writes
`quality.json` and the contact sheet `quality.png`. `originals.py` says where the wheels come from.
"""

from __future__ import annotations

import argparse
import asyncio
import io
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
from PIL import Image

from benchmarks.quality.damage import Array
from benchmarks.quality.measures import psnr, ssim
from benchmarks.quality.originals import drawings, photographs
from benchmarks.quality.sheet import sheet
from benchmarks.quality.tasks import TASKS, Task
from smarty_async import SmartyClient
from smarty_async.local.embedded import embedded_service

ENGINES = ("basic", "restore")


class Score(msgspec.Struct):
    """One picture's way through one task."""

    task: str
    picture: str
    method: str
    psnr: float
    ssim: float
    touched: bool
    seconds: float = 0.0


def opened(data: bytes) -> Array:
    """A file as it would be shown."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def without_service(task: Task, sent: Array) -> tuple[str, Array]:
    """What one has without a service: what was sent, or Lanczos' enlargement of it."""
    if task.factor == 1:
        return "input", sent
    size = (sent.shape[1] * task.factor, sent.shape[0] * task.factor)
    return "lanczos", np.asarray(Image.fromarray(sent).resize(size, Image.Resampling.LANCZOS))


async def through(engine: str, files: list[tuple[Task, bytes]]) -> list[tuple[bytes | None, float]]:
    """What the service makes of the files, None where it left one alone, and how many seconds each took."""
    made: list[tuple[bytes | None, float]] = []
    async with embedded_service(engine=engine) as url, SmartyClient(token="none", base_url=url) as client:  # noqa: S106
        for task, data in files:
            began = perf_counter()
            answer = await client.improve(data, **task.asked)
            made.append((answer.improved if task.factor == 1 else answer.resolved, perf_counter() - began))
    return made


def run(wheels: Path) -> tuple[list[Score], list[tuple[str, dict[str, Array]]]]:
    """All tasks on all pictures: the scores, and the contact sheet's rows."""
    originals = {"photo": photographs(wheels), "art": drawings()}
    cases = [(task, name, np.asarray(image)) for task in TASKS for name, image in originals[task.kind].items()]
    files = [(task, task.sent(clean)) for task, _, clean in cases]
    answers = {engine: asyncio.run(through(engine, files)) for engine in ENGINES}
    scores: list[Score] = []
    rows: list[tuple[str, dict[str, Array]]] = []
    for number, (task, name, clean) in enumerate(cases):
        plain, start = without_service(task, task.cut(opened(files[number][1])))
        truth = task.compare(clean)
        shown = {plain: start}
        scores.append(Score(task.name, name, plain, psnr(start, truth), ssim(start, truth), touched=False))
        for engine in ENGINES:
            data, seconds = answers[engine][number]
            picture = start if data is None else task.cut(opened(data))
            shown[engine] = picture
            scores.append(
                Score(task.name, name, engine, psnr(picture, truth), ssim(picture, truth), data is not None, seconds)
            )
        rows.append((f"{task.name}, {name}", shown | {"original": truth}))
    return scores, rows


def report(scores: list[Score]) -> str:
    """A table of each task's means."""
    lines = [f"{'task':42} {'without':>16} {'basic':>16} {'restore':>16} {'gain':>7} {'touched':>8}"]
    for task in TASKS:
        of_task = [score for score in scores if score.task == task.name]
        methods = list(dict.fromkeys(score.method for score in of_task))
        means = [_mean(of_task, method) for method in methods]
        cells = " ".join(f"{level:8.2f} {likeness:7.4f}" for level, likeness in means)
        touched = [score.touched for score in of_task if score.method == "restore"]
        lines.append(f"{task.name:42} {cells} {means[-1][0] - means[0][0]:+7.2f} {sum(touched):>5}/{len(touched)}")
    return "\n".join(lines)


def _mean(scores: list[Score], method: str) -> tuple[float, float]:
    chosen = [score for score in scores if score.method == method]
    return float(np.mean([score.psnr for score in chosen])), float(np.mean([score.ssim for score in chosen]))


def main() -> None:
    """Run it as it was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True, help="the folder with the downloaded wheels")
    parser.add_argument("--out", type=Path, default=Path("quality"), help="where the report goes")
    options = parser.parse_args()
    scores, rows = run(options.wheels)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality.json").write_bytes(msgspec.json.format(msgspec.json.encode(scores)))
    sheet(rows).save(options.out / "quality.png")
    print(report(scores))


if __name__ == "__main__":
    main()
