"""The life of one photo: probe → submit → [batcher → chunk → limiter → send → split] → keep → record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from tenacity import AsyncRetrying

from smarty_async.archive.crew import threaded
from smarty_async.archive.entry import Claim, Kept, Known, Received
from smarty_async.archive.journal import Journal
from smarty_async.archive.keeper import Keeper
from smarty_async.archive.probe import probe
from smarty_async.archive.reader import FileBody
from smarty_async.archive.writer import Spooled, Workplace
from smarty_async.errors import PhotoFailed, PhotoRejected
from smarty_async.options import Limits, Task
from smarty_async.results import ErrorInfo, Kind, Outcome, Result
from smarty_async.transport.item import Item, Reply
from smarty_async.transport.retrying import TemporaryAnswer, retried
from smarty_async.transport.spool import Arrived
from smarty_async.wire.verdict import ItemVerdict, judge_item

__all__ = ["Asked", "Journey", "Keep", "ask"]

Keep = Callable[[Task, Arrived], Awaitable[None]]
"""Makes an answer last."""


class Asked(msgspec.Struct):
    """What became of the asking.

    Attributes:
        failures: why, for each task that has no answer in the end.
        rides: how many requests the photo rode in.
    """

    failures: dict[Task, ErrorInfo] = {}
    rides: int = 0

    @property
    def error(self) -> ErrorInfo | None:
        """The failures as one."""
        reasons = list(self.failures.items())
        if len(reasons) <= 1:
            return reasons[0][1] if reasons else None
        told = "; ".join(f"{task.mode}: {why.message}" for task, why in reasons)
        return ErrorInfo(reasons[0][1].type, told)


async def ask(
    tasks: Sequence[Task],
    *,
    make_item: Callable[[tuple[Task, ...]], Item],
    submit: Callable[[Item], Awaitable[Reply]],
    keep: Keep,
    policy: Callable[[], AsyncRetrying],
) -> Asked:
    """Ask for `tasks` until each has an answer that lasts, or has failed. Only what is missing is asked again."""
    asked, missing = Asked(), list(tasks)

    async def attempt() -> None:
        item = make_item(tuple(missing))
        try:
            reply = await submit(item)
        finally:
            asked.rides += item.rides
        for task in tuple(missing):
            verdict, why = await _take(reply, task, keep)
            if why is None:
                asked.failures.pop(task, None)
            else:
                asked.failures[task] = why
            if verdict != "temporary":
                missing.remove(task)
        if missing:
            raise TemporaryAnswer

    try:
        await retried(attempt, policy)
    except TemporaryAnswer:
        pass  # often enough
    except PhotoRejected as error:
        error.attempts = asked.rides
        raise
    except PhotoFailed as error:
        asked.failures.update((task, ErrorInfo(error.type, str(error))) for task in missing)
    return asked


async def _take(reply: Reply, task: Task, keep: Keep) -> tuple[ItemVerdict, ErrorInfo | None]:
    arrived = reply.arrived.get(task.mode)
    if arrived is None:
        return "temporary", reply.fault or ErrorInfo("unanswered", "the service's answer did not mention it")
    verdict, why = judge_item(arrived.answered)
    if verdict == "done":
        await keep(task, arrived)
    else:
        await arrived.discard()
    return verdict, why


_probe = threaded(probe)


class Journey:
    """Takes one photo of an archive from its place on the disk to its outputs, and notes every step.

    Args:
        claim: the photo and its entry in the journal.
        tasks: what is asked of it.
        workplace: where outputs go.
        journal: what is remembered.
        keeper: makes answers last.
        limits: what may be sent.
        fit: whether to make it fit the limits.
    """

    def __init__(
        self,
        claim: Claim,
        tasks: tuple[Task, ...],
        *,
        workplace: Workplace,
        journal: Journal,
        keeper: Keeper,
        limits: Limits,
        fit: bool,
    ) -> None:
        self._claim = claim
        self._tasks = tasks
        self._workplace = workplace
        self._journal = journal
        self._keeper = keeper
        self._limits = limits
        self._fit = fit
        self._converted: Spooled | None = None
        self._took_over = False

    @property
    def claim(self) -> Claim:
        """The photo and its entry in the journal."""
        return self._claim

    @property
    def missing(self) -> tuple[Task, ...]:
        """The tasks that no run has finished yet."""
        return tuple(task for task in self._tasks if not self._claim.has(task))

    async def look(self) -> FileBody:
        """Look into the photo; what is to be sent.

        Raises:
            PhotoRejected: it cannot be sent.
            DiskError: it had to be converted, and the disk refuses.
        """
        found, problem = self._claim.found, self._claim.problem
        if problem:
            raise PhotoRejected(problem.message, type=problem.type)
        probed = await _probe(found.path, limits=self._limits, fit=self._fit)
        if probed.converted is None:
            return FileBody(found.path, size=probed.size, mtime_ns=found.mtime_ns, content_type=probed.content_type)
        self._converted = self._workplace.open()
        await self._converted.write([probed.converted])
        return FileBody(self._converted.path, size=probed.size, mtime_ns=None, content_type=probed.content_type)

    async def keep(self, task: Task, arrived: Arrived) -> None:
        """Make an answer last."""
        blobs = arrived.answered.blobs
        outputs: dict[Kind, Kept] = {
            kind: Kept(file.name, blobs[kind].size) for kind, file in arrived.files.items() if isinstance(file, Spooled)
        }
        await self._keep(task, outputs, bw=arrived.answered.bw)

    async def take_over(self, task: Task) -> None:
        """Make an answer of one's own out of what a photo with the same content has got, if there is one."""
        for answer in await self._journal.answers_to(task, self._claim):
            copies: dict[Kind, Spooled | None] = {
                kind: await self._workplace.copy(self._workplace.out / kind / answer.place, kept.size)
                for kind, kept in answer.outputs.items()
            }
            files: dict[Kind, Spooled] = {kind: file for kind, file in copies.items() if file is not None}
            if len(files) == len(copies):
                await self._keep(
                    task,
                    {kind: Kept(file.name, answer.outputs[kind].size) for kind, file in files.items()},
                    bw=answer.bw,
                )
                self._took_over = True
                return
            for file in files.values():
                await file.discard()

    async def _keep(self, task: Task, outputs: dict[Kind, Kept], *, bw: bool | None) -> None:
        await self._keeper.keep(Received(self._claim, task, outputs, bw))
        self._claim.known[task.mode] = Known(str(task), "placed", outputs, bw)

    async def record(self, asked: Asked) -> Result:
        """Note what became of the photo."""
        result = self._claim.result(
            self._outcome(asked), error=asked.error, attempts=self._claim.attempts + asked.rides
        )
        await self._journal.record(self._claim, result, asked.failures)
        return result

    def _outcome(self, asked: Asked) -> Outcome:
        if asked.failures:
            return "failed"
        if self._took_over and not asked.rides:
            return "duplicate"
        made = any(self._claim.known[task.mode].outputs for task in self._tasks if self._claim.has(task))
        return "restored" if made else "already_good"

    async def reject(self, error: PhotoRejected) -> Result:
        """Note that the photo is not sent, and why."""
        why = ErrorInfo(error.type, str(error))
        result = self._claim.result("rejected", error=why, attempts=self._claim.attempts + error.attempts)
        await self._journal.record(self._claim, result, {})
        return result

    async def tidy(self) -> None:
        """Remove what was made on the way."""
        if self._converted is not None:
            await self._converted.discard()
