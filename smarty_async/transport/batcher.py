"""Which items share a request: pure planning, no clock and no I/O.

`Batcher` forms chunks; `Forecast` predicts how many items are still to be submitted, so that the batcher knows whether
to wait for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from math import ceil
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

import msgspec

from smarty_async.options import Limits
from smarty_async.wire.messages import FRAME_BYTES, TAIL_BYTES

__all__ = ["Batchable", "Batcher", "Forecast", "Outlook"]


class Batchable(Protocol):
    """What the batcher needs to know of an item."""

    @property
    def size(self) -> int:
        """Bytes of the image."""
        ...

    @property
    def group(self) -> Hashable:
        """Only items of one batch group may share a request."""
        ...

    @property
    def done(self) -> bool:
        """Whether it is not awaited any more."""
        ...


class Outlook(msgspec.Struct, frozen=True):
    """What is known about the items of a batch group that have not been added yet.

    Attributes:
        more: whether items are about to be added that are worth waiting for.
        coming: how many items will be added, now or later; None when the number is unknown: then chunks are filled,
            not spread over the permits.
        returning: how many of the items in flight will probably be added again. Shares allow for them, but no round
            is planned for them alone: the estimate may be wrong, and those of a round's last requests come too late
            for it.
    """

    more: bool = False
    coming: int | None = 0
    returning: int = 0


B = TypeVar("B", bound=Batchable)


class _Queue(Generic[B]):
    """The waiting items of one batch group, and the plan for the last of them."""

    def __init__(self) -> None:
        self.items: deque[B] = deque()
        self.formed: deque[list[B]] = deque()  # chunks to send as they are, before any other
        self.bytes = 0
        self.sent = 0  # chunks, since the queue was made
        self.planned = 0  # chunks the plan has left, 0 without a plan
        self.permits = 0  # the number of permits the plan was made for

    def drop_done_items(self) -> None:
        self.items = deque(item for item in self.items if not item.done)
        self.bytes = sum(map(_weight, self.items))

    def drop_done_chunks(self) -> None:
        while self.formed and all(item.done for item in self.formed[0]):
            self.formed.popleft()


class Batcher(Generic[B]):
    """Forms chunks within the limits on images and bytes, fairly between batch groups.

    A chunk is ready when it is full, or when no more items are about to be added. When the number of items to come is
    known, they are spread evenly over the permits, in as few rounds as possible, so that no request works on a full
    chunk alone at the end; a chunk is then ready when it holds its share. Of several groups with a ready chunk, the
    one that was served least recently goes first, so that no group waits for more than one chunk of each other group.
    """

    def __init__(self, limits: Limits) -> None:
        self._max_images = limits.max_images
        self._max_bytes = max(1, limits.max_request_bytes - TAIL_BYTES)
        self._queues: dict[Hashable, _Queue[B]] = {}  # the least recently served first
        self._holds_done = False

    def add(self, item: B) -> None:
        """Queue `item` for a chunk."""
        queue = self._queue(item.group)
        queue.items.append(item)
        queue.bytes += _weight(item)

    def put_back(self, chunk: list[B]) -> None:
        """Send `chunk` as it is, before the other items of its group."""
        if chunk:
            self._queue(chunk[0].group).formed.append(chunk)

    def note_done(self) -> None:
        """Items that are queued may be done by now: drop them before the next chunk is formed."""
        self._holds_done = True

    def shrink(self, chunk: list[B]) -> None:
        """Queue the items of `chunk`, which was too large, again; chunks carry at most half its bytes from now on."""
        # Half of what was refused, not of the limit: chunks that were open together are refused together.
        self._max_bytes = max(1, min(self._max_bytes, sum(map(_weight, chunk)) // 2))
        for item in chunk:
            self.add(item)

    def take(self, *, permits: int, outlook: Callable[[Hashable], Outlook]) -> list[B] | None:
        """The next chunk for a free permit; None when waiting is better.

        Args:
            permits: how many requests may be open at once.
            outlook: what is known about the items that a batch group will still get.
        """
        if self._holds_done:
            self._holds_done = False
            for queue in self._queues.values():
                queue.drop_done_items()
        for group, queue in list(self._queues.items()):
            queue.drop_done_chunks()
            ahead = outlook(group)
            if not queue.items and not queue.formed:
                if not ahead.more:  # while more is coming the plan is kept
                    self._retire(group, queue)
                continue
            if queue.formed:
                chunk = [item for item in queue.formed.popleft() if not item.done]
            else:
                share = self._share(queue, ahead, permits)
                if ahead.more and len(queue.items) < share and queue.bytes < self._max_bytes:
                    continue
                queue.sent += 1
                queue.planned = max(0, queue.planned - 1)
                chunk = self._pack(queue, share)
            self._queues[group] = self._queues.pop(group)
            return chunk
        return None

    def _retire(self, group: Hashable, queue: _Queue[B]) -> None:
        """Forget the plan of an empty queue, and its turn when no group was served less recently."""
        queue.sent = queue.planned = 0
        if next(iter(self._queues)) == group:
            del self._queues[group]

    def _queue(self, group: Hashable) -> _Queue[B]:
        if group not in self._queues:
            # A new group has never been served: it goes before all others.
            self._queues = {group: _Queue(), **self._queues}
        return self._queues[group]

    def _share(self, queue: _Queue[B], ahead: Outlook, permits: int) -> int:
        """Images of the next chunk: an even share of the items queued and to come; the limit if those are unknown."""
        if ahead.coming is None:
            queue.planned = 0
            return self._max_images
        count = len(queue.items) + ahead.coming
        if not queue.planned or queue.permits != permits or ceil(count / queue.planned) > self._max_images:
            weight = queue.bytes / len(queue.items) * count
            least = max(1, ceil(count / self._max_images), ceil(weight / self._max_bytes))
            # Rounds are counted from the group's first chunk: a round may be half sent.
            queue.planned, queue.permits = ceil((queue.sent + least) / permits) * permits - queue.sent, permits
        return min(self._max_images, ceil((count + ahead.returning) / queue.planned))

    def _pack(self, queue: _Queue[B], most: int) -> list[B]:
        """Take items in order, skipping those that no longer fit; a single item may always go alone."""
        chunk: list[B] = []
        skipped: list[B] = []
        bytes_left = self._max_bytes
        while queue.items and len(chunk) < most:
            item = queue.items.popleft()
            weight = _weight(item)
            if weight <= bytes_left or not chunk:
                chunk.append(item)
                bytes_left -= weight
                queue.bytes -= weight
            else:
                skipped.append(item)
        queue.items.extendleft(reversed(skipped))
        return chunk


def _weight(item: Batchable) -> int:
    return item.size + FRAME_BYTES


SHORT_BACKOFF = 0.2
"""Fraction of the last request's duration. Backoffs shorter than this are waited for, so that the retry joins the
current round: an item that comes a little late would otherwise need a whole request more, alone at the end. It is as
much as the first backoff, of a second, of requests that take five."""


class Forecast:
    """Predicts the submissions of one source, from what it announced and from how its items fared so far.

    It does no I/O and reads no clock. An item is known by its body, which stays the same when the item is retried.

    Args:
        later: how many submissions will follow that are not announced yet, and not waited for.

    Attributes:
        in_flight: items whose requests are open or waiting for a retry.
    """

    def __init__(self, later: Callable[[], int] = lambda: 0) -> None:
        self.in_flight = 0
        self._later = later
        self._announced = 0
        self._unknown = 0  # announcements of an unknown number
        self._in_backoff: WeakSet[object] = WeakSet()  # dropped on resubmission, or when the source drops the body
        self._short_backoffs = 0
        self._replies = 0
        self._returns = 0  # replies after which the item is submitted again

    def announce(self) -> None:
        """A submission is coming, and worth waiting for."""
        self._announced += 1

    def fulfil(self) -> None:
        """An announced submission has been made, or never will be."""
        self._announced -= 1

    def announce_unknown(self) -> None:
        """Submissions of an unknown number are coming; they are not waited for."""
        self._unknown += 1

    def fulfil_unknown(self) -> None:
        """Those of an unknown number have been made, or their number is known by now."""
        self._unknown -= 1

    def start_backoff(self, seconds: float, *, request_seconds: float) -> bool:
        """An item waits `seconds` before its next submission.

        Args:
            seconds: the length of the backoff.
            request_seconds: what the last answered request took.

        Returns:
            Whether the backoff is short, to be passed to `end_backoff`.
        """
        short = seconds <= request_seconds * SHORT_BACKOFF
        self._short_backoffs += short
        return short

    def end_backoff(self, *, short: bool) -> None:
        """A backoff is over."""
        self._short_backoffs -= short

    def submitted(self, body: object) -> None:
        """The item with this `body` has been submitted."""
        if self._in_backoff:
            self._in_backoff.discard(body)

    def replied(self, body: object, *, returns: bool) -> None:
        """The item with this `body` got its reply; `returns` says whether it will be submitted again."""
        self._replies += 1
        if returns:
            self._returns += 1
            self._in_backoff.add(body)

    def outlook(self) -> Outlook:
        """What is still to come; of the items in flight, as many return as did of those that were answered."""
        more = self._announced > 0 or self._short_backoffs > 0
        if self._unknown:
            return Outlook(more, None)
        returning = self.in_flight * self._returns // max(1, self._replies)
        return Outlook(more, self._announced + self._later() + len(self._in_backoff), returning)
