"""Commit outputs in groups: copy metadata, fsync, journal as received, rename, journal as committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import PhotoEntry, ReceivedAnswer, StoredAnswer, StoredOutput
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.origin import OutputOrigin
from smarty_async.archive.outputs.state_folder import TempFile
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputStore
from smarty_async.results import Kind
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["CommittedAnswer", "FinishedFile", "OutputCommitter", "PhotoOutputs", "move_of"]

_GROUPS = 3
"""Groups in progress at a time: one is synced while another is journalled or renamed."""
_GROUP_ANSWERS = 48
"""Answers in a group, at most."""
_MAX_BACKLOG = 512_000_000
"""Bytes of outputs that are received and not committed, past which nothing more is asked for."""


class CommittedAnswer(msgspec.Struct, frozen=True):
    """An answer that is committed.

    Attributes:
        answer: as the journal has it.
        place: where its outputs are, relative to the folder of each kind; that of its entry, unless it was not free.
    """

    answer: StoredAnswer
    place: str


class FinishedFile(TempFile):
    """An output that a worker has finished: it has its metadata, and is durable.

    Args:
        folder: the folder it is in.
        output: what is known of it.
        is_stored: whether it is at its place already, and no temporary file any more.
    """

    def __init__(self, folder: str, output: StoredOutput, *, is_stored: bool) -> None:
        super().__init__(folder, output.temporary)
        self.output = output
        self.is_stored = is_stored

    async def discard(self) -> None:
        """Remove the temporary file; what is at its place is the photo's output, and stays."""
        if not self.is_stored:
            await super().discard()


class PhotoOutputs:
    """What makes the outputs of a photo durable elsewhere than here; an `OutputEditor`.

    Args:
        entry: the photo.
        metadata: gives the outputs the photo's metadata; None for nothing.
        kinds: the kinds that are kept; all when empty.
    """

    def __init__(self, entry: PhotoEntry, metadata: MetadataCopier | None, kinds: frozenset[Kind]) -> None:
        self.entry = entry
        self.warnings: list[str] = [] if metadata is None else metadata.warnings
        self.kinds = kinds
        self._metadata = metadata

    def wants(self, kind: Kind) -> bool:
        """Whether outputs of `kind` are kept."""
        return not self.kinds or kind in self.kinds

    def copy_to(self, output: str) -> int:
        """Give the file `output` the photo's metadata; its size in bytes then; blocks.

        Raises:
            DiskError: the disk refuses.
        """
        return Path(output).stat().st_size if self._metadata is None else self._metadata.copy_to(output)


_Waiting = tuple[ReceivedAnswer, asyncio.Future[CommittedAnswer]]


class OutputCommitter:
    """Brings received answers to their final places. Answers that come together share fsyncs and transactions.

    Args:
        store: where outputs are stored.
        journal: the journal.
    """

    def __init__(self, store: OutputStore, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._waiting: list[_Waiting] = []
        self._groups: set[asyncio.Task[None]] = set()
        self._moves: set[asyncio.Task[None]] = set()  # where outputs travel, and no group waits for them
        self._backlog = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def commit(self, received: ReceivedAnswer) -> CommittedAnswer:
        """Wait until `received` is committed; the answer, and where its outputs are.

        It is committed even when the caller is cancelled: it is paid for.

        Raises:
            OutputRefused: the disk takes other outputs, and not these; their temporary files stay for the next run.
            DiskError: the disk refuses.
        """
        committed: asyncio.Future[CommittedAnswer] = asyncio.get_running_loop().create_future()
        self._add_backlog(_bytes_of(received))
        committed.add_done_callback(lambda _: self._add_backlog(-_bytes_of(received)))
        self._waiting.append((received, committed))
        self._groups = {group for group in self._groups if not group.done()}
        if len(self._groups) < _GROUPS:
            self._groups.add(asyncio.create_task(self._commit_waiting(), name="smarty_async commit"))
        return await committed

    async def room(self) -> None:
        """Wait while the outputs that are received and not committed have many bytes: before more is asked for."""
        await self._has_room.wait()

    def _add_backlog(self, size: int) -> None:
        self._backlog += size
        if self._backlog < _MAX_BACKLOG:
            self._has_room.set()
        else:
            self._has_room.clear()

    async def close(self) -> None:
        """Wait until everything in progress is committed."""
        while working := [task for task in (*self._groups, *self._moves) if not task.done()]:
            await asyncio.wait(working)

    async def _commit_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP_ANSWERS], self._waiting[_GROUP_ANSWERS:]
            try:
                await self._commit_group([(_with_replaced(received), committed) for received, committed in group])
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must not wait for ever
                _without_errors(group, [error] * len(group))

    async def _commit_group(self, group: Sequence[_Waiting]) -> None:
        """Take `group` through all steps; those that the disk refuses get their error and are left out of the rest."""
        group = await self._with_metadata(group)
        files = [() if received.is_stored else received.outputs.values() for received, _ in group]
        refused = await self._store.fsync(files)
        group = _without_errors(group, refused)
        await self._journal.record_received([received for received, _ in group])
        if not self._store.is_remote:
            await self._move_group(group)
            return
        for waiting in group:  # one by one: none waits for the slowest
            move = asyncio.create_task(self._move_remotely(waiting), name="smarty_async store")
            self._moves.add(move)
            move.add_done_callback(self._moves.discard)

    async def _move_remotely(self, waiting: _Waiting) -> None:
        try:
            await self._move_group([waiting])
        except Exception as error:  # noqa: BLE001 - as above
            _without_errors([waiting], [error])

    async def _move_group(self, group: Sequence[_Waiting]) -> None:
        """Bring the outputs of `group`, which is journalled as received, to their places."""
        refused = await self._store.commit(self._moves_of(group))
        name_taken = [waiting for waiting, error in zip(group, refused, strict=True) if _is_name_taken(error)]
        group = _without_errors(group, refused, unless=_is_name_taken)
        if name_taken:
            group = [*group, *await self._commit_elsewhere(name_taken)]
        self._journal.record_committed([received for received, _ in group])
        for received, committed in group:
            if not committed.done():
                answer = StoredAnswer(str(received.spec), "committed", received.outputs, received.bw)
                committed.set_result(CommittedAnswer(answer, received.entry.place))

    async def _with_metadata(self, group: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Copy each photo's metadata into its outputs; those that succeed."""
        finishing = [self._store.finish(received.outputs, received.metadata) for received, _ in group]
        rewritten = await asyncio.gather(*finishing, return_exceptions=True)
        errors = [outputs if isinstance(outputs, Exception) else None for outputs in rewritten]
        succeeded = [
            (msgspec.structs.replace(received, outputs=outputs), committed)
            for (received, committed), outputs in zip(group, rewritten, strict=True)
            if not isinstance(outputs, BaseException)
        ]
        _without_errors(group, errors)
        return succeeded

    async def _commit_elsewhere(self, group: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Commit answers at other places, because files that no run made are at theirs; those that succeed."""
        places = await self._journal.give_distinct_places([received for received, _ in group])
        moved: list[_Waiting] = []
        for (received, committed), place in zip(group, places, strict=True):
            entry = msgspec.structs.replace(received.entry, place=place or received.entry.place)
            moved.append((msgspec.structs.replace(received, entry=entry), committed))
        return _without_errors(moved, await self._store.commit(self._moves_of(moved)))

    def _moves_of(self, group: Sequence[_Waiting]) -> list[OutputMove]:
        # A remote store notes beside outputs what they are made of.
        return [_move_of(received, described=self._store.is_remote) for received, _ in group]


def _bytes_of(received: ReceivedAnswer) -> int:
    return sum(output.size for output in received.outputs.values())


def _with_replaced(received: ReceivedAnswer) -> ReceivedAnswer:
    """`received`, each output with the size and the digest of the one that it replaces."""
    earlier = _earlier_outputs(received)
    if not earlier:
        return received
    outputs = dict(received.outputs)
    for kind in outputs.keys() & earlier.keys():
        outputs[kind] = msgspec.structs.replace(
            outputs[kind], replaces=earlier[kind].size, replaced_digest=earlier[kind].digest
        )
    return msgspec.structs.replace(received, outputs=outputs)


def move_of(received: ReceivedAnswer) -> OutputMove:
    """How the outputs of `received` get to their places."""
    return _move_of(_with_replaced(received), described=True)


def _move_of(received: ReceivedAnswer, *, described: bool) -> OutputMove:
    outputs, earlier = received.outputs, _earlier_outputs(received)
    obsolete = set(OUTPUT_FIELDS[received.spec.mode].values()) & earlier.keys() - outputs.keys()
    removes: dict[Kind, StoredOutput] = {kind: earlier[kind] for kind in obsolete}
    origin = _origin_of(received) if described else None
    return OutputMove(received.entry.place, outputs, removes, origin, received.is_stored)


def _origin_of(received: ReceivedAnswer) -> OutputOrigin:
    file = received.entry.file
    return OutputOrigin(
        spec=str(received.spec),
        kinds=tuple(received.outputs),
        bw=received.bw,
        source=file.source,
        photo=file.photo,
        page=file.page,
        size=file.size,
        version=file.version,
    )


def _earlier_outputs(received: ReceivedAnswer) -> dict[Kind, StoredOutput]:
    """The outputs of earlier answers that may be at the photo's place."""
    answers = received.entry.answers.values()
    return {kind: output for answer in answers for kind, output in answer.outputs.items()}


def _is_name_taken(error: Exception | None) -> bool:
    return isinstance(error, NameTaken)


def _without_errors(
    group: Sequence[_Waiting],
    errors: Sequence[Exception | None],
    *,
    unless: Callable[[Exception], bool] = lambda _: False,
) -> Sequence[_Waiting]:
    """Those of `group` without an error; the others get theirs, `unless` it is dealt with elsewhere."""
    for (_, committed), error in zip(group, errors, strict=True):
        if error is not None and not committed.done() and not unless(error):
            committed.set_exception(error)
    return [waiting for waiting, error in zip(group, errors, strict=True) if error is None]
