"""What was received is made to last: durable, noted, at its place, noted. Many answers share each step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.outputs.placing import Move
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["OutputCommitter"]

_GROUPS = 3
"""Groups under way at a time: one settles while another is noted or placed."""
_MOST = 48
"""Answers in a group."""

_Waiting = tuple[ReceivedAnswer, asyncio.Future[None]]


class OutputCommitter:
    """Keeps answers by the group: one visit to the journal and one sync of a folder serve all that came together.

    Args:
        directory: where outputs wait, and where they go.
        journal: what is remembered of them.
    """

    def __init__(self, directory: OutputDirectory, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal
        self._waiting: list[_Waiting] = []
        self._keeping: set[asyncio.Task[None]] = set()

    async def keep(self, received: ReceivedAnswer) -> None:
        """Wait until `received` lasts. It is kept even when nobody waits any more: it is paid for.

        Raises:
            DiskError: the disk refuses.
        """
        lasts: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((received, lasts))
        self._keeping = {keeping for keeping in self._keeping if not keeping.done()}
        if len(self._keeping) < _GROUPS:
            self._keeping.add(asyncio.create_task(self._keep_all(), name="smarty_async keep"))
        await lasts

    async def close(self) -> None:
        """Wait for what is being kept."""
        if self._keeping:
            await asyncio.wait(self._keeping)

    async def _keep_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            try:
                await self._keep(group)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must not wait for ever
                _tell(group, [error] * len(group))

    async def _keep(self, group: Sequence[_Waiting]) -> None:
        group = _tell(group, await self._directory.settle([received.outputs.values() for received, _ in group]))
        await self._journal.record_received([received for received, _ in group])
        group = _tell(group, await self._directory.place([self._move(received) for received, _ in group]))
        self._journal.record_committed([received for received, _ in group])
        for _, lasts in group:
            if not lasts.done():
                lasts.set_result(None)

    def _move(self, received: ReceivedAnswer) -> Move:
        # No Paths: their making costs as much as all the renames.
        out, waiting = self._directory.out, self._directory.temporaries
        outputs, place = received.outputs, received.entry.place
        kinds = set(OUTPUT_FIELDS[received.spec.mode].values())
        return Move(
            [(f"{waiting}/{kept.temporary}", f"{out}/{kind}/{place}") for kind, kept in outputs.items()],
            [f"{out}/{kind}/{place}" for kind in kinds - outputs.keys()],
        )


def _tell(group: Sequence[_Waiting], errors: Sequence[Exception | None]) -> Sequence[_Waiting]:
    """Those without an error, the others told of theirs."""
    for (_, lasts), error in zip(group, errors, strict=True):
        if error is not None and not lasts.done():
            lasts.set_exception(error)
    return [waiting for waiting, error in zip(group, errors, strict=True) if error is None]
