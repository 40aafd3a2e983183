"""The log of a run with outputs in a bucket: ``.smarty-async/log/000000001.jsonl`` and on. Blocking.

Every two seconds, what became of photos is put there as a segment, under the next number and only if there is none with
it. From the segments another machine rebuilds the journal; and a run that finds its number taken is no longer the owner
of the outputs, and stops. What waits to be put is in files of the state folder, so that a killed run loses none of it.
"""

from __future__ import annotations

import json
import platform
import secrets
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from smarty_async.archive.object_store import Bucket, ObjectExists
from smarty_async.archive.paths import STATE
from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import DiskError, OutputInUse, StoreError

__all__ = ["LOG", "OutputLog", "Segment"]

LOG: Final = f"{STATE}/log"
"""The folder of the segments."""

_INTERVAL: Final = 2.0
"""Seconds between two segments, when there is something to put."""
_LOOK_EVERY: Final = 5
"""After how many such times without anything to put it is looked up whether another run has taken over."""
_READERS: Final = 16
"""Segments read at a time."""


_Photo = tuple[str, str, int]
"""Source, path and page."""


class Segment(msgspec.Struct, frozen=True):
    """A segment of the log.

    Attributes:
        number: of the segment, from 1.
        owner: the state folder whose run wrote it; empty when the line that says it is damaged.
        lines: what became of photos, one JSON object each; damaged ones are left out.
    """

    number: int
    owner: str
    lines: list[dict[str, Any]]

    @property
    def photos(self) -> set[_Photo]:
        """The photos that the lines are of."""
        return set(map(_photo_of, self.lines))


class OutputLog:
    """The log under a prefix, and what of it is still to be put.

    Args:
        bucket: the outputs.
        folder: the folder for what is still to be put.
        interval: seconds between two segments.

    Attributes:
        owner: names the state folder in segments.
    """

    def __init__(self, bucket: Bucket, folder: Path, *, interval: float = _INTERVAL) -> None:
        self.owner = ""
        self._bucket = bucket
        self._folder = folder
        self._interval = interval
        self._waiting = folder / "waiting.jsonl"
        self._sending = folder / "sending.jsonl"
        self._run = secrets.token_hex(8)
        self._next = 0
        self._adding = threading.Lock()
        self._putting = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._taken_over: StoreError | None = None

    # numbers

    @property
    def applied(self) -> int:
        """The number of the last segment whose lines are in this folder's journal, or came from it; 0 for none."""
        try:
            return int(self._applied_path.read_text("ascii"))
        except (OSError, ValueError):
            return 0

    @property
    def _applied_path(self) -> Path:
        return self._folder / "applied"

    def note_applied(self, number: int) -> None:
        """Note that the journal has all segments up to `number`."""
        self._write(self._applied_path, str(number))

    def _write(self, path: Path, text: str) -> None:
        try:
            path.with_suffix(".new").write_text(text, "ascii")
            path.with_suffix(".new").replace(path)
        except OSError as error:
            raise DiskError.of(error, path, "write") from None

    # the owner

    def take_over(self) -> int:
        """Become the owner: put a segment without lines under the next number.

        Returns:
            The number of the last segment before it.

        Raises:
            OutputInUse: another run became the owner at the same time.
            StoreError: the store refuses.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            self._remove_torn_line()
        except OSError as error:
            raise DiskError.of(error, self._folder, "create") from None
        self.owner = self._own_name()
        last = max(self._numbers(after=self.applied), default=self.applied)
        try:
            self._bucket.put(_key(last + 1), self._header, content_type="application/jsonl", create=True)
        except ObjectExists:
            if not self._is_own(last + 1, self._header):
                raise OutputInUse(str(self._bucket.address)) from None
        self._next = last + 2
        return last

    def _remove_torn_line(self) -> None:
        """Remove the end of a line that a run was killed in."""
        if self._waiting.is_file():
            data = self._waiting.read_bytes()
            with self._waiting.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)

    def _own_name(self) -> str:
        path = self._folder / "owner"
        try:
            return path.read_text("ascii")
        except (OSError, ValueError):
            self._write(path, secrets.token_hex(8))
            return path.read_text("ascii")

    @property
    def _header(self) -> bytes:
        header = {"owner": self.owner, "run": self._run, "host": platform.node()}
        return json.dumps(header).encode() + b"\n"

    def _is_own(self, number: int, data: bytes) -> bool:
        """Whether the segment is `data`, put by an earlier try of the same request whose answer was lost."""
        return self._bucket.get(_key(number)) == data

    # reading

    def _numbers(self, *, after: int) -> Iterator[int]:
        for page in self._bucket.pages(under=LOG, after=_key(after) if after else ""):
            for one in page:
                name = one.key.rpartition("/")[2].removesuffix(".jsonl")
                if name.isdecimal() and int(name) > after:
                    yield int(name)

    def segments(self, *, after: int, until: int | None = None) -> Iterator[Segment]:
        """The segments that follow number `after`, in order, up to number `until`."""
        numbers = (number for number in self._numbers(after=after) if until is None or number <= until)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="smarty_async log") as readers:
            while some := list(islice(numbers, 4 * _READERS)):
                yield from readers.map(self._read, some)

    def _read(self, number: int) -> Segment:
        header, _, lines = self._bucket.get(_key(number)).partition(b"\n")
        owner = "".join(str(line.get("owner", "")) for line in _decoded(header))
        return Segment(number, owner, list(_decoded(lines)))

    def waiting(self) -> list[dict[str, Any]]:
        """The lines of an earlier run that were not put; damaged ones are left out."""
        found: list[dict[str, Any]] = []
        for path in (self._sending, self._waiting):
            if path.exists():
                found += _decoded(path.read_bytes())
        return found

    def waiting_photos(self) -> set[_Photo]:
        """The photos that these lines are of."""
        return set(map(_photo_of, self.waiting()))

    def drop(self, photos: set[_Photo]) -> None:
        """Remove the lines of `photos` from those, before `start`: a run elsewhere has logged the photos since.

        Raises:
            DiskError: the state folder cannot be written.
        """
        for path in (self._sending, self._waiting) if photos else ():
            lines = list(_decoded(path.read_bytes())) if path.exists() else []
            kept = [line for line in lines if _photo_of(line) not in photos]
            if len(kept) < len(lines):
                self._write(path, _encoded(kept))

    # writing

    def start(self) -> None:
        """Put segments every few seconds from now on, those that an earlier run left first."""
        self._thread = threading.Thread(target=self._keep_putting, name="smarty_async log", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the outputs still belong to this run, as far as that is known.

        Raises:
            StoreError: another run has taken them over.
        """
        if self._taken_over is not None:
            raise self._taken_over

    def add(self, lines: Iterable[dict[str, Any]]) -> None:
        """Add lines to the next segment; raises as `check` does.

        Raises:
            DiskError: the state folder cannot be written.
        """
        self.check()
        data = _encoded(lines).encode()
        with self._adding:
            try:
                self._append(data)
            except OSError as error:
                raise DiskError.of(error, self._waiting, "write") from None

    def _append(self, data: bytes) -> None:
        """Append `data` to the file of what waits, or none of it: a part of a line would spoil the segment."""
        with self._waiting.open("ab", buffering=0) as file:
            size, left = file.tell(), memoryview(data)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                file.truncate(size)
                raise

    def close(self) -> None:
        """Put what is left, and end.

        Raises:
            StoreError: it cannot be put now, or another run has taken over; the next run puts it.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            while self._taken_over is None and self.put_waiting():
                pass  # what an earlier try left, and then the rest

    def put_waiting(self) -> bool:
        """Put what is waiting as one segment; whether there was anything.

        Raises:
            StoreError: it cannot be put, or another run has taken over.
        """
        with self._putting:
            if not self._sending.exists():
                with self._adding:
                    if not self._waiting.exists():
                        return False
                    self._waiting.replace(self._sending)
            data = self._header + self._sending.read_bytes()
            try:
                self._bucket.put(_key(self._next), data, content_type="application/jsonl", create=True)
            except ObjectExists:
                if not self._is_own(self._next, data):
                    raise self._note_taken_over() from None
            self.note_applied(self._next)
            self._sending.unlink()
            self._next += 1
            return True

    def _keep_putting(self) -> None:
        idle = 0
        while not self._closing.wait(self._interval):
            try:
                idle = 0 if self.put_waiting() else idle + 1
                if idle >= _LOOK_EVERY:
                    idle = 0
                    if self._bucket.head(_key(self._next)) is not None:
                        self._note_taken_over()
            except (DiskError, OSError):
                if self._taken_over is not None:
                    return
                # The store does not answer: the next time may do; what outputs meet ends the run.

    def _note_taken_over(self) -> StoreError:
        self._taken_over = StoreError(
            f"another run has taken over the outputs in {str(self._bucket.address)!r}: this one stops; run it again"
            " when the other one has ended"
        )
        return self._taken_over


def _photo_of(line: dict[str, Any]) -> _Photo:
    return line.get("source", ""), line.get("photo", ""), line.get("page", 1)


def _encoded(lines: Iterable[dict[str, Any]]) -> str:
    # json, and not msgspec: it writes ASCII, and the surrogates that stand for bytes in a name.
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def _decoded(lines: bytes) -> Iterator[dict[str, Any]]:
    """Those of `lines` that hold an object: not the one that a run was killed in, nor a damaged one."""
    for line in lines.splitlines():
        with suppress(*DAMAGED_JSON):
            if isinstance(found := json.loads(line), dict):
                yield found


def _key(number: int) -> str:
    return f"{LOG}/{number:09}.jsonl"
