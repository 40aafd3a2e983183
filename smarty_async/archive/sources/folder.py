"""Photos in folders, found as a stream: a folder of a million files takes the memory of a few.

Everything here blocks, except where it says otherwise; run it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

import msgspec

from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.photos.reader import FileBody, HeldFiles, file_digest, open_unchanged
from smarty_async.archive.sources.scan_roots import EntryQueue, ScanRoot, common_folder, root_of, root_of_entry
from smarty_async.archive.sources.source import PhotoFile, Prober
from smarty_async.archive.sources.walk import (
    GeneratedFiles,
    Walk,
    Wanted,
    lies_in_results,
    photo_file,
    reason,
    unreadable,
)
from smarty_async.archive.threads import threaded
from smarty_async.errors import OptionsError
from smarty_async.options import Limits
from smarty_async.results import ErrorInfo
from smarty_async.store_address import is_store_address, local_path

__all__ = ["FolderSource", "check_sources", "probe_file"]

_NEITHER = "it is neither a file nor a folder"

_BATCH = 1024
"""Photos in a batch of a scan, at most; the journal compares them together."""


_LISTED_OBJECT = ErrorInfo("listed_object", "it is in a bucket, and a list names paths on this machine")


class FolderSource:
    """The `PhotoSource` of files and folders.

    In folders, hidden files and folders, what systems and photo tools keep for themselves (`SYSTEM_FILES`), folders
    with the results of a run, albums, and whatever is no regular file are skipped. What a list names of results and
    albums is left alone: a list is often made of everything below a folder. Links are followed, except into a folder
    that the walk is in already. A file that is named twice is found twice.

    Args:
        sources: files, folders, and glob patterns (``*``, ``?``, ``[``, ``**``) that are no existing paths.
        out: the output folder, None when outputs go elsewhere. It is not walked into; when it is a source itself, what
            runs make in it is left out.
        include: patterns of the photos to take, all when empty; see `Wanted`.
        exclude: patterns of the photos to leave out.
        listed: more paths of files or folders; empty ones are left out: a path made of one is the working folder. Where
            it can be iterated over twice (a list, a `ListFile`), its absolute paths are relative to their common
            folder.
    """

    def __init__(
        self,
        sources: Iterable[str | os.PathLike[str]],
        *,
        out: Path | None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        listed: Iterable[str | bytes] = (),
    ) -> None:
        self._sources = [os.fspath(source) for source in sources]
        self._out = out
        self._wanted = Wanted(include, exclude)
        self._generated = GeneratedFiles(out)
        self._listed = listed
        self._queue: EntryQueue | None = None
        self._held = HeldFiles()
        self._stopped = False

    def check(self) -> None:
        """Make sure that every source can be scanned; see `check_sources`."""
        check_sources(self._sources, out=self._out)

    def warnings(self) -> list[str]:
        """What a person should know of the choice of sources: that one is the output folder, too."""
        return [
            f"{display_path(source)!r} is the source and the output folder: outputs are written among the photos"
            for source in self._sources
            if self._out is not None and _is_same(source, self._out)
        ]

    def scan(self) -> Generator[list[PhotoFile], None, None]:
        """Every photo of the sources and then of the list, in the order the disk gives them; see `PhotoSource.scan`."""
        batch: list[PhotoFile] = []
        for file in takewhile(lambda _: not self._stopped, self.files()):
            if file is not None:
                batch.append(file)
            if batch and (file is None or len(batch) == _BATCH):
                yield batch
                batch = []
            if file is None:
                yield []
        if batch and not self._stopped:
            yield batch

    def stop(self) -> None:
        """Let `scan` end; from another thread. A wait for the next entry of the list ends, too."""
        self._stopped = True
        if self._queue is not None:
            self._queue.close()

    def files(self) -> Generator[PhotoFile | None, None, None]:
        """Every photo, one by one; None before a wait for the next entry of the list."""
        for source in self._sources:
            yield from _files(root_of(source), self._wanted, self._generated)
        for entry in self._entries():
            if isinstance(entry, ScanRoot):
                yield from _files(entry, self._wanted, self._generated)
            elif entry is None:
                yield None
            else:
                bucket, _, key = entry.rpartition("/")
                yield PhotoFile(bucket, key, entry, 0, "0", _LISTED_OBJECT)

    def _entries(self) -> Iterator[ScanRoot | str | None]:
        """The places that the list names, None before a wait; addresses of buckets as they are."""
        if iter(self._listed) is not self._listed:  # it can be read twice
            folder = common_folder(self._listed)
            yield from (_listed(os.fsdecode(entry), folder) for entry in self._listed if entry)
            return
        self._queue = EntryQueue(filter(None, self._listed))
        if self._stopped:
            self._queue.close()
        with closing(self._queue):
            for entry in self._queue:
                yield None if entry is None else _listed(os.fsdecode(entry), None)

    # one photo

    def probe(self, file: PhotoFile, *, limits: Limits, fit: bool) -> Awaitable[Probed]:
        """Look into a photo, in a thread; see `PhotoSource.probe`."""
        return _probe_to_send(file.path, limits=limits, fit=fit, page=file.page)

    def prober(self, file: PhotoFile) -> Prober:
        """What looks into a photo; see `PhotoSource.prober`."""
        return partial(probe, file.path, page=file.page)

    def body(self, file: PhotoFile, probed: Probed) -> FileBody:
        """What is sent of a photo that is sent as it is; does not block."""
        read = probed.whole is not None and probed.whole.version == file.version
        body = FileBody(
            file.path,
            size=probed.size,
            version=file.version,
            content_type=probed.content_type,
            file_size=probed.file_size,
            held=self._held.hold(probed.whole.data) if probed.whole is not None and read else None,
        )
        body.digest = probed.digest if read else None
        return body

    def reopen(self, file: PhotoFile) -> Callable[[], BinaryIO]:
        """Opens the photo, unless it has changed; see `PhotoSource.reopen`."""
        return partial(open_unchanged, file.path, size=file.size, version=file.version)

    def digest(self, path: str, *, size: int, version: str) -> bytes:
        """The SHA-256 of the photo; see `PhotoSource.digest`."""
        return file_digest(path, size=size, version=version)


probe_file = threaded(probe, pool="probing")
"""`probe` in a thread. It has a pool of its own: a picture that is to be decoded may wait for memory there."""


@partial(threaded, pool="probing")
def _probe_to_send(path: str, *, limits: Limits, fit: bool, page: int) -> Probed:
    """`probe`, with the digest of a file that was read whole: it need not be read again for sending."""
    probed = probe(path, limits=limits, fit=fit, page=page)
    if probed.whole is None:
        return probed
    return msgspec.structs.replace(probed, digest=hashlib.sha256(probed.whole.data).digest())


def _listed(entry: str, folder: str | None) -> ScanRoot | str:
    return entry if is_store_address(entry) else root_of_entry(entry, folder=folder)


def _files(root: ScanRoot, wanted: Wanted, generated: GeneratedFiles) -> Iterator[PhotoFile]:
    """What the walk from `root` finds; `root` itself when it is a file."""
    photo = root.photo or "."
    try:
        status = Path(root.path).stat()
        if generated.holds(root.path) or lies_in_results(root):
            version = str(status.st_mtime_ns)
            yield PhotoFile(root.source, photo, root.path, status.st_size, version, left_alone=True)
        elif stat.S_ISDIR(status.st_mode):
            yield from Walk(root, wanted, generated).photos()
        elif not stat.S_ISREG(status.st_mode):
            raise OSError(_NEITHER)
        elif wanted(photo):
            yield photo_file(root.source, photo, root.path, status)
    except (OSError, ValueError) as error:
        yield unreadable(root.source, photo, root.path, error)


def check_sources(sources: Iterable[str | os.PathLike[str]], *, out: Path | None = None) -> None:
    """Make sure, before anything starts, that every source can be scanned.

    Raises:
        OptionsError: one is a URL, does not exist, cannot be read, is a pattern that matches nothing, or is among the
            outputs in the folder `out`, which would be written over.
    """
    generated = GeneratedFiles(out)
    for source in sources:
        root = root_of(local_path(source, option="a source"))
        name = f"'{display_path(os.fspath(source))}'"
        try:
            _check_readable(root.path)
            matches = not root.pattern or _matches(root)
        except (OSError, ValueError) as error:
            if root.pattern and isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise OptionsError(f"nothing matches {name}: check the pattern") from None
            if isinstance(error, FileNotFoundError) and not Path(root.path).is_symlink():
                raise OptionsError(f"there is no {name}: check the path") from None
            raise OptionsError(f"cannot read {name}: {reason(root.path, error)}") from None
        if not matches:
            raise OptionsError(f"nothing matches {name}: check the pattern")
        if generated.holds(root.path):
            raise OptionsError(f"{name} lies among the outputs in '{out}': choose another --out")


def _matches(root: ScanRoot) -> bool:
    """Whether anything matches the pattern of `root`."""
    if not Path(root.path).is_dir():
        return False
    with closing(Walk(root, Wanted(), GeneratedFiles(None)).photos()) as photos:
        return next(photos, None) is not None


def _check_readable(path: str) -> None:
    """Open `path` as a scan will.

    Raises:
        OSError: it cannot be read, or is neither a file nor a folder.
    """
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()
    elif stat.S_ISREG(status.st_mode):
        Path(path).open("rb").close()
    else:
        raise OSError(_NEITHER)


def _is_same(source: str, out: Path) -> bool:
    try:
        return Path(source).samefile(out)
    except (OSError, ValueError):
        return Path(source).absolute() == out.absolute()
