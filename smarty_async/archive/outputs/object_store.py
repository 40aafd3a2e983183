"""Outputs in a bucket: temporary files on this machine until they are stored as ``<kind>/<place>``, each by one PUT."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from smarty_async.archive.entries import FinishedPhoto, StoredOutput
from smarty_async.archive.object_store import (
    Bucket,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectRefused,
    StoredObject,
)
from smarty_async.archive.outputs.checker import KeyPages
from smarty_async.archive.outputs.output_log import OutputLog
from smarty_async.archive.outputs.state_folder import StateFolder, default_state_folder
from smarty_async.archive.outputs.store import (
    METADATA_KEY,
    NameTaken,
    OutputMove,
    OutputOrigin,
    OutputRefused,
    RebuiltJournal,
)
from smarty_async.archive.outputs.temp_file import TempFile, digest_of
from smarty_async.archive.paths import STATE, FileNameRules
from smarty_async.archive.threads import threaded
from smarty_async.errors import ConfigurationError, DiskError, StoreError
from smarty_async.results import KINDS, ErrorInfo, Kind, Result
from smarty_async.store_address import StoreAddress

__all__ = ["RESULTS_FOLDER", "ObjectWriter", "OutputBucket"]

RESULTS_FOLDER: Final = "results"
"""The folder of the parts of the list of results."""

_PART_LINES: Final = 20_000
"""Results in a part."""

_MAX_KEY: Final = 1024
"""Bytes of a key, at most, in S3, GCS and Azure."""

_RULES: Final = FileNameRules(forbidden="".join(map(chr, range(1, 32))) + "\x7f", raw_bytes=False, max_path=_MAX_KEY)
"""Keys are UTF-8; control characters have no place in XML, in which keys are listed. The parts of a key may be as long
as names on a disk, to which people copy a bucket."""

_PIECE_BYTES: Final = 1 << 20


class OutputBucket(StateFolder):
    """The `OutputStore` under a prefix of a bucket.

    Args:
        address: the bucket and the prefix.
        options: what the store is opened with.
        state: the folder of the journal and the temporary files on this machine; None for a folder of the user's.

    Attributes:
        address: the bucket and the prefix.
        bucket: the keys under the prefix.
        state_dir: the folder of the journal, the lock, the temporary files, and what of the log is still to be put.
        rules: which names a store takes.
        is_exclusive: whether the store creates an object only if there is none, when it is asked to; known once `lock`
            has returned.
        source_of_truth: what a lost journal is rebuilt from, for people.
    """

    def __init__(
        self, address: StoreAddress, *, options: Mapping[str, Any] | None = None, state: Path | None = None
    ) -> None:
        self.bucket = Bucket(address, options)
        self._pages = KeyPages(self.bucket)
        super().__init__(state or default_state_folder(address), self._pages, pool="fetching")
        self.address = address
        self.rules: FileNameRules = _RULES
        self.is_exclusive = True
        self.source_of_truth = f"the log and the outputs in {str(address)!r}"
        self._log = OutputLog(self.bucket, self.state_dir / "log")
        self._last_segment: int | None = None
        self._is_locked = False
        self._is_left = False

    # the store

    is_remote = True

    def check_access(self) -> None:
        """Make sure that the bucket can be listed, and is not another's state; see `OutputStore.check_access`."""
        self.bucket.check()

    def lock(self) -> None:
        """Lock the state folder, and become the owner of the outputs; see `OutputStore.lock`.

        Raises:
            OutputInUse: another run has locked the state folder, or became the owner at the same time.
            ConfigurationError: the store cannot be used.
        """
        try:
            self.lock_state(shown=str(self.address))
            self._check_address()
        except OSError as error:
            raise DiskError.of(error, self.state_dir, "write to") from None
        try:
            self.check_access()
            self.is_exclusive = self._creates_once()
            self._last_segment = self._log.take_over()
        except StoreError as error:
            raise ConfigurationError(str(error)) from None
        self._is_locked = True

    def _check_address(self) -> None:
        """A state folder belongs to one address."""
        path = self.state_dir / "address"
        if not path.exists():
            path.write_text(str(self.address), "utf-8")
        elif path.read_text("utf-8") != str(self.address):
            raise ConfigurationError(
                f"{str(self.state_dir)!r} is the state of runs into {path.read_text('utf-8')!r}: choose another --state"
            )

    def _creates_once(self) -> bool:
        """Whether the store refuses to create an object a second time; some that speak S3 do not."""
        key = f"{STATE}/check-{secrets.token_hex(8)}"
        try:
            for _ in range(2):
                self.bucket.put(key, b"", content_type="text/plain", create=True)
        except ObjectExists:
            return True
        finally:
            with suppress(StoreError):
                self.bucket.delete(key)
        return False

    def release(self) -> None:
        """Put the rest of the log, unlock, and remove temporary files that the next run does not need; blocks.

        Raises:
            StoreError: the log cannot be put; the next run puts it.
        """
        try:
            if self._is_locked:
                self._log.close()
        finally:
            self._is_locked = False
            super().release()

    def warnings(self) -> list[str]:
        """What a person should know of the store; see `OutputStore.warnings`."""
        if self.is_exclusive:
            return []
        ignored = (
            f"{str(self.address)!r} ignores conditional writes: a run into it on another machine goes unnoticed,"
            " and so does an object that someone else writes where an output goes"
        )
        return [ignored]

    # places

    def is_taken(self, place: str) -> bool:  # noqa: ARG002
        """False: `commit` finds out whether something is there, without a request more."""
        return False

    def foreign_kinds(self, place: str, kinds: Iterable[Kind], known: Mapping[Kind, StoredOutput]) -> list[Kind]:  # noqa: ARG002
        """No kinds: `commit` finds out whether something else is there, without a request more."""
        return []

    def problem_of(self, place: str) -> ErrorInfo | None:
        """Why there can be no object for `place`: its key is too long. None if there can."""
        longest = max(len(self.address.key(f"{kind}/{place}").encode()) for kind in KINDS)
        if longest <= _MAX_KEY:
            return None
        message = f"the key of its output would have {longest:,} bytes, and {_MAX_KEY:,} are possible"
        return ErrorInfo("path_too_long", f"{message}: give it an --out with a shorter prefix")

    # temporary files

    async def _copy_to(self, target: TempFile, kind: Kind, place: str, output: StoredOutput) -> bool:
        return await _download(self.bucket, f"{kind}/{place}", target) == output.size

    async def picture(self, kind: Kind, place: str, output: StoredOutput) -> tuple[Path | None, TempFile | None]:
        """A local file with an output; see `OutputStore.picture`."""
        copied = await self.copy(kind, place, output)
        return (None, None) if copied is None else (copied.path, copied)

    # outputs

    async def move(self, moves: Sequence[OutputMove]) -> list[DiskError | None]:
        """Store outputs, which is durable by itself; see `OutputStore.move`."""
        refused: list[DiskError | None] = await asyncio.gather(*(_store(self, move) for move in moves))
        self.forget(moves, refused)
        return refused

    def store(self, move: OutputMove) -> DiskError | None:
        """Make `move`; blocks. What the store refused, None when nothing."""
        kind: Kind | None = None
        try:
            self._log.check()
            if self._is_left:
                return StoreError("the run was left: the next one stores it")
            self.remove(move.place, move.removes)
            writer = ObjectWriter(self.bucket, conditional=self.is_exclusive)
            for kind, output in move.outputs.items():
                if not move.is_stored:
                    writer.write(kind, move.place, output, self.temp_path(output.temporary), move.origin)
                self._pages.add(kind, move.place)
            for output in move.outputs.values():
                self.temp_path(output.temporary).unlink(missing_ok=True)
        except DiskError as error:
            return error
        except OSError as error:
            return DiskError.of(error, self.state_dir / f"{kind}", "read")
        return None

    def remove(self, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
        """Remove those of `outputs` that are at `place` unchanged; see `OutputStore.remove`."""
        for kind, output in outputs.items():
            found = self.bucket.head(f"{kind}/{place}")
            if found is not None and found.size == output.size and self._is(found, output):
                self.bucket.delete(found.key)

    def _is(self, found: StoredObject, output: StoredOutput) -> bool:
        """Whether `found` has the digest of `output`; True when that is unknown: an older journal has none."""
        try:
            return not output.digest or digest_of([self.bucket.get(found.key, etag=found.etag)]) == output.digest
        except (ObjectChanged, ObjectMissing):
            return False

    def recover(self, move: OutputMove) -> bool:
        """Store what an interrupted run had received; see `OutputStore.recover`."""
        waiting: dict[Kind, StoredOutput] = {}
        for kind, output in move.outputs.items():
            if self.temp_path(output.temporary).exists():
                waiting[kind] = output
            elif (found := self.bucket.head(f"{kind}/{move.place}")) is None or found.size != output.size:
                return False
        refused = self.store(msgspec.structs.replace(move, outputs=waiting))
        if isinstance(refused, OutputRefused):
            self.retain(waiting.values())
        if refused is not None:
            raise refused
        return True

    def stop_committing(self) -> None:
        """Store only what has begun; see `OutputStore.stop_committing`."""
        self._is_left = True

    # what is known of photos

    def record(self, photos: Sequence[FinishedPhoto], *, all_results: Callable[[], Iterable[Result]]) -> None:  # noqa: ARG002
        """Add what became of photos to the log; see `OutputStore.record`."""
        self._log.add(photo.logged() for photo in photos)

    def write_results(self, results: Iterable[Result]) -> None:
        """Put the list of results in parts, those that have changed; see `OutputStore.write_results`."""
        self._log.check()
        there = {one.key: one for page in self.bucket.pages(under=RESULTS_FOLDER) for one in page}
        for number, part in enumerate(_parts(results), start=1):
            key = f"{RESULTS_FOLDER}/part-{number:06}.jsonl"
            found = there.pop(key, None)
            if found is None or found.etag.strip('"') != hashlib.md5(part, usedforsecurity=False).hexdigest():
                self.bucket.put(key, part, content_type="application/jsonl")
        if left := [key for key in there if key.startswith(f"{RESULTS_FOLDER}/part-")]:
            self.bucket.delete(*left)

    def rebuild(self, journal: RebuiltJournal) -> int:
        """Enter what the log tells of runs elsewhere, and outputs that no log names; see `OutputStore.rebuild`.

        A journal that is up to date costs one LIST.
        """
        is_lost = journal.is_empty
        own = None if is_lost else self._log.owner
        applied, left = self._log.applied, self._log.waiting_photos()
        segments = self._log.segments(after=0 if is_lost else applied, until=self._last_segment)
        found = False
        for segment in segments:
            found = True
            if segment.owner != own:
                journal.enter_log(segment.lines)
            if self._is_locked and segment.number > applied and segment.owner != self._log.owner:
                self._log.drop(left & segment.photos)
        if self._is_locked:
            self._log.start()
        if is_lost:
            journal.enter_log(self._log.waiting())
        if found and (is_lost or journal.entered):
            journal.enter_outputs(self._outputs(), self._origin)
        if self._last_segment is not None:
            self._log.note_applied(self._last_segment + 1)
        return journal.entered

    def _outputs(self) -> Iterator[tuple[Kind, str, int]]:
        """All outputs, each with its place and its size."""
        for kind in KINDS:
            for page in self.bucket.pages(under=kind):
                for one in page:
                    yield kind, one.key.removeprefix(f"{kind}/"), one.size

    def _origin(self, kind: Kind, place: str) -> OutputOrigin | None:
        with suppress(ObjectMissing, ObjectChanged):
            return OutputOrigin.read(self.bucket.about(f"{kind}/{place}", name=METADATA_KEY))
        return None


_store = threaded(OutputBucket.store, pool="storing")


@partial(threaded, pool="fetching")
def _download(bucket: Bucket, key: str, target: TempFile) -> int | None:
    """Append the bytes of an object to `target`; their number, None when there is no such object."""
    size = 0
    try:
        for piece in bucket.stream(key, piece=_PIECE_BYTES):
            target.append([piece])
            size += len(piece)
    except ObjectMissing:
        return None
    return size


def _parts(results: Iterable[Result]) -> Iterator[bytes]:
    """The lines of `results`, in parts."""
    lines = (msgspec.json.encode(result) + b"\n" for result in results)
    while part := list(islice(lines, _PART_LINES)):
        yield b"".join(part)


_LOOKS: Final = 5
"""How many times it is looked what is at an output's place, while something else writes there."""


class ObjectWriter:
    """Writes outputs under a prefix of a bucket: where there is nothing, their predecessor, or one of the same photo.

    Everything blocks.

    Args:
        bucket: the bucket and the prefix.
        conditional: whether the store keeps to conditional writes.
    """

    def __init__(self, bucket: Bucket, *, conditional: bool = True) -> None:
        self._bucket = bucket
        self._conditional = conditional

    def write(self, kind: Kind, place: str, output: StoredOutput, file: Path, origin: OutputOrigin | None) -> None:
        """Write the output in `file`, and beside it what it is made of.

        Raises:
            NameTaken: something else is there.
            OutputRefused: the store does not take this one.
            StoreError: the store refuses.
        """
        key = f"{kind}/{place}"
        metadata = {} if origin is None else origin.metadata()
        is_first = output.replaces is None and self._conditional  # nothing is expected there
        for _ in range(_LOOKS):
            found = None if is_first else self._bucket.head(key)
            is_first = False
            if found is not None and found.etag.strip('"') == _md5(file):
                return  # put by a try whose answer was lost, or by an earlier run
            if found is not None and found.size != output.replaces and not self._is_of_photo(key, origin):
                message = (
                    f"{self._bucket.address.url_of(key)!r} is an object that no run made, or that was changed since"
                )
                raise NameTaken(f"{message}: move it away, and run again")
            create = found is None and self._conditional
            replaces = found.etag if found is not None and self._conditional else None
            try:
                self._bucket.put(
                    key, file, content_type="image/jpeg", metadata=metadata, create=create, replaces=replaces
                )
            except (ObjectExists, ObjectChanged, ObjectMissing):
                continue  # it was written or removed meanwhile
            except ObjectRefused as error:
                raise OutputRefused(str(error)) from None
            return
        raise NameTaken(f"{self._bucket.address.url_of(key)!r} changes all the time: something else writes it")

    def _is_of_photo(self, key: str, origin: OutputOrigin | None) -> bool:
        """Whether the object is an output of the same photo: a run whose journal is lost made it."""
        known = OutputOrigin.read(self._bucket.about(key, name=METADATA_KEY))
        return origin is not None and known is not None and known.is_of(origin)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
