"""Disk space for the answers to open requests: an answer that has none is paid for and lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from smarty_async.errors import DiskFull
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS_BY_MODE

__all__ = ["DiskSpace"]


class _Answers(NamedTuple):
    """What the answers to images of one size have brought.

    Attributes:
        growth: bytes of outputs for each byte sent, at most; at least one.
        largest: bytes of outputs for one image, at most.
    """

    growth: float
    largest: float


class DiskSpace:
    """Reserves space for the outputs of open requests. A request waits while there is none for its own."""

    def __init__(self) -> None:
        self._expected = 0  # bytes, of the open requests
        self._open = 0
        self._answers: dict[tuple[ModeSpec, ...], dict[int, _Answers]] = {}  # by the size of an image in bits
        self._turn = asyncio.Lock()
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def reserved(
        self, specs: tuple[ModeSpec, ...], *, images: int, sent: int, check: Callable[[int], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        """Reserve space for the answer to a request while the block lasts.

        While there is none and other requests are open, it waits: they may bring less than was expected.

        Args:
            specs: what is asked of each of its images.
            images: how many it carries.
            sent: their bytes.
            check: raises DiskFull if so many bytes are not free.

        Raises:
            DiskFull: there is none, and no other request is open.
        """
        async with self._turn:
            while True:
                self._ended.clear()
                expected = self._expected_of(specs, images, sent)
                try:
                    await check(self._expected + expected)
                    break
                except DiskFull:
                    if not self._open and not self._ended.is_set():
                        raise
                await self._ended.wait()
            self._expected += expected
            self._open += 1
        try:
            yield
        finally:
            self._expected -= expected
            self._open -= 1
            self._ended.set()

    def note_answer(self, specs: tuple[ModeSpec, ...], *, images: int, sent: int, received: int) -> None:
        """A request was answered: from now on, answers to others like it may grow as much.

        Args:
            specs: what was asked.
            images: how many images it carried.
            sent: bytes of the request; 0 when it was answered before any was sent, which says nothing.
            received: bytes of its answer.
        """
        if not sent:
            return
        outputs = received * 3 / 4  # without base64
        answers = self._answers.setdefault(specs, {})
        size = (sent // images).bit_length()
        growth, largest = answers.get(size, _Answers(1.0, 0.0))
        answers[size] = _Answers(max(growth, outputs / sent), max(largest, outputs / images))

    def _expected_of(self, specs: tuple[ModeSpec, ...], images: int, sent: int) -> int:
        """Bytes of outputs for `images` with `sent` bytes; before the first answer, the most that photos bring.

        After that, as many for each byte sent as images of any size have ever brought. Only where that is more than
        photos bring, not more for each image than those: small pictures that compress well, such as pages of text,
        grow a hundredfold, and larger ones do not.
        """
        most = sent * sum((spec.rfactor or 0) ** 2 or len(KINDS_BY_MODE[spec.mode]) for spec in specs)
        answers = self._answers.get(specs, {}).values()
        expected = [min(sent * growth, max(most, images * largest)) for growth, largest in answers]
        return round(max(expected, default=most))
