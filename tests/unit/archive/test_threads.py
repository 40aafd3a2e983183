"""Blocking calls in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from smarty_async.archive import threads
from smarty_async.archive.threads import ThreadBatcher, finish_despite_cancel, threaded, work_beside_loop
from smarty_async.errors import DiskError


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """While the list is not empty, the system starts no threads."""
    refusing: list[bool] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if refusing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return refusing


async def called(batcher: ThreadBatcher, count: int) -> list[Any]:
    loop = asyncio.get_running_loop()
    calls = [batcher.call(lambda number=number: number, loop) for number in range(count)]  # type: ignore[misc]
    async with asyncio.timeout(20):
        return await asyncio.gather(*calls, return_exceptions=True)


async def test_results_and_errors_return_to_the_caller() -> None:
    @threaded
    def divide(dividend: int, divisor: int) -> float:
        return dividend / divisor

    assert await divide(6, 3) == 2
    with pytest.raises(ZeroDivisionError):
        await divide(6, 0)


async def test_a_call_that_no_future_takes_the_error_of_holds_up_no_other() -> None:
    batcher, loop = ThreadBatcher(1), asyncio.get_running_loop()
    async with asyncio.timeout(20):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await batcher.call(lambda: next(iter(())), loop)
    assert await called(batcher, 1) == [0]


async def test_a_system_that_starts_no_thread_is_an_error_and_no_hang(no_threads: list[bool]) -> None:
    batcher = ThreadBatcher(2)
    no_threads.append(True)
    for error in await called(batcher, 20):
        assert isinstance(error, DiskError)
        assert "starts no more threads" in str(error)
    no_threads.clear()
    assert await called(batcher, 20) == list(range(20))


async def test_the_threads_there_are_do_the_work_when_no_more_start(no_threads: list[bool]) -> None:
    batcher = ThreadBatcher(4)
    assert await called(batcher, 1) == [0]
    no_threads.append(True)
    for _ in range(3):
        assert await called(batcher, 100) == list(range(100))


async def test_a_cancelled_call_that_has_not_started_is_not_made() -> None:
    batcher, made = ThreadBatcher(1), []
    loop = asyncio.get_running_loop()
    first = batcher.call(lambda: time.sleep(0.01), loop)
    second = batcher.call(lambda: made.append(1), loop)
    second.cancel()
    await first
    assert await called(batcher, 1) == [0]
    assert made == []


async def test_work_is_finished_although_its_task_is_cancelled() -> None:
    started, go = asyncio.Event(), asyncio.Event()
    done: list[bool] = []

    async def work() -> None:
        started.set()
        await go.wait()
        done.append(True)

    task = asyncio.create_task(finish_despite_cancel(work()))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_slow_calls_get_more_threads() -> None:
    batcher, together = ThreadBatcher(3), threading.Barrier(3)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):  # none of them ends before the third has begun
        await asyncio.gather(*(batcher.call(together.wait, loop) for _ in range(3)))


async def test_a_thread_for_each_call_is_started_at_once_where_that_is_wanted() -> None:
    batcher, together = ThreadBatcher(3, thread_each=True), threading.Barrier(3)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        await asyncio.gather(*(batcher.call(together.wait, loop) for _ in range(3)))


def waited_for() -> bool:
    """Whether the event loop waits for the thread that calls this."""
    wait = threads._thread.wait
    assert wait is not None
    return wait.active


async def waits_again(batcher: ThreadBatcher) -> bool:
    """Whether the event loop waits for the next call, when no thread makes earlier ones any more."""
    while batcher._draining:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0)
    batcher._brief = 60.0
    return await batcher.call(waited_for, asyncio.get_running_loop())


async def test_the_event_loop_waits_for_brief_calls() -> None:
    batcher = ThreadBatcher(2, brief=60)
    calls = [batcher.call(waited_for, asyncio.get_running_loop()) for _ in range(100)]
    await asyncio.sleep(0)
    assert [call.done() and call.result() for call in calls] == [True] * 100
    assert not await ThreadBatcher(2).call(waited_for, asyncio.get_running_loop())


async def test_the_event_loop_goes_on_while_a_call_works_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LONG_SECONDS", 3600)
    batcher, go = ThreadBatcher(1, brief=60), threading.Event()

    def work() -> bool:
        work_beside_loop()
        return go.wait(20)

    call = batcher.call(work, asyncio.get_running_loop())
    await asyncio.sleep(0)
    go.set()
    assert await call
    assert await waits_again(batcher)


@pytest.mark.parametrize(("no_wait_seconds", "later"), [(3600, False), (0, True)])
async def test_the_event_loop_does_not_wait_for_long_calls(
    monkeypatch: pytest.MonkeyPatch, no_wait_seconds: float, *, later: bool
) -> None:
    monkeypatch.setattr(threads, "_LONG_SECONDS", 0)
    monkeypatch.setattr(threads, "_NO_WAIT_SECONDS", no_wait_seconds)
    batcher, go = ThreadBatcher(1, brief=0.001), threading.Event()
    loop = asyncio.get_running_loop()
    call = batcher.call(lambda: go.wait(20), loop)
    while not batcher._no_wait_until:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0)
    assert not call.done()
    go.set()
    assert await call
    assert await waits_again(batcher) is later


async def test_the_event_loop_waits_for_no_thread_that_helps_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LONG_SECONDS", 3600)
    monkeypatch.setattr(threads, "_NO_WAIT_SECONDS", 3600)
    batcher, go = ThreadBatcher(2, brief=0.001), threading.Event()
    loop = asyncio.get_running_loop()
    slow, other = batcher.call(lambda: go.wait(20), loop), batcher.call(waited_for, loop)
    assert not await other
    go.set()
    assert await slow
    assert not await waits_again(batcher)


async def test_the_event_loop_takes_turns_with_many_brief_calls() -> None:
    batcher, go = ThreadBatcher(1, brief=0.001), threading.Event()
    loop = asyncio.get_running_loop()
    calls = [batcher.call(lambda: go.wait(0.002), loop) for _ in range(20)]
    last = batcher.call(lambda: go.wait(20), loop)
    while not calls[-1].done():  # noqa: ASYNC110 - it is asked in each turn of the loop
        await asyncio.sleep(0)
    assert not last.done()
    go.set()
    assert await last
