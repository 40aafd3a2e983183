"""Whether the service's answers can be used at all: found out with the first ones, before many are paid for."""

from __future__ import annotations

from http import HTTPStatus
from weakref import WeakKeyDictionary, WeakSet

from smarty_async.errors import RequestError, ServiceUnavailable
from smarty_async.transport.body import Body
from smarty_async.transport.item import Item
from smarty_async.transport.limiter import Permit
from smarty_async.transport.request import ChunkRequest
from smarty_async.transport.retry import CircuitBreaker

__all__ = ["AnswerCheck"]

_UNUSABLE_OUTPUTS = 2
"""Outputs, and no other, that are unusable for one reason before the service's answers are taken to be so."""
_UNREADABLE_ANSWERS = 3
"""Whole answers that cannot be read, before any good one, after which nothing more is sent."""


class AnswerCheck:
    """Stops a client whose answers cannot be used. It passes for good when one output can be.

    Args:
        breaker: tells whether there was a good answer; is tripped by one that cannot be read.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._passed = False
        self._held: WeakSet[Permit] = WeakSet()  # of requests that were answered before it has passed
        self._has_received = False  # whether any answer mentioned a photo
        self._unreadable = 0  # whole answers, before a good one
        self._unusable: dict[Body, str] = {}  # why, until it has passed
        self._rejected: WeakKeyDictionary[Body, str] = WeakKeyDictionary()  # why, of those that are not sent again

    def check_item(self, item: Item) -> None:
        """Refuse to send an item again that the service answered with outputs that cannot be used.

        Raises:
            ServiceUnavailable: its outputs, and those of all others, were unusable.
        """
        if self._rejected and (reason := self._rejected.get(item.body)):
            raise _unusable(reason)

    def release(self, permit: Permit) -> None:
        """Let another request have the permit of one that is answered, while its outputs are being written.

        Until it has passed, each answer is looked at before the next request.
        """
        if self._passed:
            permit.release()
        else:
            self._held.add(permit)

    def note_usable(self) -> None:
        """An output can be used."""
        if self._passed:
            return
        self._passed = True
        for permit in self._held:
            permit.release()
        self._held.clear()

    def check_readable(self, error: RequestError, request: ChunkRequest, *, others_open: bool) -> None:
        """Stop when the first answers came whole and cannot be read: the next ones would be paid for, too.

        The first such answer may be an accident: one photo at a time finds out.

        Args:
            error: what the request failed with.
            request: the request.
            others_open: whether other requests are open: one of them may be answered well.

        Raises:
            ServiceUnavailable: none was readable, and no other request is open.
        """
        unreadable = error.status is not None and error.status < HTTPStatus.MULTIPLE_CHOICES
        if not unreadable or request.received or self._breaker.answered:
            return
        self._unreadable += 1
        if self._unreadable >= _UNREADABLE_ANSWERS and not others_open:
            raise _unusable(str(error))
        self._breaker.trip()

    def check_outputs(self, request: ChunkRequest) -> None:
        """Stop when the first outputs are all unusable for one reason: the next ones would be paid for, too.

        An answer that mentions none of its photos, as nothing before it did, counts as their outputs.

        Raises:
            ServiceUnavailable: they are.
        """
        self._has_received = self._has_received or request.received > 0
        if not self._has_received:
            request.unusable.update((item.body, "they answer for none of the photos") for item in request.items)
        if self._passed:
            self._unusable.clear()
            return
        self._unusable.update(request.unusable)
        reasons = set(self._unusable.values())
        if len(self._unusable) >= _UNUSABLE_OUTPUTS and len(reasons) == 1 and request.unusable:
            self._rejected.update(self._unusable)
            # Some are kept: the requests that are open now get the same answers, one by one.
            self._unusable = dict(list(self._unusable.items())[-_UNUSABLE_OUTPUTS:])
            raise _unusable(reasons.pop())


def _unusable(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"stopped, because the service's answers cannot be used: {reason}",
        status=HTTPStatus.OK,
        seconds=0.0,
        pays_again=True,
    )
