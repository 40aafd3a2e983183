"""A photo on its way: the item, what it may ride with, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo, Progress
from smarty_async.transport.body import Body
from smarty_async.transport.sinks import OutputSink, ReceivedItem

__all__ = ["BatchGroup", "ImageBudget", "Item", "Reply", "Stopped"]


class Stopped(Exception):
    """The item was not sent, because its run is stopping."""


class ImageBudget:
    """How many images may still be paid for; None for no bound."""

    def __init__(self, images: int | None = None) -> None:
        self._left = images
        self._closed = False

    def take(self, images: int) -> int:
        """As many of `images` as there is money for."""
        if self._left is None:
            return images
        granted = min(images, self._left)
        self._left -= granted
        return granted

    def give_back(self, images: int) -> None:
        """`images` that were not sent after all."""
        if self._left is not None and not self._closed:
            self._left += images

    def close(self) -> None:
        """Pay for nothing more."""
        self._left = 0
        self._closed = True

    @property
    def empty(self) -> bool:
        """Whether nothing more can be paid for."""
        return self._left == 0


class BatchGroup(msgspec.Struct, frozen=True, eq=False):
    """What items must have in common to share a request; compared by identity.

    Attributes:
        specs: what is asked of each image.
        sink: where outputs go.
        progress: where requests are counted.
        budget: what pays.
    """

    specs: tuple[ModeSpec, ...]
    sink: OutputSink
    progress: Progress
    budget: ImageBudget


class Reply(msgspec.Struct, frozen=True):
    """What came back for an item.

    Attributes:
        arrived: the answers, by mode.
        fault: why a mode is missing, None when all are there.
    """

    arrived: Mapping[Mode, ReceivedItem]
    fault: ErrorInfo | None = None


class Item:
    """A photo on its way to the service.

    Attributes:
        body: its bytes.
        group: what it is asked, and with whom it may ride.
        reply: what comes back.
        attempts: how many requests it has ridden in.
        in_flight: whether the request it rides in is open.
        token_refreshes: how often the token was renewed for it.
        suspected_at: how many requests of others had been answered when one of its own first failed; None before that.
    """

    def __init__(self, body: Body, group: BatchGroup) -> None:
        self.body = body
        self.group = group
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.attempts = 0
        self.in_flight = False
        self.token_refreshes = 0
        self.suspected_at: int | None = None
        self._arrived: dict[Mode, ReceivedItem] = {}

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self.body.size

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.reply.done()

    def take(self, arrived: ReceivedItem) -> bool:
        """Keep an answer; False when it was not asked for, or is there already."""
        mode = arrived.answered.mode
        wanted = any(spec.mode == mode for spec in self.group.specs)
        if self.gone or not wanted or mode in self._arrived:
            return False
        self._arrived[mode] = arrived
        if len(self._arrived) == len(self.group.specs):
            self.reply.set_result(Reply(self._arrived))
        return True

    def settle(self, fault: ErrorInfo, *, only_partly: bool = False) -> None:
        """No more comes: reply with what there is; if `only_partly`, then only when there is something."""
        if not self.gone and (self._arrived or not only_partly):
            self.reply.set_result(Reply(self._arrived, fault))

    def fail(self, error: BaseException) -> None:
        """Nothing comes."""
        if not self.gone:
            self.reply.set_exception(error)

    async def abandon(self) -> None:
        """Nobody waits any more: let go of what has arrived."""
        self.reply.cancel()
        for arrived in self._arrived.values():
            await arrived.discard()
