"""Where photos come from: what is known of one, and the interface of its source, whatever the storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import BinaryIO, Protocol

import msgspec

from smarty_async.archive.photos.probe import Probed
from smarty_async.options import Limits
from smarty_async.results import ErrorInfo

__all__ = ["PhotoBody", "PhotoFile", "PhotoSource", "Prober"]


class PhotoFile(msgspec.Struct, frozen=True, gc=False):
    """A file that may be a photo; whether it is an image, the probe says.

    Attributes:
        source: the source it was found in: an absolute path, or the address of a store. Bytes that are not UTF-8 are
            surrogate-escaped here, in `photo` and in `path`.
        photo: path relative to `source`, with ``/``.
        path: what to open: a path, or the address of an object.
        size: bytes.
        version: what changes when the file does, as text: its modification time in nanoseconds since 1970, or its ETag.
        problem: why it is not sent, None when it can be. A folder that cannot be read is reported this
            way too, with its own path as `photo` (``.`` for the source itself).
        page: which picture of a file that holds several, from 1.
        left_alone: whether it is not a photo, by its name and its first bytes (a note beside a photo, a video, a text),
            or a list names it and it is a result of a run.
    """

    source: str
    photo: str
    path: str
    size: int
    version: str
    problem: ErrorInfo | None = None
    page: int = 1
    left_alone: bool = False

    def other_pages(self, pages: int) -> list[PhotoFile]:
        """The other pictures of a file that holds `pages` of them; none for page 2 or later."""
        return [msgspec.structs.replace(self, page=page) for page in range(2, pages + 1)] if self.page == 1 else []


class PhotoBody(Protocol):
    """The bytes of a photo, read when its turn in a request comes."""

    size: int
    content_type: str
    digest: bytes | None
    """SHA-256 of the whole file, None until it was read."""

    def read(self) -> AsyncIterator[bytes]:
        """The bytes in pieces, exactly `size` of them.

        Raises:
            PhotoRejected: they cannot be read, or are no longer what was probed.
            StoreError: the store does not answer.
        """
        ...

    @property
    def read_whole(self) -> Callable[[], bytes] | None:
        """Reads a small photo at once, and blocks; raises as `read` does. None where `read` is the only way."""
        ...


class Prober(Protocol):
    """Looks into one photo. It can be pickled."""

    def __call__(self, *, limits: Limits, fit: bool) -> Probed:
        """What `PhotoSource.probe` does; blocks."""
        ...


class PhotoSource(Protocol):
    """Storage that photos are read from. Nothing in it is ever changed."""

    def check(self) -> None:
        """Make sure, before anything starts, that it can be scanned; blocks.

        Raises:
            OptionsError: it does not exist, cannot be read, or is among the outputs.
            ConfigurationError: it is in a store that cannot be used.
        """
        ...

    def warnings(self) -> list[str]:
        """What a person should know of the choice of sources, a sentence each; blocks."""
        ...

    def scan(self) -> Generator[list[PhotoFile], None, None]:
        """Everything in it that may be a photo, in batches; blocks.

        When the next photo has to be waited for (a list comes from a pipe), the batch ends early, and an empty one
        follows.
        """
        ...

    def stop(self) -> None:
        """Let `scan` end; it is called from another thread."""
        ...

    def probe(self, file: PhotoFile, *, limits: Limits, fit: bool) -> Awaitable[Probed]:
        """Look into a photo, and convert it where the service would not take it as it is.

        Raises:
            PhotoRejected: it cannot be sent.
            StoreError: the store does not answer.
        """
        ...

    def prober(self, file: PhotoFile) -> Prober:
        """What looks into a photo, here or in another process that sees it."""
        ...

    def body(self, file: PhotoFile, probed: Probed) -> PhotoBody:
        """What is sent of a photo that is sent as it is."""
        ...

    def reopen(self, file: PhotoFile) -> Callable[[], BinaryIO]:
        """Opens the photo: its metadata are read once there are outputs. OSError if it has changed by then."""
        ...

    def digest(self, path: str, *, size: int, version: str) -> bytes:
        """What is equal for photos of the same content: 32 bytes, empty when the photo is gone or changed; blocks.

        It is also empty for a photo that this source cannot read: the journal knows those of other runs' sources, too.

        Args:
            path: of the photo, see `PhotoFile.path`.
            size: bytes it had when it was found.
            version: its version then.
        """
        ...
