"""Commit outputs in groups: copy metadata, fsync, journal as received, rename, fsync folders, journal as committed.

The steps overlap: while the disk makes some outputs durable, the next ones are written, and earlier ones are journalled
and renamed. An answer waits for the disk three times: for its temporary files, for the journal, and for its names. One
wait serves all answers that need one by then, those with new temporary files together with those with new names:

    finish → sync (temporary files) → journal as received, move → sync (names) → journal as committed
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from smarty_async.archive.entries import StoredAnswer, StoredOutput, size_of
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputOrigin, OutputStore
from smarty_async.group_queue import GroupQueue
from smarty_async.results import KINDS_BY_MODE, Kind

__all__ = ["CommittedAnswer", "OutputCommitter", "move_of"]

_FINISHED_TOGETHER = 16
"""Answers that are finished together, at most: the first ones wait for the disk while the next are written."""
_MOVED_TOGETHER = 256
"""Answers that are synced, or journalled and moved together, at most."""
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


class _Answer(msgspec.Struct, eq=False):
    """An answer on its way to its place.

    Attributes:
        received: the answer.
        committed: gets the result.
        size: bytes of its outputs.
        move: how its outputs were moved; None until then.
    """

    received: ReceivedAnswer
    committed: asyncio.Future[CommittedAnswer]
    size: int
    move: OutputMove | None = None


class OutputCommitter:
    """Brings received answers to their final places. Answers that come together share fsyncs and transactions."""

    def __init__(self, store: OutputStore, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._other_places: dict[int, str] = {}
        self._finishing = self._step(self._finish, most=_FINISHED_TOGETHER)
        self._syncing = self._step(self._sync, most=_MOVED_TOGETHER)
        self._moving = self._step(self._journal_and_move, most=_MOVED_TOGETHER)
        self._backlog = 0
        self._backlog_is_short = asyncio.Event()
        self._backlog_is_short.set()

    async def commit(self, received: ReceivedAnswer) -> CommittedAnswer:
        """Wait until `received` is committed; the answer, and where its outputs are.

        It is committed even when the caller is cancelled: it is paid for.

        Raises:
            OutputRefused: the disk takes other outputs, and not these; their temporary files stay for the next run.
            DiskError: the disk refuses.
        """
        size = size_of(received.outputs)
        answer = _Answer(received, asyncio.get_running_loop().create_future(), size)
        self._backlog += size
        if self._backlog >= _MAX_BACKLOG:
            self._backlog_is_short.clear()
        self._finishing.add((answer,))
        return await answer.committed

    async def wait_for_backlog(self) -> None:
        """Wait while the outputs that are received and not committed have many bytes: before more is asked for."""
        await self._backlog_is_short.wait()

    async def close(self) -> None:
        """Wait until everything in progress is committed."""
        await self._finishing.wait()  # and for the other steps, whose tasks it shares

    # steps

    def _step(self, take: Callable[[list[_Answer]], Awaitable[None]], *, most: int) -> GroupQueue[_Answer]:
        return GroupQueue(take, self._fail, name="smarty_async commit", most=most, tasks=self._tasks)

    async def _finish(self, group: list[_Answer]) -> None:
        """Copy each photo's metadata into its outputs, and write those that are held in memory."""
        for answer in group:
            if answer.received.entry.answers:
                answer.received = _with_replaced(answer.received)
        finished = await self._store.finish([(one.received.outputs, one.received.metadata) for one in group])
        for answer, outputs in zip(group, finished, strict=True):
            if not isinstance(outputs, Exception):
                answer.received = msgspec.structs.replace(answer.received, outputs=outputs)
        errors = [outputs if isinstance(outputs, Exception) else None for outputs in finished]
        self._syncing.add(self._without_errors(group, errors))

    async def _sync(self, group: list[_Answer]) -> None:
        """Wait until the temporary files of new answers, and the names of those that were moved, are durable."""
        written = [answer for answer in group if answer.move is None]
        moves = {answer: answer.move for answer in group if answer.move is not None}
        files = [() if one.received.is_stored else one.received.outputs.values() for one in written]
        refused = await self._store.fsync(files, list(moves.values()))
        self._moving.add(self._without_errors(written, refused[: len(written)]))
        self._end(self._without_errors(list(moves), refused[len(written) :]))

    async def _journal_and_move(self, group: list[_Answer]) -> None:
        """Journal `group` as received, and bring its outputs to their places."""
        await self._journal.record_received([answer.received for answer in group])
        for answer in group:  # another mode's may have got one since this was received
            self._move_to(answer, self._other_places.get(answer.received.entry.id))
        if not self._store.is_remote:
            await self._move(group)
            return
        for answer in group:  # one by one: none waits for the slowest
            self._step(self._move, most=1).add((answer,))

    async def _move(self, group: list[_Answer]) -> None:
        moves = self._moves_of(group)
        refused = await self._store.move(moves)
        taken: list[_Answer] = []
        for answer, move, error in zip(group, moves, refused, strict=True):
            if error is None:
                answer.move = move
            elif isinstance(error, NameTaken):
                taken.append(answer)
            else:
                self._fail(answer, error)
        if taken:
            await self._move_elsewhere(taken)
        self._syncing.add([answer for answer in group if answer.move is not None])

    async def _move_elsewhere(self, group: list[_Answer]) -> None:
        """Bring outputs to other places, because files that no run made are at theirs."""
        places = await self._journal.give_distinct_places([answer.received for answer in group])
        for answer, place in zip(group, places, strict=True):
            if place is not None:
                self._other_places[answer.received.entry.id] = place
            self._move_to(answer, place)
        moves = self._moves_of(group)
        for answer, move, error in zip(group, moves, await self._store.move(moves), strict=True):
            if error is None:
                answer.move = move
            else:
                self._fail(answer, error)

    @staticmethod
    def _move_to(answer: _Answer, place: str | None) -> None:
        """Have the outputs brought to `place`, if there is one and it is another."""
        if place not in {None, answer.received.entry.place}:
            entry = msgspec.structs.replace(answer.received.entry, place=place)
            answer.received = msgspec.structs.replace(answer.received, entry=entry, removes={})

    def _moves_of(self, group: Sequence[_Answer]) -> list[OutputMove]:
        # A remote store notes beside outputs what they are made of.
        return [_move_of(answer.received, described=self._store.is_remote) for answer in group]

    # ends

    def _end(self, group: Sequence[_Answer]) -> None:
        if group:
            self._journal.record_committed([answer.received for answer in group])
        for answer in group:
            received = answer.received
            self._release(answer)
            if not answer.committed.done():
                stored = StoredAnswer(received.spec.text, "committed", received.outputs, received.bw, received.dropped)
                answer.committed.set_result(CommittedAnswer(stored, received.entry.place))

    def _fail(self, answer: _Answer, error: BaseException) -> None:
        self._release(answer)
        if not answer.committed.done():
            answer.committed.set_exception(error)

    def _without_errors(self, group: Sequence[_Answer], errors: Iterable[Exception | None]) -> list[_Answer]:
        """Those of `group` without an error; the others get theirs."""
        succeeded: list[_Answer] = []
        for answer, error in zip(group, errors, strict=True):
            if error is None:
                succeeded.append(answer)
            else:
                self._fail(answer, error)
        return succeeded

    def _release(self, answer: _Answer) -> None:
        """Count the outputs of `answer` as received and not committed no longer."""
        self._backlog -= answer.size
        answer.size = 0
        if self._backlog < _MAX_BACKLOG:
            self._backlog_is_short.set()


def _with_replaced(received: ReceivedAnswer) -> ReceivedAnswer:
    """`received`, with what its outputs replace, and what it removes as it has no such output."""
    earlier = _earlier_outputs(received)
    outputs = dict(received.outputs)
    for kind in outputs.keys() & earlier.keys():
        outputs[kind] = msgspec.structs.replace(
            outputs[kind], replaces=earlier[kind].size, replaced_digest=earlier[kind].digest
        )
    obsolete = set(KINDS_BY_MODE[received.spec.mode]) & earlier.keys() - outputs.keys()
    return msgspec.structs.replace(received, outputs=outputs, removes={kind: earlier[kind] for kind in obsolete})


def move_of(received: ReceivedAnswer) -> OutputMove:
    """How the outputs of `received` get to their places."""
    return _move_of(_with_replaced(received), described=True)


def _move_of(received: ReceivedAnswer, *, described: bool) -> OutputMove:
    origin = _origin_of(received) if described else None
    return OutputMove(received.entry.place, received.outputs, received.removes, origin, received.is_stored)


def _origin_of(received: ReceivedAnswer) -> OutputOrigin:
    file = received.entry.file
    return OutputOrigin(
        spec=received.spec.text,
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
