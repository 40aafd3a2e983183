"""Which photos ride together: pure planning, no clock and no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from math import ceil
from typing import Generic, Protocol, TypeVar

from smarty_async.options import Limits
from smarty_async.wire.multipart import FRAME_BYTES, TAIL_BYTES

__all__ = ["Batcher", "Rider"]


class Rider(Protocol):
    """What the batcher needs to know of an item."""

    @property
    def size(self) -> int:
        """Bytes of the image."""
        ...

    @property
    def lane(self) -> Hashable:
        """Only riders of one lane may share a request."""
        ...

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        ...


R = TypeVar("R", bound=Rider)


class _Queue(Generic[R]):
    """The riders of one lane that wait, and the share each request takes of the last of them."""

    def __init__(self) -> None:
        self.riders: deque[R] = deque()
        self.bytes = 0
        self.share: int | None = None
        self.shared = 0  # how many they were when it was worked out

    def drop_gone(self) -> None:
        if any(rider.gone for rider in self.riders):
            self.riders = deque(rider for rider in self.riders if not rider.gone)
            self.bytes = sum(map(_weight, self.riders))


class Batcher(Generic[R]):
    """Forms chunks within the limits on images and bytes.

    A chunk leaves when it is full, or when a slot is free and nothing more is on its way. What is left at the
    end, and a small job as a whole, is spread evenly over the slots, so that none works on a full chunk alone.
    """

    def __init__(self, limits: Limits) -> None:
        self._max_images = limits.max_images
        self._max_bytes = max(1, limits.max_request_bytes - TAIL_BYTES)
        self._queues: dict[Hashable, _Queue[R]] = {}
        self._formed: deque[list[R]] = deque()

    def add(self, rider: R) -> None:
        """Let `rider` wait for its chunk."""
        queue = self._queues.setdefault(rider.lane, _Queue())
        queue.riders.append(rider)
        queue.bytes += _weight(rider)

    def put_back(self, chunk: list[R]) -> None:
        """Let `chunk` go next, as it is."""
        self._formed.append(chunk)

    def shrink(self, chunk: list[R]) -> None:
        """The service found `chunk` too large: pack it anew, and it and every later chunk to half its bytes."""
        # Half of what was refused, not of the bound: chunks that were open together are refused together.
        self._max_bytes = max(1, min(self._max_bytes, sum(map(_weight, chunk)) // 2))
        for rider in chunk:
            self.add(rider)

    def take(self, *, slots: int, more: bool) -> list[R] | None:
        """The next chunk for a free slot, None when it is better to wait.

        Args:
            slots: how many requests may be open at once.
            more: whether photos are on their way that could fill a chunk.
        """
        while self._formed:
            if chunk := [rider for rider in self._formed.popleft() if not rider.gone]:
                return chunk
        for waiting in self._queues.values():
            waiting.drop_gone()
        self._queues = {lane: waiting for lane, waiting in self._queues.items() if waiting.riders}
        queue = self._ripe(more=more)
        if queue is None:
            return None
        if more:
            queue.share = None
        elif queue.share is None or len(queue.riders) > queue.shared:
            queue.share, queue.shared = self._even_share(queue, slots), len(queue.riders)
        return self._pack(queue, queue.share or self._max_images)

    def _ripe(self, *, more: bool) -> _Queue[R] | None:
        """The first queue that fills a chunk, or the first at all when nothing more comes."""
        full = (
            queue
            for queue in self._queues.values()
            if len(queue.riders) >= self._max_images or queue.bytes >= self._max_bytes
        )
        return next(full, None if more else next(iter(self._queues.values()), None))

    def _even_share(self, queue: _Queue[R], slots: int) -> int:
        """Images a chunk, when all that waits goes in as few rounds over the slots as it can."""
        count = len(queue.riders)
        chunks = max(ceil(count / self._max_images), ceil(queue.bytes / self._max_bytes))
        rounds = ceil(chunks / slots)
        return ceil(count / (rounds * slots))

    def _pack(self, queue: _Queue[R], most: int) -> list[R]:
        """Take riders in order, passing over those that no longer fit; a single one always may go alone."""
        chunk: list[R] = []
        left: deque[R] = deque()
        room = self._max_bytes
        for rider in queue.riders:
            weight = _weight(rider)
            if len(chunk) < min(most, self._max_images) and (weight <= room or not chunk):
                chunk.append(rider)
                room -= weight
                queue.bytes -= weight
            else:
                left.append(rider)
        queue.riders = left
        return chunk


def _weight(rider: Rider) -> int:
    return rider.size + FRAME_BYTES
