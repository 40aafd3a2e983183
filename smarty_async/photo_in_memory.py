"""The life of one photo in memory."""

from __future__ import annotations

import asyncio

from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.asking import RequestOutcome, ask
from smarty_async.chained import RESTORED_KINDS, not_enlarged
from smarty_async.errors import PhotoFailed, PhotoRejected
from smarty_async.inputs import InputPhoto, PhotoInput, name_of, read_input
from smarty_async.options import Limits, ModeSpec, rounds
from smarty_async.results import ErrorInfo, Kind, Restored
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.item import BatchGroup, Item, Submitter
from smarty_async.transport.response import MemoryFile, ReceivedItem

__all__ = ["PhotoInMemory"]


class PhotoInMemory:
    """One photo of `SmartyClient.improve`: read → ask → result.

    Args:
        photo: the photo as the caller gave it.
        specs: the mode specs it is sent with.
        dispatcher: sends it.
        submitter: submits it to the dispatcher.
        limits: what one request may carry.
    """

    def __init__(
        self,
        photo: PhotoInput,
        specs: tuple[ModeSpec, ...],
        *,
        dispatcher: Dispatcher,
        submitter: Submitter,
        limits: Limits,
    ) -> None:
        self._photo = photo
        self._specs = specs
        self._dispatcher = dispatcher
        self._submitter = submitter
        self._limits = limits
        self._sent: InputPhoto | None = None
        self._files: dict[Kind, bytes] = {}
        self._bw: bool | None = None

    async def run(self) -> Restored:
        """The restored photo; raises what `SmartyClient.improve` does."""
        outcome = RequestOutcome()
        try:
            with self._dispatcher.announce_single(self._submitter):
                photo = await read_input(self._photo, self._limits)
            for specs in rounds(self._specs):
                if not outcome.failures:
                    await self._ask(photo, specs, outcome)
        except PhotoRejected as error:
            error.photo = name_of(self._photo)
            raise
        await asyncio.to_thread(self._copy_metadata, photo)
        return self._result(outcome)

    async def _ask(self, photo: InputPhoto, specs: tuple[ModeSpec, ...], outcome: RequestOutcome) -> None:
        """Ask for `specs`, unless the restored picture that is to be enlarged cannot be sent."""
        try:
            self._sent = await self._source(photo, specs)
        except PhotoRejected as error:
            outcome.failures |= dict.fromkeys(specs, ErrorInfo(error.type, str(not_enlarged(error))))
        else:
            await ask(self, specs, outcome, dispatcher=self._dispatcher, submitter=self._submitter)

    async def _source(self, photo: InputPhoto, specs: tuple[ModeSpec, ...]) -> InputPhoto:
        """What is sent to get `specs`: the photo, or the restored picture for a chained enlargement."""
        restored = next((self._files[kind] for kind in RESTORED_KINDS if kind in self._files), None)
        return photo if not specs[0].chained or restored is None else await read_input(restored, self._limits)

    def item(self, specs: tuple[ModeSpec, ...]) -> Item:
        """What is sent to get `specs`."""
        assert self._sent is not None, "it was read"  # noqa: S101 - for the type checkers
        return Item(self._sent.body, BatchGroup(specs, self._submitter))

    async def commit(self, _: ModeSpec, received: ReceivedItem) -> None:
        """Keep the outputs."""
        if received.answered.bw is not None and self._bw is None:
            self._bw = received.answered.bw
        for kind, file in received.files.items():
            assert isinstance(file, MemoryFile)  # noqa: S101 - what MemorySink opens
            self._files[kind] = file.data

    def _copy_metadata(self, photo: InputPhoto) -> None:
        """Give the pictures the photo's metadata, and the orientation under which they show upright."""
        copier = MetadataCopier(photo.sent, strip=False)
        self._files = {kind: copier.copied(data) for kind, data in self._files.items()}

    def _result(self, outcome: RequestOutcome) -> Restored:
        """The pictures.

        Raises:
            PhotoFailed: a mode failed; its `restored` holds what the other one made.
        """
        restored = Restored(
            outcome="restored" if self._files else "already_good",
            bw=self._bw,
            attempts=outcome.attempts,
            **self._files,
        )
        error = outcome.error
        if error is None:
            return restored
        failed = PhotoFailed(error.message, photo=name_of(self._photo), type=error.type, attempts=outcome.attempts)
        failed.restored = restored if self._files else None
        raise failed
