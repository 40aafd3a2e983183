from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from support.pictures import jpeg

from smarty_async import results
from smarty_async.progress import Progress
from smarty_async.results import PRICE, ErrorInfo, Failures, Kind, Outcome, Plan, Restored, Result, Status

RESULT = Result(
    photo="1912/фото\\xff.png",
    source="archive",
    outcome="failed",
    outputs={"improved": "improved/1912/a.png.jpg"},
    bw=True,
    attempts=3,
    error=ErrorInfo("permanent", "too old"),
)
STATUS = Status(
    outcomes={"failed": 1},
    unfinished=2,
    failures=[Failures(outcome="failed", type="permanent", message="too old", count=1, example="a.jpg")],
    images=7,
    images_paid=7,
    cost=0.42,
)
PLAN = Plan(photos=1, requests=1, bytes=10, skipped=0, rejected=[RESULT], cost=PRICE)


def test_the_words_are_the_published_ones() -> None:
    assert get_args(Outcome) == ("restored", "already_good", "failed", "rejected", "skipped", "duplicate")
    assert get_args(Kind) == ("improved", "colorized_improved", "colorized", "resolved")


def test_everything_exported_is_there() -> None:
    assert all(hasattr(results, name) for name in results.__all__)


def test_a_result_is_its_line() -> None:
    assert msgspec.to_builtins(RESULT) == {
        "photo": "1912/фото\\xff.png",
        "source": "archive",
        "outcome": "failed",
        "outputs": {"improved": "improved/1912/a.png.jpg"},
        "bw": True,
        "attempts": 3,
        "error": {"type": "permanent", "message": "too old"},
        "page": 1,
        "warnings": (),
    }
    assert RESULT.to_dict() == msgspec.to_builtins(RESULT)


def test_a_plain_result_names_every_field() -> None:
    assert msgspec.to_builtins(Result(photo="a.jpg", source="s", outcome="skipped")) == {
        "photo": "a.jpg",
        "source": "s",
        "outcome": "skipped",
        "outputs": {},
        "bw": None,
        "attempts": 0,
        "error": None,
        "page": 1,
        "warnings": (),
    }


@pytest.mark.parametrize("struct", [RESULT, STATUS, PLAN, Restored(outcome="restored", improved=b"\xff\xd8")])
def test_what_a_caller_gets_is_frozen_and_reads_back(struct: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(struct), type=type(struct)) == struct
    with pytest.raises(AttributeError):
        setattr(struct, struct.__struct_fields__[0], None)
    with pytest.raises(TypeError):
        type(struct)("by position")


def test_results_do_not_share_their_outputs() -> None:
    one, other = (Result(photo=name, source="s", outcome="restored") for name in "ab")
    assert one.outputs is not other.outputs


def test_progress_counts_what_is_done_and_what_it_costs() -> None:
    progress = Progress()
    assert (progress.done, progress.cost) == (0, 0)
    progress.outcomes |= {"restored": 3, "skipped": 2}
    progress.images = 110
    progress.images_paid = 100
    assert progress.done == 5
    assert progress.cost == pytest.approx(6.0)
    assert Progress().outcomes == {}


def test_a_restored_photo_in_memory(tmp_path: Path) -> None:
    picture = jpeg(20, 10)
    restored = Restored(outcome="restored", improved=b"\xff\xd8 worse", colorized_improved=picture, bw=True)
    assert restored.best == picture
    assert repr(restored) == f"Restored(restored, improved=8 bytes, colorized_improved={len(picture):,} bytes)"
    restored.save(tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == picture
    assert restored.to_pil().size == (20, 10)


def test_a_photo_that_is_already_good_has_no_best_picture(tmp_path: Path) -> None:
    good = Restored(outcome="already_good")
    assert good.best is None
    assert repr(good) == "Restored(already_good)"
    with pytest.raises(ValueError, match="already good"):
        good.save(tmp_path / "a.jpg")


@pytest.mark.parametrize(("old", "new"), [("slots", "permits"), ("notice", "status_message"), ("remarks", "warnings")])
def test_former_names_still_work_and_warn(old: str, new: str) -> None:
    progress = Progress(permits=3, status_message="down", warnings=["a"])
    with pytest.warns(DeprecationWarning, match=f"Progress.{old} is now called {new}"):
        assert getattr(progress, old) == getattr(progress, new)
