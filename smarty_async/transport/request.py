"""One request of a chunk: who pays, what is in flight, what has been answered."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Literal

from smarty_async.errors import RequestError
from smarty_async.hooks import RequestDetails, ResponseDetails
from smarty_async.options import ModeSpec
from smarty_async.transport.body import Body, BodyFailed
from smarty_async.transport.item import Item, RequestSender, Submitter
from smarty_async.transport.response import OutputEditor, OutputSink, ReceivedItem
from smarty_async.wire.messages import item_name, judge_item

__all__ = ["ChunkRequest", "was_refused"]

_log = logging.getLogger("smarty_async")


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
        return self._submitter.sender

    @property
    def specs(self) -> tuple[ModeSpec, ...]:
        """What is asked of each image."""
        return self.items[0].group.specs

    @property
    def sink(self) -> OutputSink:
        """Where outputs are written."""
        return self._submitter.sink

    @property
    def _submitter(self) -> Submitter:
        return self.items[0].group.submitter

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
            # An upload that an image broke off is no whole request, and so refused.
            refused = isinstance(error, BodyFailed) or (isinstance(error, RequestError) and was_refused(error))
            if self.size and not self.received and refused:
                self._paid = False
                self._finish("refused")
            raise
        finally:
            for item in self.items:
                item.in_flight = False
            if not self._paid:
                self._submitter.budget.give_back(len(self.items))
            if self.size:
                self._report(self._clock() - began, failure)
                if isinstance(failure, BodyFailed):
                    for item in self.items:
                        item.attempts -= 1  # a part of a request carries nothing

    async def on_upload_started(self, size: int) -> None:
        """The connection is established and the first of `size` bytes is about to be sent."""
        if self._submitter.request_log is not None:
            self._logged_as = await self._submitter.request_log.started(images=len(self.items), size=size)
        self._paid = True
        self.size = size
        for item in self.items:
            item.attempts += 1
        self._submitter.hooks.on_request(
            RequestDetails(self._number, len(self.items), size, self._attempts, permits=self._permits)
        )

    def editor_of(self, name: str) -> OutputEditor | None:
        """What is done to the outputs of the item with a name; None for nothing, and for one that was not sent."""
        item = self.names.get(name)
        return None if item is None else item.editor

    def on_item(self, received: ReceivedItem) -> bool:
        """Give an answer to the item it names; False when no item takes it."""
        item = self.names.get(received.answered.name)
        if item is not None and item.reply.cancelled():
            return False  # its caller has gone
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
        self._submitter.disk_space.note_answer(
            self.specs, images=len(self.items), sent=self.size, received=self.bytes_received
        )
        self._on_complete()
        self._finish("answered")

    def _report(self, seconds: float, failure: BaseException | None) -> None:
        status = HTTPStatus.OK if self._complete else getattr(failure, "status", None)
        self._submitter.hooks.on_response(
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
        if self._submitter.request_log is not None and self._logged_as is not None:
            self._submitter.request_log.finished(self._logged_as, state=state)
