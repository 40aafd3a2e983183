"""How many requests may be open at once, and how often one may start."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

__all__ = ["AdaptiveSemaphore", "Permit", "rate_limit"]


class AdaptiveSemaphore:
    """A semaphore whose size adapts: additive increase, multiplicative decrease (as TCP's, RFC 5681).

    The size stays between 1 and `most`. It grows by one after as many good answers as it has permits, and is halved
    when the service asks for less, at most once for all the requests that were open at that time.

    Args:
        most: requests open at once, at most.
        on_free: called when a permit becomes free and no request waits for it.
    """

    def __init__(self, most: int, *, on_free: Callable[[], None] = lambda: None) -> None:
        self._most = most
        self._on_free = on_free
        self._size = float(most)
        self._held = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._epoch = 0
        self._size_before: float | None = None  # while it is suspended

    @property
    def size(self) -> int:
        """Requests that may be open at once now."""
        return int(self._size)

    @property
    def free(self) -> int:
        """Permits that are neither held nor waited for."""
        return max(0, self.size - self._held - len(self._waiters))

    @property
    def epoch(self) -> int:
        """How often the size was halved so far; a request passes to `slow_down` the value it started with."""
        return self._epoch

    @asynccontextmanager
    async def permit(self) -> AsyncGenerator[Permit]:
        """Hold a permit until the block ends, or until its `release`. Permits are given in the order of asking."""
        await self._acquire()
        permit = Permit(self._release)
        try:
            yield permit
        finally:
            permit.release()

    def cap(self, most: int) -> None:
        """Allow at most `most` requests from now on. A size that was at the old bound goes to the new one.

        While it is suspended, this holds for the size from before.
        """
        size = self._size if self._size_before is None else self._size_before
        size = float(most) if size >= self._most else min(size, float(most))
        self._most = most
        if self._size_before is None:
            self._size = size
            self._hand_over()
        else:
            self._size_before = size

    def speed_up(self) -> None:
        """A request was answered well."""
        self._size = min(float(self._most), self._size + 1 / self._size)
        self._hand_over()

    def slow_down(self, epoch: int) -> None:
        """The service asked for less, in answer to a request that started in `epoch`."""
        if epoch == self._epoch:
            self._epoch += 1
            self._size = max(1.0, self._size / 2)

    def suspend(self) -> None:
        """Allow one request at a time, to find out whether the service is back."""
        if self._size_before is None:
            self._size_before, self._size = self._size, 1.0

    def resume(self) -> None:
        """The service is back: continue with half the size from before `suspend`."""
        if self._size_before is not None:
            self._size, self._size_before = max(1.0, self._size_before / 2), None
            self._hand_over()

    async def _acquire(self) -> None:
        if self.free:
            self._held += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the permit was handed over just before the cancellation
                self._release()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
                self._hand_over()
            raise

    def _release(self) -> None:
        self._held -= 1
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiters and self._held < self.size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._held += 1
                waiter.set_result(None)
        if self.free:
            self._on_free()


class Permit:
    """The right to have one request open, while it is held."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self._held = True

    def release(self) -> None:
        """Return it before its block ends; more than once does no harm."""
        if self._held:
            self._held = False
            self._give_back()


def rate_limit(requests_per_second: float) -> AsyncLimiter:
    """A limit on how often a request may start, evenly spaced."""
    return AsyncLimiter(1, 1 / requests_per_second)
