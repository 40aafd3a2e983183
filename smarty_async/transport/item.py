"""Items and who submits them: photos to be sent, what their requests share, and what pays for these."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from smarty_async.errors import SmartyError
from smarty_async.hooks import Hooks
from smarty_async.options import Mode, ModeSpec
from smarty_async.progress import InFlight
from smarty_async.results import ErrorInfo
from smarty_async.transport.batcher import Forecast
from smarty_async.transport.body import Body
from smarty_async.transport.disk_space import DiskSpace
from smarty_async.transport.response import OutputEditor, OutputSink, ReceivedItem
from smarty_async.transport.retry import Sleep

if TYPE_CHECKING:
    from smarty_async.transport.request import ChunkRequest

__all__ = [
    "BatchGroup",
    "ImageBudget",
    "Item",
    "RequestLog",
    "RequestSender",
    "Stopped",
    "Submitter",
    "pending",
    "reserve_budget",
]


class RequestLog(Protocol):
    """Records requests durably, so that the cost of one that was cut short is still counted by the next run."""

    async def check_disk_space(self, size: int) -> None:
        """Make sure that the disk has space for `size` bytes of outputs.

        Raises:
            DiskFull: it has not.
        """
        ...

    async def started(self, *, images: int, size: int) -> int:
        """Record a request before its first byte is sent; returns its number."""
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
            Stopped: the run is stopping, and nothing was sent.
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


class Stopped(Exception):
    """The item was not sent, because its run is stopping."""


class BatchGroup(msgspec.Struct, frozen=True):
    """What items must have in common to share a request.

    Attributes:
        specs: what is asked of each image.
        submitter: who submits them.
    """

    specs: tuple[ModeSpec, ...]
    submitter: Submitter


class Item:
    """One photo to be sent.

    Attributes:
        body: its bytes.
        size: how many.
        group: what is asked of it, and which items it may share a request with.
        editor: what is done to its outputs; None for nothing.
        photo: what is shown of it while its request is open; None for nothing.
        reply: set when it is not sent any more: why a mode is missing, None when all are answered. The answers
            themselves are handed over by `take`.
        attempts: how many requests it was sent in.
        in_flight: whether its request is open.
        token_refreshes: how often the token was refreshed for it.
        suspected_at: when a request with it first failed, in the circuit breaker's order of events; None before that.
        is_temporary: whether one of its answers is a temporary error.
    """

    def __init__(
        self,
        body: Body,
        group: BatchGroup,
        *,
        editor: OutputEditor | None = None,
        photo: InFlight | None = None,
    ) -> None:
        self.body = body
        self.size = body.size
        self.group = group
        self.editor = editor
        self.photo = photo
        self.reply: asyncio.Future[ErrorInfo | None] = asyncio.get_running_loop().create_future()
        self.attempts = 0
        self.in_flight = False
        self.token_refreshes = 0
        self.suspected_at: int | None = None
        self.is_temporary = False
        self._received: dict[Mode, ReceivedItem] = {}

    @property
    def done(self) -> bool:
        """Whether it is not awaited any more: it has its reply, or was cancelled."""
        return self.reply.done()

    def receive(self, received: ReceivedItem, *, is_temporary: bool = False) -> bool:
        """Keep an answer; False when it was not asked for, or the mode is already answered."""
        mode, specs = received.answered.mode, self.group.specs
        if self.done or mode in self._received or mode not in [spec.mode for spec in specs]:
            return False
        self._received[mode] = received
        self.is_temporary = self.is_temporary or is_temporary
        if len(self._received) == len(specs):
            self.reply.set_result(None)
        return True

    def finish(self, fault: ErrorInfo, *, only_partly: bool = False) -> None:
        """Reply that `fault` is why modes are missing; with `only_partly`, do nothing when no mode is answered."""
        if not self.done and (self._received or not only_partly):
            self.reply.set_result(fault)

    def fail(self, error: BaseException) -> None:
        """Reply with `error`."""
        if not self.done:
            self.reply.set_exception(error)

    def take(self, mode: Mode) -> ReceivedItem | None:
        """Hand over the answer to `mode`, once; None when there is none. The caller commits or discards it."""
        return self._received.pop(mode, None)


def pending(items: Iterable[Item]) -> list[Item]:
    """The items that are still waited for."""
    return [item for item in items if not item.done]


def reserve_budget(items: list[Item]) -> list[Item]:
    """The first `items`, as far as the budget goes; the others are stopped."""
    if not items:
        return items
    granted = items[0].group.submitter.budget.take(len(items))
    for item in items[granted:]:
        item.fail(Stopped())
    return items[:granted]
