"""An item: one photo to be sent, and what is known of it until it has its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from smarty_async.options import Mode, ModeSpec
from smarty_async.progress import InFlight
from smarty_async.results import ErrorInfo
from smarty_async.transport.body import Body
from smarty_async.transport.response import OutputEditor, ReceivedItem
from smarty_async.transport.submitter import Submitter

__all__ = ["BatchGroup", "Item", "Stopped", "pending", "reserve_budget"]


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
