"""Photos in a bucket: listed as a stream, read in ranges by the probe, and sent straight from there."""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise, takewhile
from typing import Any, BinaryIO, Final, cast

import msgspec

from smarty_async.archive.object_store import Bucket, ObjectChanged, ObjectMissing, ObjectRefused, StoredObject
from smarty_async.archive.paths import GENERATED_NAMES, STATE
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.s3 import is_odd_key
from smarty_async.archive.sources.signatures import SIGNATURE_BYTES, has_photo_signature
from smarty_async.archive.sources.source import PhotoFile, Prober
from smarty_async.archive.sources.walk import (
    Glob,
    Wanted,
    is_made_by_library,
    is_photo_name,
    is_skipped,
)
from smarty_async.archive.threads import threaded
from smarty_async.errors import OptionsError, PhotoRejected, StoreError
from smarty_async.options import Limits
from smarty_async.results import ErrorInfo
from smarty_async.store_address import StoreAddress

__all__ = ["BucketSource", "ObjectBody"]

_BATCH: Final = 256
"""Photos in a batch of a scan, at most; the journal looks them up together."""
_LOOKS: Final = 16
"""Objects without a photo's name that are looked into at a time."""
_PIECE_BYTES: Final = 1 << 18
_FIRST_RANGE: Final = 1 << 16
"""Bytes of the first range: headers and metadata of most photos, and many small ones whole."""
_LARGEST_RANGE: Final = 1 << 22

_CONTENT_ETAG: Final = re.compile(r'"?[0-9a-f]{32}(-[0-9]{1,5})?"?')
"""An ETag that depends on the content alone: the MD5 of it, or of the MD5s of its parts. S3's are, unless the objects
are encrypted with a key of the customer's; then no two are alike. Those of GCS and Azure are numbers of versions."""

_ODD_KEY: Final = ErrorInfo(
    "unreadable",
    "its key has a part that is empty, '.' or '..', or a control character, and cannot be read: rename the object",
)

_GENERATED: Final = GENERATED_NAMES | {"results"}


class BucketSource:
    """The `PhotoSource` of the keys under a prefix, or of one object.

    Hidden names, what systems and photo tools keep for themselves, and the results of runs are skipped, as in folders.
    An object's version is its ETag; the content of two photos is the same when their sizes and ETags are, where the
    ETag depends on the content; where it does not, they are read to be compared.

    Args:
        address: the prefix, an object, or a prefix with a pattern (``s3://bucket/scans/**/*.jpg``).
        options: what the store is opened with.
        out: where outputs go, when that is in a store.
        include: patterns of the photos to take, all when empty; see `Wanted`.
        exclude: patterns of the photos to leave out.
    """

    def __init__(
        self,
        address: StoreAddress,
        *,
        options: Mapping[str, Any] | None = None,
        out: StoreAddress | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> None:
        self.address = address
        self._options = dict(options or {})
        self._out = out
        self._wanted = Wanted(include, exclude)
        self._bucket = Bucket(msgspec.structs.replace(address, prefix=""), self._options)
        self._results: list[str] = []  # folders with the results of runs that hold the key that is looked at
        self._stopped = False

    def check(self) -> None:
        """Make sure that the bucket can be listed; see `PhotoSource.check`.

        Raises:
            ConfigurationError: it is not there, or there are no credentials that allow it.
        """
        if self._out is not None and self._is_generated(self.address.prefix):
            raise OptionsError(
                f"{str(self.address)!r} lies among the outputs in {str(self._out)!r}: choose another --out"
            )
        Bucket(self.address, self._options).check()

    def warnings(self) -> list[str]:
        """Nothing: outputs in the source's own prefix have keys of their own."""
        return []

    def scan(self) -> Generator[list[PhotoFile], None, None]:
        """Every object that may be a photo, in the order of the keys; see `PhotoSource.scan`."""
        with ThreadPoolExecutor(_LOOKS, thread_name_prefix="smarty_async scan") as looking:
            batch: list[PhotoFile] = []
            for page in self._pages():
                files = (file for file in map(self._file, page) if file is not None)
                for file in takewhile(lambda _: not self._stopped, self._looked_into(files, looking)):
                    batch.append(file)
                    if len(batch) == _BATCH:
                        yield batch
                        batch = []
                if self._stopped:
                    return
            if batch:
                yield batch

    def stop(self) -> None:
        """Let `scan` end; from another thread."""
        self._stopped = True

    # listing

    def _pages(self) -> Iterator[list[StoredObject]]:
        """The pages of the listing, with keys in the whole bucket."""
        found = False
        for page in self._bucket.pages(under=self.address.prefix):
            found = True
            yield page
        if found:
            return
        if one := self._bucket.head(self.address.prefix) if self.address.prefix else None:
            yield [one]
        elif glob.has_magic(self.address.prefix):
            yield from self._matching()

    def _matching(self) -> Iterator[list[StoredObject]]:
        """The pages of a pattern."""
        base, pattern = _split_pattern(self.address.prefix)
        states = Glob(tuple(pattern))
        for page in self._bucket.pages(under=base):
            yield [one for one in page if _matches(states, one.key.removeprefix(base).strip("/"))]

    def _file(self, found: StoredObject) -> PhotoFile | None:
        """The photo of an object, None for what is skipped."""
        source, photo = self._split(found.key)
        parts = photo.split("/")
        while self._results and not found.key.startswith(self._results[-1]):
            self._results.pop()
        if STATE in parts:  # it precedes the outputs beside it in the order of keys
            folder = found.key.partition(STATE)[0]
            self._results += [folder] if folder not in self._results[-1:] else []
            return None
        if _is_skipped(source, parts) or self._is_generated(found.key) or not self._wanted(photo):
            return None
        known = is_photo_name(parts[-1])
        if known is None and not found.size:
            return None  # what some programs create for a folder
        path = f"{self.address.bucket_url}/{found.key}"
        if is_odd_key(found.key) and known is not False:
            return PhotoFile(source, photo, path, found.size, found.etag, _ODD_KEY)
        return PhotoFile(source, photo, path, found.size, found.etag, None, 1, known is False)

    def _split(self, key: str) -> tuple[str, str]:
        """The source of an object, and its path relative to that."""
        folder = self.address.prefix
        if not key.startswith(f"{folder}/") and folder:  # it is one object, or the address is a pattern
            folder = folder.rpartition("/")[0] if key == folder else _split_pattern(folder)[0]
        relative = key.removeprefix(f"{folder}/") if folder else key
        return str(msgspec.structs.replace(self.address, prefix=folder)), relative

    def _looked_into(self, files: Iterable[PhotoFile], pool: ThreadPoolExecutor) -> Iterator[PhotoFile]:
        """`files`, those without a photo's name marked when they do not begin like one."""
        listed = list(files)
        unknown = [file for file in listed if not (file.left_alone or file.problem or is_photo_name(file.photo))]
        left_alone = {file.path for file, is_photo in zip(unknown, pool.map(self._may_be_photo, unknown), strict=True)
                      if not is_photo}  # fmt: skip
        for file in listed:
            yield msgspec.structs.replace(file, left_alone=True) if file.path in left_alone else file

    def _may_be_photo(self, file: PhotoFile) -> bool:
        try:
            return has_photo_signature(
                self._bucket.get(self._key(file.path), start=0, end=min(file.size, SIGNATURE_BYTES))
            )
        except StoreError:
            return True  # the probe says what is wrong with it

    # outputs among the keys

    def _is_generated(self, key: str) -> bool:
        """Whether an object with this key is, or would be, an output."""
        if (
            self._out is not None
            and self._out.bucket_url == self.address.bucket_url
            and self._is_output(key, self._out)
        ):
            return True
        return any(key.startswith(folder) and _first(key, folder) in _GENERATED for folder in self._results)

    def _is_output(self, key: str, out: StoreAddress) -> bool:
        folder = f"{out.prefix}/" if out.prefix else ""
        if not key.startswith(folder):
            return False
        source = f"{self.address.prefix}/" if self.address.prefix else ""
        inside = folder != source and folder.startswith(source)  # a folder of its own among the photos
        return inside or _first(key, folder) in _GENERATED

    # one photo

    def holds(self, path: str) -> bool:
        """Whether a photo at `path` is in the bucket."""
        return path.startswith(f"{self.address.bucket_url}/")

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.address.bucket_url}/")

    def prober(self, file: PhotoFile) -> Prober:
        """What looks into a photo; see `PhotoSource.prober`."""
        return partial(_probed, self._bucket, self._key(file.path), file)

    def probe(self, file: PhotoFile, *, limits: Limits, fit: bool) -> Awaitable[Probed]:
        """Look into a photo, in a thread; see `PhotoSource.probe`."""
        return _probe(self._bucket, self._key(file.path), file, limits=limits, fit=fit)

    def body(self, file: PhotoFile, probed: Probed) -> ObjectBody:
        """What is sent of a photo that is sent as it is; does not block."""
        return ObjectBody(self._bucket, self._key(file.path), file, size=probed.size, content_type=probed.content_type)

    def reopen(self, file: PhotoFile) -> Callable[[], BinaryIO]:
        """Opens the photo, so that its metadata can be read; see `PhotoSource.reopen`."""
        return partial(_reopened, self._bucket, self._key(file.path), file.size, file.version)

    def digest(self, path: str, *, size: int, version: str) -> bytes:
        """What is equal for photos of the same content; see `PhotoSource.digest`."""
        if known := _digest(version):
            return known
        key = self._key(path)
        if not self.holds(path) or is_odd_key(key):
            return b""
        digest = hashlib.sha256()
        try:
            for piece in self._bucket.stream(key, etag=version):
                digest.update(piece)
                size -= len(piece)
        except (ObjectChanged, ObjectMissing):
            return b""
        return b"" if size else digest.digest()


def _probed(bucket: Bucket, key: str, file: PhotoFile, *, limits: Limits, fit: bool) -> Probed:
    """Look into a photo; blocks.

    Raises:
        PhotoRejected: it cannot be sent.
        StoreError: the store does not answer, or refuses all of it.
    """
    opened = _ObjectFile(bucket, key, size=file.size, etag=file.version)
    try:
        probed = probe(lambda: _buffered(opened), limits=limits, fit=fit, page=file.page)
    except PhotoRejected:
        if opened.failure is not None:
            raise _rejected(opened.failure) from None
        raise
    if probed.converted is None:
        return probed
    return msgspec.structs.replace(probed, digest=_digest(file.version) or probed.digest)


_probe = threaded(_probed, pool="fetching")


def _reopened(bucket: Bucket, key: str, size: int, etag: str) -> BinaryIO:
    # A function, and no closure: a worker of a cluster gets it in a pickle.
    return _buffered(_ObjectFile(bucket, key, size=size, etag=etag))


class _ObjectFile(io.RawIOBase):
    """An object, opened for reading.

    The first range is kept, for formats are read from their beginning several times; of the others, the last one. Where
    reading goes on from it, or a little behind it, each range is four times as long as the one before.

    Args:
        bucket: where it is.
        key: of the object.
        size: bytes.
        etag: of the object; a read fails when it has another one by then.

    Attributes:
        failure: why a read failed; None when none has. Decoders may hide it.
    """

    def __init__(self, bucket: Bucket, key: str, *, size: int, etag: str) -> None:
        super().__init__()
        self.failure: StoreError | None = None
        self._bucket = bucket
        self._key = key
        self._size = size
        self._etag = etag
        self._at = 0
        self._first = b""
        self._start, self._range = 0, b""
        self._length = _FIRST_RANGE

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to `offset`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read up to the length of `buffer`.

        Raises:
            OSError: the store refuses; `failure` says why.
        """
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not view:
            return 0
        data = self._from_range(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _from_range(self, wanted: int) -> memoryview:
        for start, data in ((0, self._first), (self._start, self._range)):
            if start <= self._at < start + len(data):
                return memoryview(data)[self._at - start : self._at - start + wanted]
        end = self._start + len(self._range) if self._range else len(self._first)
        goes_on = bool(self._first) and end <= self._at <= end + self._length
        self._length = min(_LARGEST_RANGE, 4 * self._length) if goes_on else _FIRST_RANGE
        start = self._at if self._first else 0
        data = self._get(start, min(self._size, max(self._at + wanted, start + self._length)))
        if self._first:
            self._start, self._range = start, data
        else:
            self._first = data
        return memoryview(data)[self._at - start : self._at - start + wanted]

    def _get(self, start: int, end: int) -> bytes:
        try:
            data = self._bucket.get(self._key, etag=self._etag, start=start, end=end)
        except StoreError as error:
            self.failure = error
            gone = isinstance(error, ObjectChanged | ObjectMissing)
            raise OSError(errno.EIO, "it changed while the run was under way" if gone else str(error)) from None
        if len(data) != end - start:
            self.failure = StoreError(f"{self._key!r}: the store gave {len(data):,} bytes of {end - start:,}")
            raise OSError(errno.EIO, str(self.failure))
        return data


def _buffered(file: _ObjectFile) -> BinaryIO:
    """`file` with a small buffer: parsers read a few bytes at a time."""
    return cast("BinaryIO", io.BufferedReader(file, 1 << 14))


class ObjectBody:
    """A photo in a bucket, fetched when its turn in a request comes.

    Args:
        bucket: where it is.
        key: of the object.
        file: the photo.
        size: bytes that are sent: all of it, or its beginning.
        content_type: of the photo.

    Attributes:
        digest: of the content; None until it was read, where the ETag does not tell.
        read_whole: it is always fetched in pieces.
    """

    read_whole = None

    def __init__(self, bucket: Bucket, key: str, file: PhotoFile, *, size: int, content_type: str) -> None:
        self._bucket = bucket
        self._key = key
        self._file = file
        self.size = size
        self.content_type = content_type
        self.digest: bytes | None = _digest(file.version)

    async def read(self) -> AsyncIterator[bytes]:
        """The bytes in pieces, exactly `size` of them. `digest` is there before the last piece is.

        Raises:
            PhotoRejected: it has changed since it was probed, or may not be read.
            StoreError: the store does not answer.
        """
        pieces = self._pieces()
        left, digest = self.size, hashlib.sha256() if self.digest is None else None
        sent: list[bytes] = []
        while (piece := await _next(pieces)) is not None:
            if digest is not None:
                digest.update(piece)
            if sent:
                yield sent.pop()
            if left:
                sent.append(piece[:left])
                left -= len(sent[0])
        if left:
            raise _changed()
        if digest is not None:
            self.digest = digest.digest()
        for piece in sent:
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        """The bytes of the object, all of them where they are hashed; blocks."""
        try:
            if self.digest is None or self.size == self._file.size:
                yield from self._bucket.stream(self._key, etag=self._file.version, piece=_PIECE_BYTES)
            else:
                yield self._bucket.get(self._key, etag=self._file.version, start=0, end=self.size)
        except StoreError as error:
            raise _rejected(error) from None


@partial(threaded, pool="fetching")
def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def _is_skipped(source: str, parts: Sequence[str]) -> bool:
    """Whether an object is skipped: for one of the `parts` of its name, or for a folder that is in another."""
    return any(part not in (".", "..") and is_skipped(part) for part in parts) or any(
        is_made_by_library(folder, name) for folder, name in pairwise((source, *parts[:-1]))
    )


def _changed() -> PhotoRejected:
    return PhotoRejected("it changed while the run was under way", type="changed")


def _rejected(error: StoreError) -> PhotoRejected | StoreError:
    """The error of one photo, or of the store when it is not the photo's."""
    if isinstance(error, ObjectChanged | ObjectMissing):
        return _changed()
    if isinstance(error, ObjectRefused):
        return PhotoRejected(f"it cannot be read: {error}", type="unreadable")
    return error


def _digest(etag: str) -> bytes | None:
    """What stands for the content of a photo with this ETag; None when the ETag does not depend on the content."""
    return hashlib.sha256(f"etag {etag.strip(chr(34))}".encode()).digest() if _CONTENT_ETAG.fullmatch(etag) else None


def _first(key: str, folder: str) -> str:
    """The first part of `key` below `folder`."""
    return key[len(folder) :].partition("/")[0]


def _split_pattern(prefix: str) -> tuple[str, list[str]]:
    """The folder that a pattern begins in, and the parts of the pattern."""
    parts = prefix.split("/")
    first = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:first]), parts[first:]


def _matches(states: Glob, key: str) -> bool:
    """Whether the pattern matches `key`, or a folder that it is in."""
    state = states.start
    for part in key.split("/"):
        state = states.step(state, part)
        if states.matched(state):
            return True
    return False
