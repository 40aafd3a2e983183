"""The life of one photo in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack
from typing import Final, Self

from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.asking import RequestOutcome, ask
from smarty_async.chained import RESTORED_KINDS, not_enlarged
from smarty_async.errors import PhotoFailed, PhotoRejected
from smarty_async.inputs import InputPhoto, PhotoInput, name_of, read_input, read_whole
from smarty_async.options import Limits, ModeSpec, rounds
from smarty_async.results import ErrorInfo, Kind, Restored
from smarty_async.transport.body import MemoryBody
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.item import BatchGroup, Item, Submitter
from smarty_async.transport.response import MemoryFile, ReceivedItem

__all__ = ["InputMemory", "PhotoInMemory"]

_EXPECTED_BYTES: Final = 8_000_000
"""What a photo in a file is taken to need before it is read."""


class PhotoInMemory:
    """One photo of `SmartyClient.improve`: read → ask → result.

    Args:
        photo: the photo as the caller gave it.
        specs: the mode specs it is sent with.
        dispatcher: sends it.
        submitter: submits it to the dispatcher.
        limits: what one request may carry.
        memory: where it is held until it is answered, unless it is sent from a file.
    """

    def __init__(
        self,
        photo: PhotoInput,
        specs: tuple[ModeSpec, ...],
        *,
        dispatcher: Dispatcher,
        submitter: Submitter,
        limits: Limits,
        memory: InputMemory,
    ) -> None:
        self._photo = photo
        self._specs = specs
        self._dispatcher = dispatcher
        self._submitter = submitter
        self._limits = limits
        self._memory = memory
        self._sent: InputPhoto | None = None
        self._files: dict[Kind, bytes] = {}
        self._bw: bool | None = None

    async def run(self) -> Restored:
        """The restored photo; raises what `SmartyClient.improve` does."""
        outcome = RequestOutcome()
        with ExitStack() as held:
            try:
                photo = await self._read(held)
                for specs in rounds(self._specs):
                    if not outcome.failures:
                        await self._ask(photo, specs, outcome)
            except PhotoRejected as error:
                error.photo = name_of(self._photo)
                raise
            await asyncio.to_thread(self._copy_metadata, photo)
        return self._result(outcome)

    async def _read(self, held: ExitStack) -> InputPhoto:
        """The photo, in memory that is `held` for it."""
        with self._dispatcher.announce_single(self._submitter):
            whole = await read_whole(self._photo)
            expected = min(self._limits.max_image_bytes or _EXPECTED_BYTES, _EXPECTED_BYTES)
            room = held.enter_context(await self._memory.room(len(whole) if isinstance(whole, bytes) else expected))
            photo = await read_input(whole, self._limits)
        room.resize(photo.body.size if isinstance(photo.body, MemoryBody) else 0)
        return photo

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


class InputMemory:
    """Memory for photos that are not sent from files. While it is full, those that want room wait, in their order.

    Args:
        most: the bytes with which it is full; one photo more may always be held, whatever its size.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._held = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def room(self, size: int) -> _Room:
        """Wait until it is not full; `size` bytes of it, to be given back by leaving the block of its ``with``."""
        if self._held < self._most:
            self._held += size
            return _Room(self, size)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((waiter, size))
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the room was given just before the cancellation
                self.change(-size)
            raise
        return _Room(self, size)

    def change(self, size: int) -> None:
        """Hold `size` bytes more; fewer when it is negative."""
        self._held += size
        while self._waiting and self._held < self._most:
            waiter, wanted = self._waiting.popleft()
            if not waiter.done():
                self._held += wanted
                waiter.set_result(None)


class _Room:
    """A part of the memory, while it is held."""

    def __init__(self, memory: InputMemory, size: int) -> None:
        self._memory = memory
        self._size = size

    def resize(self, size: int) -> None:
        """Hold `size` bytes instead."""
        before, self._size = self._size, size
        self._memory.change(size - before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resize(0)
