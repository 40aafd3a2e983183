"""A second run over a journal with 1,000,000 finished photos: to its first new request.

The new photos are the last ones that the scan finds. Each of the others has an output that is looked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import monotonic

from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.scenarios.first import first_request, tree
from benchmarks.service import service
from smarty_async.archive.entries import FinishedPhoto, PhotoEntry, StoredOutput
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.paths import STATE
from smarty_async.archive.sources.folder import FolderSource
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS, Kind

__all__ = ["compare", "finished", "measure"]

_NEW = 48
_KIND: Kind = "improved"
_WHOLE, _WALK = "s to the first new request", "s to walk the tree"
_GOAL, _GOAL_BEYOND, _FULL = 5.0, 4.0, 1_000_000


def measure(lab: Lab) -> Iterator[Row]:
    """Ours, and the package's own scan alone."""
    count = lab.count(_FULL)
    photos = tree(lab, count)
    case = f"{count:,} finished"
    whole = finished(lab.folder, photos, count=count, new=_NEW)
    with service() as server:
        for name in lab.turns("ours", "ours, counting"):
            with lab.out() as out:
                out.mkdir()
                shutil.copytree(whole / STATE, out / STATE)
                (out / _KIND).symlink_to(whole / _KIND)
                began = monotonic()
                for _ in FolderSource([photos], out=out).files():
                    pass
                yield Row(case, name, _WALK, monotonic() - began)
                yield Row(case, name, _WHOLE, first_request(name, server, photos=photos, out=out))


def finished(folder: Path, photos: Path, *, count: int, kinds: int = 1, new: int = 0) -> Path:
    """An output folder in which photos are finished; made once and kept.

    Args:
        folder: where it lies.
        photos: an archive.
        count: photos in it.
        kinds: outputs of each, empty files.
        new: how many of the last ones are not finished.
    """
    whole = folder / f"finished-{count}-{kinds}-{new}"
    if whole.exists():
        return whole
    making = whole.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    (making / STATE).mkdir(parents=True)
    store, task = JournalStore(making / STATE / "journal.sqlite"), ModeSpec("improve")
    found = islice(filter(None, FolderSource([photos], out=making).files()), count - new)
    while batch := list(islice(found, 10_000)):
        with store.transaction():
            entries = store.look_up(batch)
            store.record_received(
                [ReceivedAnswer(entry, task, _outputs(making, entry, KINDS[:kinds]), bw=False) for entry in entries]
            )
            store.record_committed([(entry.id, task) for entry in entries])
            store.record_results([FinishedPhoto(entry, entry.result("restored", attempts=1), {}) for entry in entries])
    store.close()
    return making.rename(whole)


def _outputs(out: Path, entry: PhotoEntry, kinds: Iterable[Kind]) -> dict[Kind, StoredOutput]:
    """The outputs of a photo as the journal has them, after an empty file was made for each."""
    outputs: dict[Kind, StoredOutput] = {}
    for number, kind in enumerate(kinds):
        output = out / kind / entry.place
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
        outputs[kind] = StoredOutput(f"{entry.id:08x}-{number}", 100_000, digest=f"{entry.id:024x}")
    return outputs


def compare(medians: Medians) -> Iterator[Ratio]:
    """To the goals, which are for a million: a smaller scale shrinks them, but for half a second of starting."""
    for (case, name, quantity), seconds in medians.items():
        if quantity == _WHOLE:
            share = int(case.split()[0].replace(",", "")) / _FULL
            walk = medians[case, name, _WALK]
            start = 0.0 if share == 1 else 0.5
            yield Ratio(case, f"{name}, in all / {_GOAL * share + start:g} s", seconds / (_GOAL * share + start), "≤1")
            beyond = _GOAL_BEYOND * share + start
            yield Ratio(case, f"{name}, beyond the walk / {beyond:g} s", (seconds - walk) / beyond, "≤1")
