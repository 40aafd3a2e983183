"""Where photos come from: the interface that the rest of the program uses, whatever the storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import BinaryIO, Protocol

from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.options import Limits

__all__ = ["PhotoBody", "PhotoSource", "Prober"]


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

    def reopen(self, file: PhotoFile) -> str | Callable[[], BinaryIO]:
        """The path of the photo, or what opens it: its metadata are read once there are outputs."""
        ...

    def digest(self, path: str, *, size: int, version: str) -> bytes:
        """What is equal for photos of the same content: 32 bytes, empty when the photo is gone or changed; blocks.

        Args:
            path: of the photo, see `PhotoFile.path`.
            size: bytes it had when it was found.
            version: its version then.
        """
        ...

    def version(self, file: PhotoFile) -> str | None:
        """The version that the photo has now, None when it cannot be looked at; blocks."""
        ...
