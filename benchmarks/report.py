"""What was measured, as JSON, as a Markdown table of ratios, and as plots."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scenarios import Medians, Ratio, Row, scenario

__all__ = ["medians_of", "write"]


def medians_of(rows: list[Row]) -> Medians:
    """Over the repeats, in the order of the rows."""
    values: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        values[row.case, row.contestant, row.quantity].append(row.value)
    return {key: median(some) for key, some in values.items()}


def write(folder: Path, rows: dict[str, list[Row]], *, scale: float, repeats: int) -> str:
    """Write ``results.json``, ``results.md`` and a plot a scenario into `folder`; the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    reported: dict[str, Any] = {"machine": machine, "scale": scale, "repeats": repeats, "scenarios": {}}
    lines = [f"Measured on {machine}; scale {scale:g}, medians of {repeats}.", ""]
    for name, some in rows.items():
        about, medians = scenario(name), medians_of(some)
        ratios = list(about.compare(medians))
        reported["scenarios"][name] = {
            "title": about.title,
            "rows": [row._asdict() for row in some],
            "ratios": [ratio._asdict() for ratio in ratios],
        }
        lines += [f"### {about.title}", "", "| case | ratio of | measured | goal |", "|---|---|---|---|"]
        lines += [f"| {one.case} | {one.what} | {one.ratio:.2f} | {one.goal or '–'} |" for one in ratios]
        lines.append("")
        _plot(folder / f"{name}.png", about.title, ratios)
    (folder / "results.json").write_text(json.dumps(reported, indent=1, ensure_ascii=False) + "\n", "utf-8")
    text = "\n".join(lines)
    (folder / "results.md").write_text(text, "utf-8")
    return text


def _plot(path: Path, title: str, ratios: list[Ratio]) -> None:
    """A bar a ratio; 1 is marked."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only for this

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(11, 1.2 + 0.32 * len(ratios)), layout="constrained")
    labels = [f"{one.case}: {one.what}" + (f"  (goal {one.goal})" if one.goal else "") for one in ratios]
    bars = axes.barh(range(len(ratios)), [one.ratio for one in ratios], color="#4878a8")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.set_yticks(range(len(ratios)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.margins(x=0.1)
    figure.savefig(path, dpi=110)
    plt.close(figure)
