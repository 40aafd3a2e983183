"""Ask for the answers to one photo: send it, and send it again while an answer is missing, until each is committed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

import msgspec

from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.errors import PhotoFailed, PhotoRejected, SmartyError
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.item import Item, Submitter
from smarty_async.transport.response import ReceivedItem
from smarty_async.transport.retry import TemporaryAnswer, retried
from smarty_async.wire.messages import ItemVerdict, judge_item

__all__ = ["RequestOutcome", "RequestedPhoto", "ask"]


class RequestOutcome(msgspec.Struct, gc=False):
    """What came of asking for a photo.

    Attributes:
        failures: for each mode spec without an answer, why.
        attempts: requests that carried the photo.
    """

    failures: dict[ModeSpec, ErrorInfo] = {}
    attempts: int = 0

    @property
    def own_failures(self) -> dict[ModeSpec, ErrorInfo]:
        """The failures without those of enlargements that were not asked for, because the photo was not restored."""
        restoring = {spec: reason for spec, reason in self.failures.items() if not spec.chained}
        return restoring or self.failures

    @property
    def error(self) -> ErrorInfo | None:
        """The failures as one error, None when there is none."""
        reasons = list(self.failures.items())
        if len(reasons) <= 1:
            return reasons[0][1] if reasons else None
        message = "; ".join(f"{spec.mode}: {reason.message}" for spec, reason in reasons)
        return ErrorInfo(reasons[0][1].type, message)


class RequestedPhoto(Protocol):
    """A photo for which `ask` sends requests."""

    def item(self, specs: tuple[ModeSpec, ...]) -> Item:
        """What is sent to get `specs`."""
        ...

    async def commit(self, spec: ModeSpec, /, received: ReceivedItem) -> None:
        """Make one answer durable."""
        ...


async def ask(
    photo: RequestedPhoto,
    specs: Sequence[ModeSpec],
    outcome: RequestOutcome,
    *,
    dispatcher: Dispatcher,
    submitter: Submitter,
) -> None:
    """Ask for `specs` until each has an answer that is committed, or has failed; only what is missing is asked again.

    What comes of it is added to `outcome`.

    Raises:
        PhotoRejected: the photo can no longer be read; its `attempts` are filled in.
    """
    missing = list(specs)
    try:
        await retried(_attempt, partial(dispatcher.retry_policy, submitter), photo, missing, outcome, dispatcher)
    except TemporaryAnswer:
        pass  # the attempts are used up: the failures say why
    except PhotoRejected as error:
        error.attempts = outcome.attempts
        raise
    except PhotoFailed as error:
        outcome.failures.update(dict.fromkeys(missing, ErrorInfo(error.type, str(error))))


async def _attempt(
    photo: RequestedPhoto, missing: list[ModeSpec], outcome: RequestOutcome, dispatcher: Dispatcher
) -> None:
    """Ask once for what is `missing`; what needs no other attempt is taken out of it.

    Raises:
        TemporaryAnswer: something is still missing.
    """
    item = photo.item(tuple(missing))
    try:
        fault = await dispatcher.submit(item)
        for spec in tuple(missing):
            verdict, failure = await _accept(photo, item.take(spec.mode), fault, spec)
            if failure is None:
                outcome.failures.pop(spec, None)
            else:
                outcome.failures[spec] = failure
            if verdict != "temporary":
                missing.remove(spec)
    except BaseException:
        await finish_despite_cancel(_commit_received(photo, item, missing, outcome))
        raise
    finally:
        outcome.attempts += item.attempts
    if missing:
        raise TemporaryAnswer(outcome.error.message if outcome.error else "")


async def _accept(
    photo: RequestedPhoto, received: ReceivedItem | None, fault: ErrorInfo | None, spec: ModeSpec
) -> tuple[ItemVerdict, ErrorInfo | None]:
    """Commit the answer to `spec` if there is one; the verdict on it, and the failure if it is one."""
    if received is None:
        return "temporary", fault or ErrorInfo("unanswered", "the service's answer did not mention it")
    verdict, failure = judge_item(received.answered)
    if verdict == "done":
        await photo.commit(spec, received)
        received.taken()
    else:
        await received.discard()
    return verdict, failure


async def _commit_received(photo: RequestedPhoto, item: Item, missing: list[ModeSpec], outcome: RequestOutcome) -> None:
    """Commit what was received before an error or a cancellation: it is paid for, and the next run finds it."""
    for spec in tuple(missing):
        if (received := item.take(spec.mode)) is not None:
            with suppress(SmartyError):  # the first error is the one that counts
                verdict, _ = await _accept(photo, received, None, spec)
                if verdict == "done":
                    missing.remove(spec)
                    outcome.failures.pop(spec, None)
