"""The life of one photo: probe → submit → [batcher → chunk → limiter → send → split] → keep → record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from tenacity import AsyncRetrying

from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import PhotoEntry, ReceivedAnswer, StoredAnswer, StoredOutput
from smarty_async.archive.outputs.folder import OutputDirectory, TempFile
from smarty_async.archive.photos.probe import probe
from smarty_async.archive.photos.reader import FileBody
from smarty_async.archive.threads import threaded
from smarty_async.errors import PhotoFailed, PhotoRejected
from smarty_async.options import Limits, ModeSpec
from smarty_async.results import ErrorInfo, Kind, Outcome, Result
from smarty_async.transport.item import Item, Reply
from smarty_async.transport.retry import TemporaryAnswer, retried
from smarty_async.transport.sinks import ReceivedItem
from smarty_async.wire.verdict import ItemVerdict, judge_item

__all__ = ["Keep", "PhotoRun", "RequestOutcome", "ask"]

Keep = Callable[[ModeSpec, ReceivedItem], Awaitable[None]]
"""Makes an answer last."""


class RequestOutcome(msgspec.Struct):
    """What became of the asking.

    Attributes:
        failures: why, for each task that has no answer in the end.
        attempts: how many requests the photo rode in.
    """

    failures: dict[ModeSpec, ErrorInfo] = {}
    attempts: int = 0

    @property
    def error(self) -> ErrorInfo | None:
        """The failures as one."""
        reasons = list(self.failures.items())
        if len(reasons) <= 1:
            return reasons[0][1] if reasons else None
        told = "; ".join(f"{spec.mode}: {why.message}" for spec, why in reasons)
        return ErrorInfo(reasons[0][1].type, told)


async def ask(
    specs: Sequence[ModeSpec],
    *,
    make_item: Callable[[tuple[ModeSpec, ...]], Item],
    submit: Callable[[Item], Awaitable[Reply]],
    keep: Keep,
    policy: Callable[[], AsyncRetrying],
) -> RequestOutcome:
    """Ask for `specs` until each has an answer that lasts, or has failed. Only what is missing is asked again."""
    asked, missing = RequestOutcome(), list(specs)

    async def attempt() -> None:
        item = make_item(tuple(missing))
        try:
            reply = await submit(item)
        finally:
            asked.attempts += item.attempts
        for spec in tuple(missing):
            verdict, why = await _take(reply, spec, keep)
            if why is None:
                asked.failures.pop(spec, None)
            else:
                asked.failures[spec] = why
            if verdict != "temporary":
                missing.remove(spec)
        if missing:
            raise TemporaryAnswer

    try:
        await retried(attempt, policy)
    except TemporaryAnswer:
        pass  # often enough
    except PhotoRejected as error:
        error.attempts = asked.attempts
        raise
    except PhotoFailed as error:
        asked.failures.update((spec, ErrorInfo(error.type, str(error))) for spec in missing)
    return asked


async def _take(reply: Reply, spec: ModeSpec, keep: Keep) -> tuple[ItemVerdict, ErrorInfo | None]:
    arrived = reply.arrived.get(spec.mode)
    if arrived is None:
        return "temporary", reply.fault or ErrorInfo("unanswered", "the service's answer did not mention it")
    verdict, why = judge_item(arrived.answered)
    if verdict == "done":
        await keep(spec, arrived)
    else:
        await arrived.discard()
    return verdict, why


_probe = threaded(probe)


class PhotoRun:
    """Takes one photo of an archive from its place on the disk to its outputs, and notes every step.

    Args:
        entry: the photo and its entry in the journal.
        specs: what is asked of it.
        directory: where outputs go.
        journal: what is remembered.
        committer: makes answers last.
        limits: what may be sent.
        fit: whether to make it fit the limits.
    """

    def __init__(
        self,
        entry: PhotoEntry,
        specs: tuple[ModeSpec, ...],
        *,
        directory: OutputDirectory,
        journal: Journal,
        committer: OutputCommitter,
        limits: Limits,
        fit: bool,
    ) -> None:
        self._entry = entry
        self._specs = specs
        self._directory = directory
        self._journal = journal
        self._committer = committer
        self._limits = limits
        self._fit = fit
        self._converted: TempFile | None = None
        self._took_over = False

    @property
    def entry(self) -> PhotoEntry:
        """The photo and its entry in the journal."""
        return self._entry

    @property
    def missing(self) -> tuple[ModeSpec, ...]:
        """The tasks that no run has finished yet."""
        return tuple(spec for spec in self._specs if not self._entry.has(spec))

    async def look(self) -> FileBody:
        """Look into the photo; what is to be sent.

        Raises:
            PhotoRejected: it cannot be sent.
            DiskError: it had to be converted, and the disk refuses.
        """
        found, problem = self._entry.found, self._entry.problem
        if problem:
            raise PhotoRejected(problem.message, type=problem.type)
        probed = await _probe(found.path, limits=self._limits, fit=self._fit)
        if probed.converted is None:
            return FileBody(
                found.path,
                size=probed.size,
                version=found.version,
                content_type=probed.content_type,
                file_size=probed.file_size,
            )
        self._converted = self._directory.open()
        await self._converted.write([probed.converted])
        return FileBody(self._converted.path, size=probed.size, version=None, content_type=probed.content_type)

    async def keep(self, spec: ModeSpec, arrived: ReceivedItem) -> None:
        """Make an answer last."""
        blobs = arrived.answered.blobs
        outputs: dict[Kind, StoredOutput] = {
            kind: StoredOutput(file.name, blobs[kind].size)
            for kind, file in arrived.files.items()
            if isinstance(file, TempFile)
        }
        await self._keep(spec, outputs, bw=arrived.answered.bw)

    async def take_over(self, spec: ModeSpec) -> None:
        """Make an answer of one's own out of what a photo with the same content has got, if there is one."""
        for answer in await self._journal.answers_to(spec, self._entry):
            copies: dict[Kind, TempFile | None] = {
                kind: await self._directory.copy(self._directory.out / kind / answer.place, kept.size)
                for kind, kept in answer.outputs.items()
            }
            files: dict[Kind, TempFile] = {kind: file for kind, file in copies.items() if file is not None}
            if len(files) == len(copies):
                await self._keep(
                    spec,
                    {kind: StoredOutput(file.name, answer.outputs[kind].size) for kind, file in files.items()},
                    bw=answer.bw,
                )
                self._took_over = True
                return
            for file in files.values():
                await file.discard()

    async def _keep(self, spec: ModeSpec, outputs: dict[Kind, StoredOutput], *, bw: bool | None) -> None:
        await self._committer.keep(ReceivedAnswer(self._entry, spec, outputs, bw))
        self._entry.known[spec.mode] = StoredAnswer(str(spec), "placed", outputs, bw)

    async def record(self, asked: RequestOutcome) -> Result:
        """Note what became of the photo."""
        result = self._entry.result(
            self._outcome(asked), error=asked.error, attempts=self._entry.attempts + asked.attempts
        )
        await self._journal.record(self._entry, result, asked.failures)
        return result

    def _outcome(self, asked: RequestOutcome) -> Outcome:
        if asked.failures:
            return "failed"
        if self._took_over and not asked.attempts:
            return "duplicate"
        made = any(self._entry.known[spec.mode].outputs for spec in self._specs if self._entry.has(spec))
        return "restored" if made else "already_good"

    async def reject(self, error: PhotoRejected) -> Result:
        """Note that the photo is not sent, and why."""
        why = ErrorInfo(error.type, str(error))
        result = self._entry.result("rejected", error=why, attempts=self._entry.attempts + error.attempts)
        await self._journal.record(self._entry, result, {})
        return result

    async def tidy(self) -> None:
        """Remove what was made on the way."""
        if self._converted is not None:
            await self._converted.discard()
