"""Where the workers of a run put its outputs, and where the chunks' logs are: a folder that all see, or a bucket."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import ClassVar, Final, Protocol

import msgspec

from smarty_async.archive.commit import move_of
from smarty_async.archive.entries import StoredOutput, is_kept
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.object_store import Bucket, ObjectMissing
from smarty_async.archive.outputs.object_store import ObjectWriter, OutputBucket
from smarty_async.archive.outputs.store import OutputRefused, OutputStore
from smarty_async.archive.outputs.sync import sync_all
from smarty_async.archive.outputs.temp_file import TempFile, digest_of, temp_file_digest
from smarty_async.archive.paths import STATE
from smarty_async.archive.threads import threaded
from smarty_async.cluster.chunk_log import ChunkLog, LogFile, LogObject
from smarty_async.cluster.messages import FinishedItem
from smarty_async.cluster.outputs import PhotoOutputs
from smarty_async.errors import ConfigurationError, DiskError, StoreError
from smarty_async.options import ModeSpec
from smarty_async.results import Kind
from smarty_async.transport.response import OutputEditor
from smarty_async.wire.messages import Answered

__all__ = ["BucketStorage", "ChunkStorage", "FolderStorage", "storage_of"]


class ChunkStorage(Protocol):
    """The storage of one run; it travels to the workers with each chunk."""

    beat_seconds: ClassVar[float]
    """How often a worker shows in a log that it lives."""
    shares_temp_files: ClassVar[bool]
    """Whether workers see the temporary files of the caller."""

    def log(self, chunk: str) -> ChunkLog:
        """The log of a chunk."""
        ...

    def left_logs(self) -> list[ChunkLog]:
        """The logs that are there: those of an earlier run, before this one sends anything; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def mark(self, name: str, size: int = 0) -> None:
        """Put something of so many bytes there, by which `unseen` tells whether a worker sees it; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def clear(self, name: str) -> None:
        """Remove that; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def clear_logs(self) -> None:
        """Remove what earlier runs have left, whose answers are journalled; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def unseen(self, name: str, sources: Sequence[str | Bucket]) -> str | None:
        """What this process does not see: `mark`'s, or one of `sources`; None when it sees all; blocks.

        Raises:
            OSError: the system refuses to look.
            ConfigurationError: one of `sources` cannot be used.
        """
        ...

    def temp_folder(self) -> str:
        """Where a worker writes outputs as they arrive."""
        ...

    async def make_durable(
        self, answered: Answered, files: Mapping[Kind, TempFile], spec: ModeSpec, editor: OutputEditor | None
    ) -> FinishedItem:
        """Edit the outputs of one item and make them durable.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    async def fetch(self, item: FinishedItem, folder: str, *, place: str = "") -> FinishedItem:
        """Bring the outputs of an item to the temporary files of the caller, unless they are there.

        Args:
            item: the item.
            folder: of the temporary files.
            place: of its outputs where they are `FinishedItem.stored`.

        Returns:
            The item with its outputs in temporary files.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    async def remove(self, items: Sequence[FinishedItem]) -> None:
        """Remove what `fetch` has read beside the logs; what the storage does not remove is removed by the next run."""
        ...


class FolderStorage(msgspec.Struct, frozen=True):
    """A folder that all see: the run's temporary files. The caller brings outputs to their places."""

    folder: str

    beat_seconds: ClassVar[float] = 1.0  # a line in a file
    shares_temp_files: ClassVar[bool] = True

    def log(self, chunk: str) -> ChunkLog:
        """The log of a chunk, a file in it."""
        return ChunkLog(LogFile(f"{self.folder}/{_LOG_NAME}{chunk}"))

    def left_logs(self) -> list[ChunkLog]:
        """The logs of an earlier run; see `ChunkStorage.left_logs`."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 - names alone
        except OSError as error:
            raise DiskError.of(error, Path(self.folder), "read") from None
        return [self.log(name.removeprefix(_LOG_NAME)) for name in names if name.startswith(_LOG_NAME)]

    def mark(self, name: str, size: int = 0) -> None:
        """Create a file; see `ChunkStorage.mark`."""
        try:
            Path(self.folder, name).write_bytes(bytes(size))
        except OSError as error:
            raise DiskError.of(error, Path(self.folder), "write to") from None

    def clear(self, name: str) -> None:
        """Remove the file; see `ChunkStorage.clear`."""
        Path(self.folder, name).unlink(missing_ok=True)

    def clear_logs(self) -> None:
        """Nothing: the run itself removes old temporary files, and the logs are among them."""

    def unseen(self, name: str, sources: Sequence[str | Bucket]) -> str | None:
        """What this process does not see; see `ChunkStorage.unseen`."""
        if not Path(self.folder, name).exists():
            return f"it does not see the folder {self.folder!r} of the caller"
        if not os.access(self.folder, os.W_OK):
            return f"it may not write to {self.folder!r}"
        return _unseen(sources)

    def temp_folder(self) -> str:
        """The folder."""
        return self.folder

    async def make_durable(
        self,
        answered: Answered,
        files: Mapping[Kind, TempFile],
        spec: ModeSpec,  # noqa: ARG002 - the caller brings them to their places
        editor: OutputEditor | None,
    ) -> FinishedItem:
        """Edit and sync the outputs; see `ChunkStorage.make_durable`."""
        outputs = await _edit(editor, files)
        refused = await sync_all(self.folder, [file.name for file in files.values()])
        if refused is not None:
            raise refused
        return FinishedItem(answered=answered, outputs=outputs)

    async def fetch(self, item: FinishedItem, folder: str, *, place: str = "") -> FinishedItem:  # noqa: ARG002
        """Do nothing: they are there; see `ChunkStorage.fetch`."""
        return item

    async def remove(self, items: Sequence[FinishedItem]) -> None:
        """Do nothing: temporary files are moved, or discarded; see `ChunkStorage.remove`."""


class BucketStorage(msgspec.Struct, frozen=True):
    """The bucket that outputs go to: each worker stores them at their places itself.

    Outputs that the store refuses there, because something else has the name, are stored beside the logs: the caller
    fetches them, and finds another place as for outputs of its own.

    Attributes:
        bucket: the bucket and the prefix; of the environment's credentials each process uses its own.
    """

    bucket: Bucket

    beat_seconds: ClassVar[float] = 2.0  # a PUT
    shares_temp_files: ClassVar[bool] = False  # these are on the caller's disk

    def log(self, chunk: str) -> ChunkLog:
        """The log of a chunk, an object in it."""
        return ChunkLog(LogObject(self.bucket, f"{_LOGS}/{_LOG_NAME}{chunk}"))

    def left_logs(self) -> list[ChunkLog]:
        """The logs of an earlier run; see `ChunkStorage.left_logs`."""
        keys = (one.key for page in self.bucket.pages(under=_LOGS) for one in page)
        return [ChunkLog(LogObject(self.bucket, key)) for key in keys if key.startswith(f"{_LOGS}/{_LOG_NAME}")]

    def mark(self, name: str, size: int = 0) -> None:
        """Put an object; see `ChunkStorage.mark`."""
        self.bucket.put(f"{_LOGS}/{name}", bytes(size), content_type="text/plain")

    def clear(self, name: str) -> None:
        """Remove it; see `ChunkStorage.clear`."""
        self.bucket.delete(f"{_LOGS}/{name}")

    def clear_logs(self) -> None:
        """Remove all that is beside them; see `ChunkStorage.clear_logs`."""
        for page in self.bucket.pages(under=_LOGS):
            self.bucket.delete(*(one.key for one in page))

    def unseen(self, name: str, sources: Sequence[str | Bucket]) -> str | None:
        """What this process does not see; see `ChunkStorage.unseen`."""
        try:
            if self.bucket.head(f"{_LOGS}/{name}") is None:
                return f"it does not see {str(self.bucket.address)!r}"
            tried = f"{_LOGS}/{name}-{secrets.token_hex(8)}"
            self.bucket.put(tried, b"", content_type="text/plain")
            self.bucket.delete(tried)
        except StoreError as error:
            return str(error)
        return _unseen(sources)

    def temp_folder(self) -> str:
        """A folder of this process."""
        return _temp_folder()

    async def make_durable(
        self, answered: Answered, files: Mapping[Kind, TempFile], spec: ModeSpec, editor: OutputEditor | None
    ) -> FinishedItem:
        """Edit the outputs and store those that are wanted; see `ChunkStorage.make_durable`."""
        assert isinstance(editor, PhotoOutputs), "an archive's photo"  # noqa: S101 - what `PhotoRun` gives
        wanted: dict[Kind, TempFile] = {kind: file for kind, file in files.items() if is_kept(kind, editor.kinds)}
        outputs = await _edit(editor, wanted)
        try:
            await _store(self.bucket, ReceivedAnswer(editor.entry, spec, outputs, answered.bw))
        except OutputRefused:
            await _store_beside_logs(self.bucket, outputs)
            return FinishedItem(answered=answered, outputs=outputs)
        finally:
            for file in files.values():
                await file.discard()
        return FinishedItem(answered=answered, outputs=outputs, stored=True)

    async def fetch(self, item: FinishedItem, folder: str, *, place: str = "") -> FinishedItem:
        """Download them; see `ChunkStorage.fetch`."""
        outputs = {
            f"{kind}/{place}" if item.stored else f"{_LOGS}/{output.temporary}": output
            for kind, output in item.outputs.items()
        }
        if found := await _fetch(self.bucket, outputs, folder):
            refused = await sync_all(folder, found)
            if refused is not None:
                raise refused
        return msgspec.structs.replace(item, stored=False)

    async def remove(self, items: Sequence[FinishedItem]) -> None:
        """Remove the objects; see `ChunkStorage.remove`."""
        keys = [f"{_LOGS}/{output.temporary}" for item in items if not item.stored for output in item.outputs.values()]
        if keys:
            with suppress(StoreError):
                await threaded(self.bucket.delete, pool="storing")(*keys)


def storage_of(outputs: OutputStore) -> ChunkStorage:
    """The storage of a run whose outputs go to `outputs`.

    Raises:
        ConfigurationError: it cannot be used with workers.
    """
    if not isinstance(outputs, OutputBucket):
        return FolderStorage(str(outputs.temp_path("")))
    if not outputs.is_exclusive:
        raise ConfigurationError(
            f"{str(outputs.address)!r} ignores conditional writes, by which workers send each request once: leave out "
            "the workers (--scheduler and --workers, cluster= in Python)"
        )
    return BucketStorage(outputs.bucket)


_LOGS: Final = f"{STATE}/chunks"
_LOG_NAME: Final = "chunk-"


@cache
def _temp_folder() -> str:
    folder = tempfile.mkdtemp(prefix="smarty_async-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _unseen(sources: Sequence[str | Bucket]) -> str | None:
    """What this process does not see of `sources`.

    Raises:
        ConfigurationError: it cannot list a bucket.
    """
    for source in sources:
        if isinstance(source, Bucket):
            source.check()
        elif not os.path.lexists(source):
            return f"it does not see {source!r}"
    return None


@threaded
def _edit(editor: OutputEditor | None, files: Mapping[Kind, TempFile]) -> dict[Kind, StoredOutput]:
    """Apply `editor` to `files`; what they are then."""
    outputs: dict[Kind, StoredOutput] = {}
    for kind, file in files.items():
        path = str(file.path)
        size = Path(path).stat().st_size if editor is None else editor.copy_to(path)
        outputs[kind] = StoredOutput(file.name, size, digest=temp_file_digest(path))
    return outputs


@partial(threaded, pool="storing")
def _store(bucket: Bucket, received: ReceivedAnswer) -> None:
    """Store the outputs of an answer at their places.

    Raises:
        OutputRefused: the store refuses one of them, and takes others.
        StoreError: it refuses.
    """
    writer, move = ObjectWriter(bucket), move_of(received)
    for kind, output in move.outputs.items():
        writer.write(kind, move.place, output, Path(_temp_folder(), output.temporary), move.origin)


@partial(threaded, pool="storing")
def _store_beside_logs(bucket: Bucket, outputs: Mapping[Kind, StoredOutput]) -> None:
    for output in outputs.values():
        path = Path(_temp_folder(), output.temporary)
        bucket.put(f"{_LOGS}/{output.temporary}", path, content_type="image/jpeg")


@partial(threaded, pool="fetching")
def _fetch(bucket: Bucket, outputs: Mapping[str, StoredOutput], folder: str) -> list[str]:
    """Download outputs to their temporary files; the names of those that are there as their worker has stored them.

    Raises:
        DiskError: the store or the disk refuses.
    """
    found: list[str] = []
    for key, output in outputs.items():
        with suppress(ObjectMissing):  # an earlier run took it, and could not remove the log any more
            data = bucket.get(key)
            if digest_of([data]) == output.digest:
                _write_file(Path(folder, output.temporary), data)
                found.append(output.temporary)
    return found


def _write_file(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise DiskError.of(error, path, "write") from None
