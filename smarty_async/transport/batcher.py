"""Which photos ride together: pure planning, no clock and no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from math import ceil
from typing import Generic, Protocol, TypeVar

from smarty_async.options import Limits
from smarty_async.wire.multipart import FRAME_BYTES, TAIL_BYTES

__all__ = ["Batchable", "Batcher"]


class Batchable(Protocol):
    """What the batcher needs to know of an item."""

    @property
    def size(self) -> int:
        """Bytes of the image."""
        ...

    @property
    def group(self) -> Hashable:
        """Only riders of one lane may share a request."""
        ...

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        ...


R = TypeVar("R", bound=Batchable)


class _Queue(Generic[R]):
    """The riders of one lane that wait, and the plan for the last of them."""

    def __init__(self) -> None:
        self.items: deque[R] = deque()
        self.bytes = 0
        self.sent = 0  # chunks, since it began
        self.planned = 0  # chunks that the plan has left, 0 when there is none
        self.permits = 0  # that it was made for

    def drop_gone(self) -> None:
        if any(rider.gone for rider in self.items):
            self.items = deque(rider for rider in self.items if not rider.gone)
            self.bytes = sum(map(_weight, self.items))


class Batcher(Generic[R]):
    """Forms chunks within the limits on images and bytes.

    A chunk leaves when it is full, or when a slot is free and nothing more is on its way. When it is known how many
    come yet, they are spread evenly over the slots, in as few rounds as can be, so that none works on a full chunk
    alone at the end; then a chunk leaves as soon as it holds its share.
    """

    def __init__(self, limits: Limits) -> None:
        self._max_images = limits.max_images
        self._max_bytes = max(1, limits.max_request_bytes - TAIL_BYTES)
        self._queues: dict[Hashable, _Queue[R]] = {}
        self._formed: deque[list[R]] = deque()

    def add(self, rider: R) -> None:
        """Let `rider` wait for its chunk."""
        queue = self._queues.setdefault(rider.group, _Queue())
        queue.items.append(rider)
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

    def take(self, *, permits: int, more: bool, coming: int | None = None) -> list[R] | None:
        """The next chunk for a free slot, None when it is better to wait.

        Args:
            permits: how many requests may be open at once.
            more: whether photos are on their way that are worth waiting for.
            coming: how many come yet, now or later; None when nobody knows: then chunks are filled, not spread.
        """
        while self._formed:
            if chunk := [rider for rider in self._formed.popleft() if not rider.gone]:
                return chunk
        for queue in self._queues.values():
            queue.drop_gone()
        # One that is empty keeps its plan while more comes.
        self._queues = {group: queue for group, queue in self._queues.items() if queue.items or more}
        shares = [(queue, self._share(queue, coming, permits)) for queue in self._queues.values() if queue.items]
        ripe = (
            (queue, share) for queue, share in shares if len(queue.items) >= share or queue.bytes >= self._max_bytes
        )
        ready = next(ripe, shares[0] if shares and not more else None)
        if ready is None:
            return None
        queue, share = ready
        queue.sent += 1
        queue.planned = max(0, queue.planned - 1)
        return self._pack(queue, share)

    def _share(self, queue: _Queue[R], coming: int | None, permits: int) -> int:
        """Images of the next chunk: an even share of what waits and what comes; all it may hold when nobody knows."""
        if coming is None:
            queue.planned = 0
            return self._max_images
        count = len(queue.items) + coming
        if not queue.planned or queue.permits != permits or ceil(count / queue.planned) > self._max_images:
            weight = queue.bytes / len(queue.items) * count
            least = max(ceil(count / self._max_images), ceil(weight / self._max_bytes))
            # Rounds are counted from the lane's first chunk: it may be in the middle of one.
            queue.planned, queue.permits = ceil((queue.sent + least) / permits) * permits - queue.sent, permits
        return ceil(count / queue.planned)

    def _pack(self, queue: _Queue[R], most: int) -> list[R]:
        """Take riders in order, passing over those that no longer fit; a single one always may go alone."""
        chunk: list[R] = []
        left: deque[R] = deque()
        room = self._max_bytes
        for rider in queue.items:
            weight = _weight(rider)
            if len(chunk) < most and (weight <= room or not chunk):
                chunk.append(rider)
                room -= weight
                queue.bytes -= weight
            else:
                left.append(rider)
        queue.items = left
        return chunk


def _weight(rider: Batchable) -> int:
    return rider.size + FRAME_BYTES
