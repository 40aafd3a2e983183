"""Who submits items, and what all of its requests share: where they are recorded, what pays for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from smarty_async.errors import SmartyError
from smarty_async.hooks import Hooks
from smarty_async.transport.batcher import Forecast
from smarty_async.transport.disk_space import DiskSpace
from smarty_async.transport.response import OutputSink
from smarty_async.transport.retry import Sleep

if TYPE_CHECKING:
    from smarty_async.transport.request import ChunkRequest

__all__ = ["ImageBudget", "RequestLog", "RequestSender", "Submitter"]


class RequestLog(Protocol):
    """Records requests durably, so that the cost of one that was cut short is still counted by the next run."""

    async def check_disk_space(self, size: int) -> None:
        """Make sure that the disk has space for `size` bytes of outputs.

        Raises:
            DiskFull: it has not.
        """
        ...

    async def started(self, *, images: int, size: int) -> int:
        """Record a request before its first byte is sent; returns its number.

        Args:
            images: how many images it carries.
            size: bytes of its body.
        """
        ...

    def finished(self, number: int, *, state: Literal["answered", "refused"]) -> None:
        """Record how request `number` ended; a request that never finishes has probably been paid for."""
        ...


class ImageBudget:
    """How many images may still be paid for; None for no limit."""

    def __init__(self, images: int | None = None) -> None:
        self._left = images
        self._closed = False

    def take(self, images: int) -> int:
        """Reserve up to `images`; returns how many were granted."""
        if self._left is None:
            return images
        granted = min(images, self._left)
        self._left -= granted
        return granted

    def give_back(self, images: int) -> None:
        """Return `images` that were reserved and not paid for."""
        if self._left is not None and not self._closed:
            self._left += images

    def limit(self, images: int | None) -> None:
        """Grant at most `images` from now on, unless it is closed; None for no limit."""
        if not self._closed:
            self._left = images

    def close(self) -> None:
        """Grant nothing more."""
        self._left = 0
        self._closed = True

    @property
    def empty(self) -> bool:
        """Whether nothing more is granted."""
        return self._left == 0


class RequestSender(Protocol):
    """What requests go through: a connection to the service, or something that has one elsewhere."""

    async def send(self, request: ChunkRequest, /) -> None:
        """Send one request; reports to it and raises as `Connection.send` does.

        Raises:
            ServiceUnavailable: nothing can be sent this way any more.
        """
        ...


class Submitter:
    """Who submits items: a run, or the single calls of a client. Chunks are formed and stopped for each by itself.

    Args:
        sink: where outputs are written.
        hooks: called with what happens to its requests.
        sleep: waits before an item is submitted again, in seconds.
        sender: what its requests go through; None for the client's own connection.
        give_up_after: how long the service may fail every request before its items fail with `ServiceUnavailable`, in
            seconds; None for `Retries.give_up_after`.
        ends_with_error: whether an error that stops one of its requests stops what it submits later, too.
        later: how many items it will submit that it cannot announce yet.

    Attributes:
        request_log: where requests are recorded before they are sent; None for nowhere.
        forecast: what it is going to submit.
        budget: what pays for its requests; without a limit at first.
        disk_space: for the answers to its requests.
        is_stopped: whether nothing more of it is sent.
        error: the one that it has ended with; None before that.
    """

    def __init__(
        self,
        sink: OutputSink,
        hooks: Hooks,
        *,
        sleep: Sleep = asyncio.sleep,
        sender: RequestSender | None = None,
        give_up_after: float | None = None,
        ends_with_error: bool = False,
        later: Callable[[], int] = lambda: 0,
    ) -> None:
        self.sink = sink
        self.hooks = hooks
        self.sleep = sleep
        self.sender = sender
        self.give_up_after = give_up_after
        self.request_log: RequestLog | None = None
        self.forecast = Forecast(later)
        self.budget = ImageBudget()
        self.disk_space = DiskSpace()
        self.ends_with_error = ends_with_error
        self.is_stopped = False
        self.error: SmartyError | None = None
