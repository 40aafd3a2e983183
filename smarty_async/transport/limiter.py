"""How many requests may be open at once, and how often one may start."""

from __future__ import annotations

import asyncio
from collections import deque

from aiolimiter import AsyncLimiter

__all__ = ["AdaptiveSemaphore", "Permit", "rate_limit"]


class AdaptiveSemaphore:
    """A semaphore whose size adapts: additive increase, multiplicative decrease (as TCP's, RFC 5681).

    It stays between 1 and `most`, grows by one after as many good answers as it has slots, and is halved
    when the service asks for less, at most once for all the requests that were open at that time.

    Args:
        most: requests open at once, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(most)
        self._open = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._epoch = 0
        self._before: float | None = None  # the size when it was suspended

    @property
    def size(self) -> int:
        """Requests that may be open at once now."""
        return int(self._size)

    @property
    def epoch(self) -> int:
        """Which decrease a request starts after: what `slow_down` is told when it fails."""
        return self._epoch

    def try_acquire(self) -> Permit | None:
        """A slot, if one is free and nobody waits for it."""
        if self._open >= self.size or self._waiters:
            return None
        self._open += 1
        return Permit(self)

    async def wait(self) -> None:
        """Take what a slot stands for, in the order of asking; only `Permit` calls this."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._hand_over()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back()  # it was handed over in the moment of leaving
            raise

    def give_back(self) -> None:
        """The other end of `wait`; only `Permit` calls this."""
        self._open -= 1
        self._hand_over()

    def speed_up(self) -> None:
        """A request came back well."""
        self._size = min(float(self._most), self._size + 1 / self._size)
        self._hand_over()

    def slow_down(self, epoch: int) -> None:
        """The service asks for less, seen by a request that started in `epoch`."""
        if epoch == self._epoch:
            self._epoch += 1
            self._size = max(1.0, self._size / 2)

    def suspend(self) -> None:
        """Let one request at a time find out whether the service is back."""
        if self._before is None:
            self._before, self._size = self._size, 1.0

    def resume(self) -> None:
        """The service is back: go on with half of what it bore before."""
        if self._before is not None:
            self._size, self._before = max(1.0, self._before / 2), None
            self._hand_over()

    def _hand_over(self) -> None:
        while self._waiters and self._open < self.size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._open += 1
                waiter.set_result(None)


class Permit:
    """The right to have one request open. It is held when made, and can be given back and taken again."""

    def __init__(self, limit: AdaptiveSemaphore) -> None:
        self._limit = limit
        self._held = True

    async def acquire(self) -> None:
        """Hold it: at once when it is held already, else in the order of asking."""
        if not self._held:
            await self._limit.wait()
            self._held = True

    def release(self) -> None:
        """Give it back; more than once does no harm."""
        if self._held:
            self._held = False
            self._limit.give_back()


def rate_limit(requests_per_second: float) -> AsyncLimiter:
    """A limit on how often a request may start, evenly spaced."""
    return AsyncLimiter(1, 1 / requests_per_second)
