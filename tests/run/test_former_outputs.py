"""Outputs of a photo's former content are removed, also at another place; what a person has changed stays."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.archives import IMPROVED, STATE, fill, line_of, outcomes, photo, restore, sent, temporaries, tree
from support.fake_service import Answer, FakeService, Request, expected, http, items, response_of

from smarty_async import plan_archive
from smarty_async.archive.outputs import folder as output_folder
from smarty_async.archive.outputs.store import OutputMove
from smarty_async.errors import DiskError, SmartyError
from smarty_async.results import Result

pytestmark = pytest.mark.slow

BOTH: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}
RETOUCHED = b"retouched by hand"
SAME_SIZE = photo("another")
"""It is compared with the former content before its place is looked at."""
ANOTHER = SAME_SIZE + b"\0"
"""Its place is looked at at once."""
REFUSED = items({"file_0": {"status": 1, "error": "no"}})
FEWER: dict[str, Any] = {"colorized": None, "colorized_improved": None}


def retouch(out: Path, *kinds: str) -> dict[str, bytes]:
    """Change outputs of `a.jpg` by hand; they, as they have to stay."""
    for kind in kinds:
        (out / kind / "a.jpg").write_bytes(RETOUCHED)
    return {f"{kind}/a.jpg": RETOUCHED for kind in kinds}


def assert_holds(out: Path, result: Result, kept: dict[str, bytes], *, content: bytes = ANOTHER) -> None:
    """`out` holds the outputs of `content` that `result` names, what is `kept`, and nothing else."""
    right = kept | {path: expected(kind, content) for kind, path in result.outputs.items()}
    assert len(right) == len(kept) + len(result.outputs)
    assert tree(out) == set(right)
    assert {path: (out / path).read_bytes() for path in right} == right
    assert not temporaries(out)
    with closing(sqlite3.connect(out / STATE / "journal.sqlite")) as sql:
        assert sql.execute("SELECT count(*) FROM former_outputs").fetchone() == (0,)


def moved(source: Path) -> Path:
    """`source` under another name."""
    return source.rename(source.with_name("moved"))


def fewer(request: Request) -> Answer:
    """Every photo is improved, and not coloured."""
    return items(dict.fromkeys(request.names, FEWER))


def good(request: Request) -> Answer:
    """Every photo is good as it is."""
    return items({name: {"improved": None, **FEWER} for name in request.names})


async def stop_before_the_moves(
    service: FakeService, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **choices: Any
) -> None:
    """A run that ends when its answers are received, and before their outputs are moved."""

    async def refusing(_out: str, _temp_dir: str, moves: Sequence[OutputMove]) -> list[DiskError]:
        return [DiskError("the run is killed", path=out)] * len(moves)

    with monkeypatch.context() as patch:
        patch.setattr(output_folder, "_move_all", refusing)
        with pytest.raises(DiskError, match="is killed"):
            await restore(service, source, out, **choices)


async def changed_after_retouching(service: FakeService, source: Path, out: Path, **choices: Any) -> dict[str, bytes]:
    """Restore `a.jpg`, retouch its improved output and change the photo; what is retouched."""
    await restore(service, source, out, **choices)
    kept = retouch(out, "improved")
    (source / "a.jpg").write_bytes(ANOTHER)
    return kept


@pytest.mark.parametrize("content", [SAME_SIZE, ANOTHER], ids=["same size", "another size"])
@pytest.mark.parametrize("kinds", [IMPROVED[:1], IMPROVED[1:], IMPROVED])
@pytest.mark.parametrize("default", [FakeService.answer_rightly, fewer, good])
async def test_of_a_changed_photo_with_a_retouched_output(
    source: Path, out: Path, kinds: tuple[str, ...], default: Callable[..., Answer], content: bytes
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        kept = retouch(out, *kinds)
        (source / "a.jpg").write_bytes(content)
        service.default = service.answer_rightly if default is FakeService.answer_rightly else default
        (result,) = await restore(service, source, out)
        assert_holds(out, result, kept, content=content)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped"}
        assert len(sent(service)) == 2
    assert_holds(out, result, kept, content=content)


@pytest.mark.parametrize("content", [SAME_SIZE, ANOTHER], ids=["same size", "another size"])
async def test_of_a_changed_photo_with_a_retouched_output_of_its_second_mode(
    source: Path, out: Path, content: bytes
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out, **BOTH)
        kept = retouch(out, "resolved")
        (source / "a.jpg").write_bytes(content)
        (result,) = await restore(service, source, out, **BOTH)
        assert len(sent(service)) == 2
    assert result.error is None
    assert_holds(out, result, kept, content=content)


def touched(source: Path) -> Path:
    os.utime(source / "a.jpg", ns=(1, 1))
    return source


@pytest.mark.parametrize("changed", [Path, touched, moved], ids=["unchanged", "touched", "moved"])
async def test_a_place_that_is_taken_is_known_before_anything_is_sent(
    source: Path, out: Path, changed: Callable[[Path], Path]
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "resolved").mkdir()
        (out / "resolved/a.jpg").write_bytes(RETOUCHED)
        source = changed(source)
        plan = await plan_archive(source, out=out, **BOTH)
        (result,) = await restore(service, source, out, **BOTH)
        assert len(sent(service)) == 1
    assert result.error
    assert (result.outcome, result.error.type, set(result.outputs)) == ("rejected", "output_exists", set(IMPROVED))
    assert [one.error for one in plan.rejected] == [result.error]


async def test_a_place_that_is_taken_is_known_before_a_missing_output_is_made_again(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out, **BOTH)
        kept = retouch(out, "colorized")
        (out / "improved/a.jpg").unlink()
        plan = await plan_archive(source, out=out, redo_missing=True, **BOTH)
        (result,) = await restore(service, source, out, redo_missing=True, **BOTH)
        assert len(sent(service)) == 1
    assert result.error
    assert (result.outcome, result.error.type) == ("rejected", "output_exists")
    assert [one.error for one in plan.rejected] == [result.error]
    assert {path: (out / path).read_bytes() for path in kept} == kept


async def test_of_a_photo_that_changes_twice(source: Path, out: Path) -> None:
    """Each time with a retouched output, so that it has three places."""
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        kept = retouch(out, "improved")
        (source / "a.jpg").write_bytes(photo("in between"))
        (result,) = await restore(service, source, out)
        assert_holds(out, result, kept, content=photo("in between"))
        path = result.outputs["colorized"]
        (out / path).write_bytes(RETOUCHED)
        (source / "a.jpg").write_bytes(ANOTHER)
        (result,) = await restore(service, source, out)
    assert path not in result.outputs.values()
    assert_holds(out, result, kept | {path: RETOUCHED})


async def test_of_a_mode_that_is_not_asked_for_any_more(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        kept = await changed_after_retouching(service, source, out, **BOTH)
        (result,) = await restore(service, source, out)
    assert set(result.outputs) == set(IMPROVED)
    assert_holds(out, result, kept)


async def test_of_a_photo_that_fails_first(source: Path, out: Path) -> None:
    """What it had stays until there is something new: it may have changed because it was damaged."""
    fill(source, "a.jpg")
    async with FakeService() as service:
        kept = await changed_after_retouching(service, source, out)
        before = tree(out)
        service.script(REFUSED)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "failed"}
        assert tree(out) == before
        (result,) = await restore(service, source, out, retry_failed=True)
    assert_holds(out, result, kept)


async def test_of_an_enlargement_that_fails_with_another_factor(source: Path, out: Path) -> None:
    """What is left at the former place is nobody's but the person's who changed it."""
    photos = fill(source, "a.jpg")
    enlarged: dict[str, Any] = {"modes": ["resolution"], "rfactor": 4}
    async with FakeService() as service:
        await restore(service, source, out, modes=["resolution"], rfactor=2)
        kept = retouch(out, "resolved")
        service.script(REFUSED)
        (failed,) = await restore(service, source, out, **enlarged)
        assert (failed.outcome, failed.outputs) == ("failed", {})
        assert line_of(out, "a.jpg")["outputs"] == {}
        (result,) = await restore(service, source, out, retry_failed=True, **enlarged)
    assert set(result.outputs) == {"resolved"}
    assert_holds(out, result, kept, content=photos["a.jpg"])


async def test_of_a_run_that_ends_once_the_photo_has_another_place(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        kept = await changed_after_retouching(service, source, out)
        before = tree(out)
        service.script(http(401))
        with pytest.raises(SmartyError):
            await restore(service, source, out)
        assert tree(out) == before
        (result,) = await restore(service, source, out)
    assert_holds(out, result, kept)


async def test_of_an_output_that_is_retouched_while_its_photo_is_sent_again(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out, **BOTH)
        (source / "a.jpg").write_bytes(ANOTHER)

        async def retouching(request: Request) -> Any:
            retouch(out, "colorized")
            return await response_of(service.answer_rightly(request), request)

        service.script(retouching)
        (result,) = await restore(service, source, out)
    assert_holds(out, result, {"colorized/a.jpg": RETOUCHED})


@pytest.mark.parametrize("kinds", [(), IMPROVED[:1], IMPROVED[1:2], IMPROVED])
@pytest.mark.parametrize("default", [FakeService.answer_rightly, fewer, good])
async def test_of_a_run_that_is_killed_before_it_moves_what_it_received(
    source: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: tuple[str, ...],
    default: Callable[..., Answer],
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").write_bytes(ANOTHER)
        service.default = service.answer_rightly if default is FakeService.answer_rightly else default
        await stop_before_the_moves(service, source, out, monkeypatch)
        kept = retouch(out, *kinds)
        (result,) = await restore(service, source, out)
        assert len(sent(service)) == 2
    assert_holds(out, result, kept)


async def test_of_a_photo_that_changes_again_after_such_a_run(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").write_bytes(photo("in between"))
        service.default = fewer
        await stop_before_the_moves(service, source, out, monkeypatch)
        (source / "a.jpg").write_bytes(ANOTHER)
        service.default = service.answer_rightly
        (result,) = await restore(service, source, out)
    assert result.outputs == {kind: f"{kind}/a.jpg" for kind in IMPROVED}
    assert_holds(out, result, {})


async def test_of_a_run_whose_temporary_files_were_lost(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").write_bytes(ANOTHER)
        service.default = fewer
        await stop_before_the_moves(service, source, out, monkeypatch)
        for path in (out / STATE / "tmp").iterdir():
            path.unlink()
        (result,) = await restore(service, source, out)
    assert_holds(out, result, {})


async def test_of_outputs_that_are_made_again_as_one_is_missing(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        kept = retouch(out, "improved")
        (out / "colorized/a.jpg").unlink()
        (result,) = await restore(service, source, out, redo_missing=True)
    assert_holds(out, result, kept, content=photos["a.jpg"])


async def test_of_a_source_that_is_renamed_before_the_photo_comes_to_its_end(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        kept = await changed_after_retouching(service, source, out)
        service.script(REFUSED)
        await restore(service, source, out)
        (result,) = await restore(service, moved(source), out, retry_failed=True)
    assert_holds(out, result, kept)


async def test_a_place_that_another_photo_has_by_then_is_left_alone(source: Path, out: Path) -> None:
    """Its outputs are the very bytes that the first photo had there."""
    fill(source, "a.jpg")
    other = source.with_name("other")
    async with FakeService() as service:
        await changed_after_retouching(service, source, out)
        service.script(REFUSED)
        await restore(service, source, out)
        for kind in IMPROVED:
            (out / kind / "a.jpg").unlink()
        photos = fill(other, "a.jpg")
        (theirs,) = await restore(service, other, out)
        assert theirs.outputs["improved"] == "improved/a.jpg"
        (result,) = await restore(service, source, out, retry_failed=True)
    kept = {path: expected(kind, photos["a.jpg"]) for kind, path in theirs.outputs.items()}
    assert_holds(out, result, kept)
