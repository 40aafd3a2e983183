"""The life of one photo.

    adopt → probe → ask [batcher → chunk → permit → send → split] → commit → record

`PhotoRun` takes a photo of an archive through all of it. The middle part is `ask`, which a photo in memory
(`PhotoInMemory`) takes as well.
"""

from __future__ import annotations

import logging
from typing import cast

import msgspec

from smarty_async.archive.duplicates import FoundAnswer
from smarty_async.archive.entries import (
    FinishedPhoto,
    PhotoEntry,
    StoredAnswer,
    StoredOutput,
    is_kept,
)
from smarty_async.archive.journal.records import DuplicateAnswer, ReceivedAnswer
from smarty_async.archive.outputs.metadata.copier import MetadataCopier, SentPhoto
from smarty_async.archive.outputs.store import OutputRefused
from smarty_async.archive.outputs.temp_file import TempFile
from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.jpeg import JpegHeader
from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.photos.reader import FileBody, PhotoData
from smarty_async.archive.sources.folder import probe_file
from smarty_async.archive.sources.source import PhotoBody
from smarty_async.asking import RequestOutcome, ask
from smarty_async.chained import not_enlarged, not_there, restored_kind
from smarty_async.errors import PhotoFailed, PhotoRejected, SmartyError
from smarty_async.options import ModeSpec, rounds
from smarty_async.progress import InFlight
from smarty_async.results import ErrorInfo, Kind, Outcome, Result
from smarty_async.run_context import RunContext
from smarty_async.store_address import is_store_address
from smarty_async.transport.body import Body
from smarty_async.transport.item import BatchGroup, Item, Stopped
from smarty_async.transport.response import ReceivedItem

__all__ = ["PhotoRun"]

_log = logging.getLogger("smarty_async")


class PhotoRun:
    """Takes one photo of an archive from its source to its outputs; every step is journalled.

    It is the `RequestedPhoto` of an archive.

    Args:
        entry: the photo and its entry in the journal.
        context: what it shares with the other photos of the run.

    Attributes:
        pixels: of the picture that is sent; 0 until it is probed.
        entry: the photo, with what is known of it by now.
        pages: pictures in its file, as far as it is known.
    """

    def __init__(self, entry: PhotoEntry, context: RunContext) -> None:
        self.entry = entry
        self.pixels = 0
        self.pages = entry.pages
        self._context = context
        self._missing = entry.without_answer(context.options.specs)
        self._kinds = entry.kept(context.options.outputs)
        self._body: Body | None = None
        self._converted: tuple[TempFile, ...] = ()
        self._adopted = False
        self._made_outputs = False
        self._hashed: Probed | PhotoBody | None = None  # what knows the digest of the photo
        self._metadata: MetadataCopier | None = None
        self._header: JpegHeader | None = None

    async def run(self) -> FinishedPhoto | Result:
        """Bring the photo to its end: what is to be journalled, or the result that an earlier run has journalled.

        Raises:
            Stopped: the run sends nothing more; the photo is left for another run.
            ConfigurationError: nothing can be sent as things are.
            ServiceUnavailable: the service was given up on.
            DiskError: the disk refuses.
        """
        begun = self.entry
        self._context.duplicates.begin(begun)
        try:
            if self.entry.needs_comparison and (finished := await self._identify()):
                return finished
            if self.entry.may_be_duplicate:
                await self._adopt()
            return self._finished(await self._ask_for_missing())
        except PhotoRejected as error:
            return self._rejected(error)
        except PhotoFailed as error:  # where the outputs of another photo were to be copied to
            return self._failed(ErrorInfo(error.type, str(error)))
        except (SmartyError, Stopped, ExceptionGroup):
            raise
        except Exception as error:  # noqa: BLE001 - one photo's bug does not end the run
            return self._failed(self._bug(error))
        finally:
            self._context.duplicates.end(begun)
            for file in self._converted:
                await file.discard()

    # adopt

    async def _identify(self) -> Result | None:
        """Find the answers to the photo's content; its result when an earlier run has finished that."""
        with self._context.announce():
            self.entry = await self._context.duplicates.identify(self.entry)
        self.pages = self.entry.pages  # of a moved photo, as its former entry says
        options = self._context.options
        self._missing = self.entry.without_answer(options.specs)
        self._kinds = self.entry.kept(options.outputs)
        return self.entry.end(options.specs, retry_failed=options.retry_failed)

    async def _adopt(self) -> None:
        """Take over the answers to photos with the same content, also of those that are still being asked for."""
        duplicates = self._context.duplicates
        with self._context.announce():
            if not await duplicates.compare(self.entry):
                return
        while self._missing:
            await duplicates.wait_for_turn(self.entry)
            with self._context.announce():
                found = await duplicates.find_answers(self.entry, self._missing, self._context.options.outputs)
                if not found:
                    return
                for one in found:
                    if not await self._adopt_from(one):
                        duplicates.skip(one)

    async def _adopt_from(self, found: FoundAnswer) -> bool:
        """Copy the outputs of the answer that was found; False when they are not all there unchanged."""
        context, other, spec, files = self._context, found.answer, found.wanted.spec, list[TempFile]()
        try:
            outputs = await self._copy_outputs(other, spec, files)
            # While they were copied, another answer may have replaced them.
            if outputs is None or not await context.duplicates.is_current(found, self.entry):
                return False
            context.duplicates.note_copied(found)
            # Before the commit: once that is done, no later run looks into the file.
            await self._note_pages(await context.journal.most_pages(self.entry.id, other.photo))
            adopted, files = self._adopted_answer(spec, other.answer, outputs), []
        finally:
            for file in files:
                await file.discard()
        await self._commit(adopted)
        self._adopted = True
        return True

    async def _copy_outputs(
        self, other: DuplicateAnswer, spec: ModeSpec, files: list[TempFile]
    ) -> dict[Kind, StoredOutput] | None:
        """Add copies of the outputs of `other` to `files`, and of what the photo has itself and `other` has not.

        Returns:
            The copies, None as soon as an output is not there.
        """
        theirs, own = other.answer.outputs, self.entry.remaining(spec)
        copies: dict[Kind, StoredOutput] = {}
        for kind in theirs | own:
            if not self._is_kept(kind):
                continue
            sources = ((other.place, theirs.get(kind)), (self.entry.place, own.get(kind)))
            for place, output in sources:
                if output and (file := await self._context.outputs.copy(kind, place, output)):
                    files.append(file)
                    # Without its digest: the metadata are still to be copied or removed, as this run is asked to.
                    copies[kind] = StoredOutput(file.name, output.size)
                    break
            else:
                return None
        return copies

    def _adopted_answer(
        self, spec: ModeSpec, answer: StoredAnswer, outputs: dict[Kind, StoredOutput]
    ) -> ReceivedAnswer:
        """The `answer` to a photo with the same content as one to this photo, with copies of its outputs."""
        made: set[Kind] = {*answer.dropped, *answer.outputs}
        dropped: set[Kind] = made.difference(outputs)
        photo = self._context.source.reopen(self.entry.file)
        # What was sent is not known, and need not be: the outputs are tagged with their orientation, and have a profile
        # if one fits them.
        page, modified_ns = self.entry.file.page, _modified_ns(self.entry)
        self._metadata = self._copier(
            SentPhoto(photo=photo, page=page, sent=photo, to_srgb=True, modified_ns=modified_ns)
        )
        return ReceivedAnswer(
            self.entry, spec, outputs, answer.bw, self._digest, metadata=self._metadata, dropped=tuple(dropped)
        )

    # probe and ask

    async def _ask_for_missing(self) -> RequestOutcome:
        """Ask for what is missing: in one round, or in two when the restored picture is what is enlarged."""
        context, outcome = self._context, RequestOutcome()
        for specs in rounds(self._missing):
            if specs[0].chained and (error := outcome.error):
                not_restored = ErrorInfo(error.type, "not enlarged: it was not restored")
                outcome.failures |= dict.fromkeys(specs, not_restored)
                break
            try:
                with context.announce():
                    self._body = await self._body_for(specs)
            except PhotoRejected as error:
                error.attempts = outcome.attempts
                raise
            if not outcome.attempts:
                context.take_photo()
            await context.committer.wait_for_backlog()
            await ask(self, specs, outcome, dispatcher=context.dispatcher, submitter=context.submitter)
        return outcome

    def item(self, specs: tuple[ModeSpec, ...]) -> Item:
        """What is sent to get `specs`."""
        assert self._body is not None, "what is sent is known"  # noqa: S101 - for the type checkers
        context = self._context
        photo = InFlight(self.entry.file.photo, self.entry.file.size, self.pixels)
        editor = context.editor_of(self.entry, self._metadata)
        return Item(self._body, BatchGroup(specs, context.submitter), editor=editor, photo=photo)

    async def _body_for(self, specs: tuple[ModeSpec, ...]) -> Body:
        """What is sent to get `specs`: the photo, or the restored picture for a chained enlargement.

        Raises:
            PhotoRejected: it cannot be sent.
            DiskError: it has to be converted, and the disk refuses.
        """
        if self.entry.problem:
            raise PhotoRejected(self.entry.problem.message, type=self.entry.problem.type)
        if specs[0].chained and (restored := await self._restored_picture()):
            return await self._restored_body(restored)
        return self._body or await self._photo_body()

    async def _photo_body(self) -> Body:
        context, file = self._context, self.entry.file
        probed = await context.probe(file)
        self._header = probed.header
        self.pixels = probed.width * probed.height
        context.count_probed(file, self.pixels)
        if probed.warning:
            context.progress.warn_of_size(display_path(file.photo), probed.warning)
        await self._note_pages(probed.pages)
        body = context.source.body(file, probed)
        self._hashed = body if probed.converted is None else probed
        return await self._converted_or(body, probed)

    async def _note_pages(self, pages: int) -> None:
        self.pages = pages
        if pages != self.entry.pages:
            await self._context.journal.note_pages(self.entry, pages)
            self.entry = msgspec.structs.replace(self.entry, pages=pages)

    async def _restored_body(self, path: str) -> Body:
        try:
            probed = await probe_file(path, limits=self._context.limits, fit=self._context.options.fit)
        except PhotoRejected as error:
            raise not_enlarged(error) from error
        body = FileBody(
            path, size=probed.size, version=None, content_type=probed.content_type, file_size=probed.file_size
        )
        return await self._converted_or(body, probed, path)

    async def _converted_or(self, body: Body, probed: Probed, sent: PhotoData | None = None) -> Body:
        """`body`, or the picture that it was converted to; notes what outputs are made of.

        Args:
            body: what is sent of a picture that is not converted.
            probed: what is known of the picture.
            sent: its path, where it is not the photo itself.
        """
        file, photo = self.entry.file, self._context.source.reopen(self.entry.file)
        if probed.converted is not None:
            converted = self._context.outputs.open()
            self._converted += (converted,)
            await converted.write([probed.converted])
            sent = str(converted.path)
            body = FileBody(sent, size=probed.size, version=None, content_type=probed.content_type)
        self._metadata = self._copier(
            SentPhoto(
                photo=photo,  # a run that is cancelled discards what is sent before all outputs are edited
                page=file.page,
                sent=photo if sent is None else sent,
                orientation=probed.orientation,
                to_srgb=probed.to_srgb,
                modified_ns=_modified_ns(self.entry),
                header=self._header,
            )
        )
        return body

    def _copier(self, sent: SentPhoto) -> MetadataCopier:
        """What gives outputs made of `sent` the photo's metadata."""
        return MetadataCopier(sent, strip=self._context.options.strip_metadata)

    async def _restored_picture(self) -> str | None:
        """The path of the best output of ``improve``; None when the service found nothing to restore.

        Raises:
            PhotoRejected: it was not kept, or is no longer there.
        """
        answer = self.entry.answers["improve"]
        kind = restored_kind(answer, self.entry.place)
        if kind is None:
            return None
        path, file = await self._context.outputs.picture(kind, self.entry.place, answer.outputs[kind])
        if file is not None:
            self._converted += (file,)
        if path is None:
            raise not_there(kind, self.entry.place)
        return str(path)

    # commit

    async def commit(self, spec: ModeSpec, received: ReceivedItem) -> None:
        """Make the outputs that are wanted durable, and discard the others."""
        self._made_outputs = self._made_outputs or bool(received.files)
        # Before any other await: a cancellation comes there, and what the committer has is committed all the same.
        await self._commit(self._answer(spec, received))
        for kind, file in received.files.items():
            if not self._is_kept(kind):
                await file.discard()

    def _answer(self, spec: ModeSpec, received: ReceivedItem) -> ReceivedAnswer:
        """The answer to `spec`, with the outputs that are wanted."""
        answered = received.answered
        opened = cast("dict[Kind, TempFile]", received.files)  # by the storage of the run, or of its workers
        files: dict[Kind, TempFile] = {kind: file for kind, file in opened.items() if self._is_kept(kind)}
        outputs: dict[Kind, StoredOutput] = {
            kind: file.stored(answered.blobs[kind].size) for kind, file in files.items()
        }
        return ReceivedAnswer(
            self.entry,
            spec,
            outputs,
            answered.bw,
            self._digest,
            metadata=None if any(file.is_finished for file in files.values()) else self._metadata,
            is_stored=any(file.is_stored for file in files.values()),
            dropped=tuple(answered.blobs.keys() - files.keys()),
        )

    def _is_kept(self, kind: Kind) -> bool:
        return is_kept(kind, self._kinds)

    @property
    def _digest(self) -> bytes | None:
        return None if self._hashed is None else self._hashed.digest

    async def _commit(self, received: ReceivedAnswer) -> None:
        spec = received.spec
        try:
            committed = await self._context.committer.commit(received)
        except OutputRefused as error:
            raise PhotoFailed(str(error), type="output_refused") from None
        if committed.place != self.entry.place:
            self.entry = msgspec.structs.replace(self.entry, place=committed.place)
        self.entry.answers[spec.mode] = committed.answer
        self._missing.remove(spec)
        self._context.duplicates.note_committed(self.entry, spec)

    # record

    def _finished(self, outcome: RequestOutcome) -> FinishedPhoto:
        """What became of the photo."""
        attempts = self.entry.attempts + outcome.attempts
        result = self.entry.result(self._outcome_of(outcome), error=outcome.error, attempts=attempts)
        if self._metadata is not None and self._metadata.warnings:
            result = msgspec.structs.replace(result, warnings=tuple(self._metadata.warnings))
        return FinishedPhoto(self.entry, result, outcome.own_failures, self._digest)

    def _failed(self, reason: ErrorInfo) -> FinishedPhoto:
        """What became of a photo of which all that is missing failed for one `reason`."""
        return self._finished(RequestOutcome(failures=dict.fromkeys(self._missing, reason)))

    def _bug(self, error: Exception) -> ErrorInfo:
        """The reason of a photo at which an unexpected error was met."""
        _log.debug("unexpected error at %s", self.entry.file.path, exc_info=error)
        return ErrorInfo("internal", f"an unexpected error, which is a bug: {type(error).__name__}: {error}")

    def _outcome_of(self, outcome: RequestOutcome) -> Outcome:
        if outcome.failures:
            return "failed"
        if self._adopted and not outcome.attempts:
            return "duplicate"
        if self._made_outputs:
            return "restored"
        answers = [self.entry.answers[spec.mode] for spec in self._context.options.specs if self.entry.has(spec)]
        return "restored" if any(answer.outputs for answer in answers) else "already_good"

    def _rejected(self, error: PhotoRejected) -> FinishedPhoto:
        """Why the photo is not sent, or not again; nothing is noted against its modes, so that later runs try it."""
        reason = ErrorInfo(error.type, str(error))
        outcome: Outcome = "failed" if error.attempts else "rejected"
        result = self.entry.result(outcome, error=reason, attempts=self.entry.attempts + error.attempts)
        return FinishedPhoto(self.entry, result, {})


def _modified_ns(entry: PhotoEntry) -> int | None:
    """The modification time of the photo, see `set_modified`; None for an object, which has an ETag instead."""
    return None if is_store_address(entry.file.path) else int(entry.file.version)
