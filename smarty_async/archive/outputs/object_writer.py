"""Writes outputs into a bucket, where there is nothing, their predecessor, or an output of the same photo. Blocking."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.object_store import Bucket, ObjectExists
from smarty_async.archive.outputs.origin import METADATA_KEY, OutputOrigin
from smarty_async.archive.outputs.store import NameTaken, OutputRefused
from smarty_async.errors import StoreError
from smarty_async.results import Kind

__all__ = ["ObjectWriter"]

_NAME_STATUSES: Final = (400, 414)
"""Refusals that concern one key: the store takes others."""


class ObjectWriter:
    """Writes outputs under a prefix of a bucket.

    Args:
        bucket: the bucket and the prefix.
        conditional: whether the store keeps to conditional writes.
    """

    def __init__(self, bucket: Bucket, *, conditional: bool = True) -> None:
        self._bucket = bucket
        self._conditional = conditional

    def write(self, kind: Kind, place: str, output: StoredOutput, file: Path, origin: OutputOrigin | None) -> None:
        """Write one output.

        Args:
            kind: of the output.
            place: of the photo's outputs.
            output: what is known of it.
            file: what holds it.
            origin: what it is made of, which is noted beside it.

        Raises:
            NameTaken: something else is there.
            OutputRefused: the store does not take this one.
            StoreError: the store refuses.
        """
        try:
            self._write(f"{kind}/{place}", output, file, origin)
        except StoreError as error:
            if error.status in _NAME_STATUSES:
                raise OutputRefused(str(error)) from None
            raise

    def _write(self, key: str, output: StoredOutput, file: Path, origin: OutputOrigin | None) -> None:
        metadata = {} if origin is None else origin.metadata()
        found = self._bucket.head(key) if output.replaces is not None or not self._conditional else None
        try:
            if found is None:
                self._bucket.put(key, file, content_type="image/jpeg", metadata=metadata, create=self._conditional)
                return
        except ObjectExists:
            found = self._bucket.head(key)
        if found is not None and found.etag.strip('"') == _md5(file):
            return  # put by a try whose answer was lost, or by an earlier run
        if found is not None and found.size != output.replaces and not self._is_of_photo(key, origin):
            message = f"{self._bucket.address.url_of(key)!r} is an object that no run made, or that was changed since"
            raise NameTaken(f"{message}: move it away, and run again")
        replaces = found.etag if found is not None and self._conditional else None
        self._bucket.put(key, file, content_type="image/jpeg", metadata=metadata, replaces=replaces)

    def _is_of_photo(self, key: str, origin: OutputOrigin | None) -> bool:
        """Whether the object is an output of the same photo: a run whose journal is lost made it."""
        known = OutputOrigin.read(self._bucket.about(key, name=METADATA_KEY))
        return origin is not None and known is not None and known.is_of(origin)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
