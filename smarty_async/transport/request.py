"""An item and the requests it travels in: who pays, what is in flight, what has been answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Literal, Protocol

import msgspec

from smarty_async.errors import RequestError, SmartyError
from smarty_async.hooks import Hooks, RequestDetails, ResponseDetails
from smarty_async.options import Mode, ModeSpec
from smarty_async.progress import InFlight
from smarty_async.results import ErrorInfo
from smarty_async.transport.batcher import Forecast
from smarty_async.transport.connection import Body, BodyFailed
from smarty_async.transport.response import OutputEditor, OutputSink, ReceivedItem
from smarty_async.transport.room import AnswerRoom
from smarty_async.wire.messages import item_name, judge_item

__all__ = [
    "BatchGroup",
    "ChunkRequest",
    "ImageBudget",
    "Item",
    "Reply",
    "RequestLog",
    "RequestSender",
    "Stopped",
    "Submitter",
    "pending",
    "reserve_budget",
    "was_refused",
]

_log = logging.getLogger("smarty_async")


class Stopped(Exception):
    """The item was not sent, because its run is stopping."""


class RequestLog(Protocol):
    """Records requests durably, so that the cost of one that was cut short is still counted by the next run."""

    async def check_room(self, size: int) -> None:
        """Make sure that the disk has room for `size` bytes of outputs.

        Raises:
            DiskFull: it has none.
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
        ends_with_error: whether an error that stops one of its requests stops what it submits later, too.
        later: how many items it will submit that it cannot announce yet.

    Attributes:
        forecast: what it is going to submit.
        budget: what pays for its requests; without a limit at first.
        room: on the disk, for the answers to its requests.
        is_stopped: whether nothing more of it is sent.
        error: the one that it has ended with; None before that.
    """

    def __init__(self, *, ends_with_error: bool = False, later: Callable[[], int] = lambda: 0) -> None:
        self.forecast = Forecast(later)
        self.budget = ImageBudget()
        self.room = AnswerRoom()
        self.ends_with_error = ends_with_error
        self.is_stopped = False
        self.error: SmartyError | None = None


class BatchGroup(msgspec.Struct, frozen=True, eq=False):
    """What items must have in common to share a request; compared by identity.

    Attributes:
        specs: what is asked of each image.
        sink: where outputs are written.
        hooks: called with what happens to its requests.
        submitter: who submits its items.
        request_log: where requests are recorded before they are sent; None for nowhere.
        give_up_after: how long the service may fail every request before the group's items fail with
            `ServiceUnavailable`, in seconds; None for `Retries.give_up_after`.
        sender: what its requests go through; None for the client's own connection.
    """

    specs: tuple[ModeSpec, ...]
    sink: OutputSink
    hooks: Hooks
    submitter: Submitter
    request_log: RequestLog | None = None
    give_up_after: float | None = None
    sender: RequestSender | None = None


class Reply(msgspec.Struct, frozen=True):
    """What came back for an item.

    Attributes:
        received: the answers, by mode.
        fault: why a mode is missing, None when all modes are answered.
    """

    received: Mapping[Mode, ReceivedItem]
    fault: ErrorInfo | None = None


class Item:
    """One photo to be sent.

    Attributes:
        body: its bytes.
        size: how many.
        group: what is asked of it, and which items it may share a request with.
        editor: what is done to its outputs; None for nothing.
        photo: what is shown of it while its request is open; None for nothing.
        reply: what comes back.
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
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
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
        """Keep an answer; False when it was not asked for, or the mode is already answered.

        Args:
            received: the answer.
            is_temporary: whether it is a temporary error.
        """
        mode, specs = received.answered.mode, self.group.specs
        if self.done or mode in self._received or mode not in [spec.mode for spec in specs]:
            return False
        self._received[mode] = received
        self.is_temporary = self.is_temporary or is_temporary
        if len(self._received) == len(specs):
            self.reply.set_result(Reply(self._received))
        return True

    def finish(self, fault: ErrorInfo, *, only_partly: bool = False) -> None:
        """Reply with the modes that are answered; with `only_partly`, do nothing when there is none."""
        if not self.done and (self._received or not only_partly):
            self.reply.set_result(Reply(self._received, fault))

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


_WORK_MAY_HAVE_BEGUN = frozenset({HTTPStatus.REQUEST_TIMEOUT, 499})
"""Statuses under 500 with which a request is given up while it is processed. 499: nginx, the client left."""


def was_refused(error: RequestError) -> bool:
    """Whether the request was refused before any work, and so is not paid for: the rule for all counts of images paid.

    A request is paid for from its first byte on, unless it is answered as a whole with a status from 300 to 499 that
    rejects it (413, 401, 403, 429, an envelope with 400, …). One that fails with 5xx, breaks off or times out may
    have been worked on: it counts as paid. One whose connection was never established was not sent at all.
    """
    status = error.status
    return not error.sent or (
        status is not None
        and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        and status not in _WORK_MAY_HAVE_BEGUN
    )


class ChunkRequest:
    """One request of a chunk; the `Exchange` that a connection reports to.

    Args:
        items: what it carries, at least one, all of one group.
        number: counts the requests of a client.
        token: what it is authorized with.
        epoch: `AdaptiveSemaphore.epoch` at its start.
        started: `CircuitBreaker.tick` at its start.
        permits: how many requests may be open at once when it is made.
        clock: monotonic seconds.
        on_usable: called with each answer that holds outputs which can be used.
        on_complete: called when the response has been read, while its outputs are still being written.

    Attributes:
        names: the items by the names of their parts.
        size: bytes of the body; 0 until its upload starts.
        bytes_sent: bytes of its body that were sent.
        bytes_received: bytes of its answer.
        received: how many answers its items have taken.
        unusable: why the outputs of some cannot be used, by the image's body.
    """

    def __init__(
        self,
        items: list[Item],
        *,
        number: int,
        token: str,
        epoch: int,
        started: int,
        permits: int,
        clock: Callable[[], float],
        on_usable: Callable[[], None],
        on_complete: Callable[[], None],
    ) -> None:
        self.items = items
        self.names = {item_name(number): item for number, item in enumerate(items)}
        self.token = token
        self._clock = clock
        self._on_usable = on_usable
        self._on_complete = on_complete
        self._complete = False
        self._response_seconds = 0.0
        self.epoch = epoch
        self.started = started
        self._permits = permits
        self._number = number
        self.size = 0
        self.bytes_sent = self.bytes_received = 0
        self.received = 0
        self.unusable: dict[Body, str] = {}
        self._paid = False
        self._logged_as: int | None = None  # its number in the request log
        self._warned = False

    @property
    def bodies(self) -> Sequence[Body]:
        """The images, in order."""
        return [item.body for item in self.items]

    @property
    def editors(self) -> Sequence[OutputEditor | None]:
        """What is done to the outputs of each image."""
        return [item.editor for item in self.items]

    @property
    def sender(self) -> RequestSender | None:
        """What it goes through; None for the client's own connection."""
        return self._group.sender

    @property
    def specs(self) -> tuple[ModeSpec, ...]:
        """What is asked of each image."""
        return self._group.specs

    @property
    def sink(self) -> OutputSink:
        """Where outputs are written."""
        return self._group.sink

    @property
    def _group(self) -> BatchGroup:
        return self.items[0].group

    @asynccontextmanager
    async def in_flight(self) -> AsyncGenerator[None]:
        """Mark the items as in flight; at the end, return to the budget what was not paid for, and call the hooks."""
        for item in self.items:
            item.in_flight = True
        failure: BaseException | None = None
        began = self._clock()
        try:
            yield
        except BaseException as error:
            failure = error
            # An upload that was given up is no whole request, and so refused.
            refused = isinstance(error, BodyFailed) or (isinstance(error, RequestError) and was_refused(error))
            if self.size and not self.received and refused:
                self._paid = False
                self._finish("refused")
            raise
        finally:
            for item in self.items:
                item.in_flight = False
            if not self._paid:
                self._group.submitter.budget.give_back(len(self.items))
            if self.size:
                self._report(self._clock() - began, failure)

    async def on_upload_started(self, size: int) -> None:
        """The connection is established and the first of `size` bytes is about to be sent."""
        if self._group.request_log is not None:
            self._logged_as = await self._group.request_log.started(images=len(self.items), size=size)
        self._paid = True
        self.size = size
        for item in self.items:
            item.attempts += 1
        self._group.hooks.on_request(
            RequestDetails(self._number, len(self.items), size, self._attempts, permits=self._permits)
        )

    def editor_of(self, name: str) -> OutputEditor | None:
        """What is done to the outputs of the item with a name; None for nothing, and for one that was not sent."""
        item = self.names.get(name)
        return None if item is None else item.editor

    def on_item(self, received: ReceivedItem) -> bool:
        """Give an answer to the item it names; False when no item takes it."""
        item = self.names.get(received.answered.name)
        verdict, why = judge_item(received.answered)
        if item is None or not item.receive(received, is_temporary=verdict == "temporary"):
            if not self._warned:
                self._warned = True
                _log.warning("ignoring answers that were not asked for, or came twice")
            return False
        self.received += 1
        if why is not None and why.type == "broken_output":
            self.unusable[item.body] = why.message.partition(": ")[2] or why.message  # the same for every kind
        elif received.files:
            self._on_usable()
        return True

    def on_response_complete(self, seconds: float) -> None:
        """A good response was read to its end, `seconds` after the request started; outputs may still be written."""
        self._complete = True
        self._response_seconds = seconds
        self._group.submitter.room.note_answer(self.specs, sent=self.size, received=self.bytes_received)
        self._on_complete()
        self._finish("answered")

    def _report(self, seconds: float, failure: BaseException | None) -> None:
        status = HTTPStatus.OK if self._complete else getattr(failure, "status", None)
        self._group.hooks.on_response(
            ResponseDetails(
                number=self._number,
                images=len(self.items),
                size=self.size,
                attempts=self._attempts,
                status=None if status is None else int(status),
                seconds=self._response_seconds if self._complete else seconds,
                received=self.received,
                bytes_sent=self.bytes_sent,
                bytes_received=self.bytes_received,
                paid=self._paid,
                error=None if failure is None or self._complete else str(failure) or type(failure).__name__,
            )
        )

    @property
    def _attempts(self) -> int:
        return max([item.attempts for item in self.items])

    def _finish(self, state: Literal["answered", "refused"]) -> None:
        if self._group.request_log is not None and self._logged_as is not None:
            self._group.request_log.finished(self._logged_as, state=state)
