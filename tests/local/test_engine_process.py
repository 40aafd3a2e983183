"""An engine in a process of its own: what comes of its photos, its troubles and its end."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import sleep

import pytest
from support import pictures

from smarty_async.errors import ConfigurationError
from smarty_async.local import engine_process
from smarty_async.local.engine import EchoEngine, Improved, ItemRefused, best_engine, engine_named
from smarty_async.local.engine.protocol import Abandoned, wanted_until
from smarty_async.local.engine_process import REPLIES, Done, EngineProcess, read, write

SCRIPTED = Path(__file__).parents[1] / "support" / "scripted_engine.py"


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_COMMAND", (sys.executable, str(SCRIPTED)))


def pid_of(engine: EngineProcess) -> int:
    return int(engine.improve(b"where?").colorized or 0)


def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        sleep(0.01)
    pytest.fail("waited for too long")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_works_elsewhere_and_says_the_same() -> None:
    engine = EngineProcess("scripted")
    made = engine.improve(b"a photo")
    assert (made.improved, made.colorized_improved, made.bw) == (b"a photo", None, True)
    assert engine.enlarge(b"a photo", factor=4, rtype="art") == b"4 art a photo"
    assert engine.name == "scripted"
    assert pid_of(engine) != os.getpid()


def test_large_photos_of_many_threads_do_not_mingle() -> None:
    engine = EngineProcess("scripted")
    photos = [bytes([number]) * 3_000_000 for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert [made.improved for made in pool.map(engine.improve, photos)] == photos


@pytest.mark.parametrize(
    ("image", "status", "text"),
    [(b"refuse", 1, "not this one"), (b"fail", 2, "internal error"), (b"fill", 2, "out of memory")],
)
def test_errors_of_the_process_are_raised_here(image: bytes, status: int, text: str) -> None:
    engine = EngineProcess("scripted")
    with pytest.raises(ItemRefused, match=text) as refused:
        engine.improve(image)
    assert refused.value.status == status
    assert engine.improve(b"the next").improved == b"the next"


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system keeps no ended process")
def test_a_process_that_died_is_waited_for() -> None:
    engine = EngineProcess("scripted")
    first = pid_of(engine)
    with pytest.raises(ItemRefused, match="internal error"):
        engine.improve(b"die")
    assert pid_of(engine) != first
    assert is_gone(first)


def test_a_photo_that_kills_it_is_refused_and_the_next_has_a_new_one(caplog: pytest.LogCaptureFixture) -> None:
    engine = EngineProcess("scripted")
    first = pid_of(engine)
    with pytest.raises(ItemRefused, match="internal error") as refused:
        engine.improve(b"die")
    assert refused.value.status == 2
    assert "died" in caplog.text
    assert pid_of(engine) != first


def test_abandoned_work_is_cancelled_in_the_process(tmp_path: Path) -> None:
    engine, left, place = EngineProcess("scripted"), Event(), tmp_path / "work"

    def work() -> None:
        with wanted_until(left), pytest.raises(Abandoned):
            engine.improve(b"wait " + os.fsencode(place))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(work)
        until(place.with_suffix(".begun").exists)
        assert not place.with_suffix(".ended").exists()
        left.set()
        waiting.result(30)
    until(place.with_suffix(".ended").exists)
    assert engine.improve(b"the next").improved == b"the next"


def test_one_that_does_not_start_says_so() -> None:
    with pytest.raises(ConfigurationError, match="'broken' does not start"):
        EngineProcess("broken")


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
def test_one_that_prints_before_it_begins_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"does not start: .* prints something"):
        EngineProcess(f"talking {tmp_path / 'pid'}")
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
def test_it_ends_with_the_engine() -> None:
    engine = EngineProcess("scripted")
    pid = pid_of(engine)
    assert not is_gone(pid)
    del engine
    assert is_gone(pid)


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
def test_it_ends_with_a_parent_that_was_killed() -> None:
    script = (
        "import os; from smarty_async.local import engine_process as module; "
        f"module._COMMAND = {(sys.executable, str(SCRIPTED))!r}; "
        "print(int(module.EngineProcess('scripted').improve(b'where?').colorized), flush=True); os.kill(os.getpid(), 9)"
    )
    reported = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
    until(lambda: is_gone(int(reported.stdout)))


def test_a_reply_that_is_cut_short_is_no_reply() -> None:
    pipe = io.BytesIO()
    reply = Done(job=1, improved=Improved(improved=b"a picture", bw=True))
    write(pipe, reply)
    whole = pipe.getvalue()
    assert read(io.BytesIO(whole), REPLIES) == reply
    for length in (0, 5, len(whole) - 1):
        with pytest.raises(EOFError):
            read(io.BytesIO(whole[:length]), REPLIES)


@pytest.mark.slow
@pytest.mark.skipif(best_engine() != "restore", reason="the extra `local` is not installed")
def test_the_learned_engine_keeps_out_of_the_services_process() -> None:
    """What holds the loop up is not even there: neither networks nor pictures as arrays."""
    script = (
        "import sys; from smarty_async.local.engine import engine_named; engine = engine_named('restore'); "
        "made = engine.improve(sys.stdin.buffer.read()); assert made.improved; "
        "print(sorted({'cv2', 'ncnn', 'numpy'} & set(sys.modules)))"
    )
    reported = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", script], input=pictures.faded(), stdout=subprocess.PIPE, check=True
    )
    assert reported.stdout.split() == [b"[]"]


def test_the_light_engines_stay_here() -> None:
    assert isinstance(engine_named("echo"), EchoEngine)
