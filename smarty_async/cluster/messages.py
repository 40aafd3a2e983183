"""What the caller and its workers tell each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from smarty_async.archive.entries import PhotoEntry, StoredOutput
from smarty_async.archive.journal.records import key_of
from smarty_async.errors import (
    AuthorizationError,
    ConfigurationError,
    DiskError,
    NotTheService,
    PhotoRejected,
    RequestError,
    RequestRefused,
    SmartyError,
    StoreError,
)
from smarty_async.options import ModeSpec, Timeouts
from smarty_async.results import Kind
from smarty_async.transport.body import Body, BodyFailed
from smarty_async.transport.response import OutputEditor
from smarty_async.wire.messages import Answered

if TYPE_CHECKING:
    from smarty_async.cluster.storage import ChunkStorage

__all__ = [
    "VERSION",
    "ChunkBegin",
    "ChunkEnd",
    "ChunkJob",
    "ChunkReport",
    "Failure",
    "FinishedItem",
    "PhotoKey",
    "Secret",
    "ServiceAddress",
]

VERSION: Final = version("smarty_async")
"""The version of the package; looked up once, because that reads files."""


class Secret:
    """A text that travels to a worker and shows in no `repr`, log or dashboard."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret()"


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a worker sends requests.

    Attributes:
        url: the service's address and path.
        provider: ``oauth_provider``.
        proxy: the proxy's address; None for that of the worker's environment.
        timeouts: when to stop waiting.
        max_output_bytes: what one output may decode to.
    """

    url: str
    provider: str
    proxy: Secret | None = None
    timeouts: Timeouts
    max_output_bytes: int


class ChunkJob(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as a worker gets it; it is pickled.

    Attributes:
        id: of the chunk: random, and no part of it tells what it carries.
        version: of the caller's package.
        service: where it is sent.
        token: what it is authorized with.
        specs: what is asked of each image.
        bodies: the images.
        editors: what is done to the outputs of each image.
        storage: where the outputs and the chunk's log go.
    """

    id: str
    version: str
    service: ServiceAddress
    token: Secret
    specs: tuple[ModeSpec, ...]
    bodies: Sequence[Body]
    editors: Sequence[OutputEditor | None]
    storage: ChunkStorage


_STORAGE: Final = frozenset({"body", "store", "disk"})
"""Kinds of `Failure` for which the worker's own mounts, credentials, clock or disk may be to blame."""

_Kind = Literal[
    "request", "body", "authorization", "refused", "address", "configuration", "store", "disk", "unexpected"
]

_PLAIN: Final[dict[_Kind, type[SmartyError]]] = {
    "authorization": AuthorizationError,
    "refused": RequestRefused,
    "address": NotTheService,
    "configuration": ConfigurationError,
    "store": StoreError,
    "disk": DiskError,
}
"""Errors that are a message and perhaps a status; a class is before those that it is derived from."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request failed: an error as data.

    Attributes:
        kind: the class of the error.
        message: its text, without secrets.
        status: `RequestError.status`, and those of its relatives.
        retry_after: `RequestError.retry_after`.
        enveloped: `RequestError.enveloped`.
        timed_out: `RequestError.timed_out`.
        number: of the image that could not be read.
        reason: `PhotoRejected.type` of that image; none when its store is to blame.
    """

    kind: _Kind
    message: str
    status: int | None = None
    retry_after: float | None = None
    enveloped: bool = False
    timed_out: bool = False
    number: int = 0
    reason: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The data of `error`, which `Connection.send` raised."""
        status: int | None = getattr(error, "status", None)
        if isinstance(error, RequestError):
            return cls(
                kind="request",
                message=str(error),
                status=status,
                retry_after=error.retry_after,
                enveloped=error.enveloped,
                timed_out=error.timed_out,
            )
        if isinstance(error, BodyFailed):
            why = error.error
            if isinstance(why, StoreError):
                return cls(kind="body", message=str(why), status=why.status, number=error.number)
            return cls(kind="body", message=why.message, number=error.number, reason=why.type)
        for kind, plain in _PLAIN.items():
            if isinstance(error, plain):
                return cls(kind=kind, message=str(error), status=status)
        return cls(kind="unexpected", message=f"{type(error).__name__}: {error}")

    @property
    def is_of_storage(self) -> bool:
        """Whether the worker could not read an image or store an output, and others perhaps can."""
        return self.kind in _STORAGE and (self.status or 0) < HTTPStatus.INTERNAL_SERVER_ERROR

    def error(self, *, sent: bool) -> Exception:
        """The error again.

        Args:
            sent: whether any of the request was.
        """
        match self.kind:
            case "request":
                return RequestError(
                    self.message,
                    status=self.status,
                    retry_after=self.retry_after,
                    enveloped=self.enveloped,
                    timed_out=self.timed_out,
                    sent=sent,
                )
            case "body":
                rejected = PhotoRejected(self.message, type=self.reason)
                return BodyFailed(self.number, rejected if self.reason else StoreError(self.message, self.status))
            case "unexpected":
                return SmartyError(f"an unexpected error on a worker, which is a bug: {self.message}")
            case kind:
                plain: Any = _PLAIN[kind]
                status = {} if self.status is None else {"status": self.status}
                return cast("SmartyError", plain(self.message, **status))


class PhotoKey(msgspec.Struct, frozen=True, array_like=True):
    """Which photo an item is, by the journal's columns; paths are bytes, which JSON has as Base64.

    Attributes:
        source: of the photo.
        photo: its path relative to that, and the page.
        place: of its outputs.
        size: bytes.
        version: of the photo.
    """

    source: bytes
    photo: bytes
    place: bytes
    size: int
    version: str

    @classmethod
    def of(cls, entry: PhotoEntry) -> PhotoKey:
        """The photo of `entry`."""
        return cls(*key_of(entry.file), os.fsencode(entry.place), entry.file.size, entry.file.version)


class ChunkBegin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="begin"):
    """What a chunk carries: by this, a later run finds the photos of the answers that its caller did not take.

    Attributes:
        specs: the mode specs, as text.
        photos: the photos, in order.
        kinds: the kinds of output that are kept; all when empty.
    """

    specs: tuple[str, ...]
    photos: tuple[PhotoKey, ...]
    kinds: tuple[Kind, ...] = ()


class FinishedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="item"):
    """An answered item whose outputs are durable.

    Attributes:
        answered: the item.
        outputs: its outputs; empty for an answer that is not used.
        stored: whether the outputs are at their places. Else they are in temporary files, or beside the logs.
        digest: SHA-256 of the photo's file, None when it is not known.
        warnings: what `OutputEditor` warned of.
    """

    answered: Answered
    outputs: dict[Kind, StoredOutput] = {}
    stored: bool = False
    digest: bytes | None = None
    warnings: tuple[str, ...] = ()


class ChunkEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="end"):
    """How a request ended.

    Attributes:
        seconds: how long it took.
        sent: whether any of it was.
        bytes_sent: bytes of its body.
        bytes_received: bytes of its answer.
        failure: why it failed, None when it did not.
    """

    seconds: float
    sent: bool
    bytes_sent: int = 0
    bytes_received: int = 0
    failure: Failure | None = None


class ChunkReport(msgspec.Struct, frozen=True):
    """What became of a chunk.

    Attributes:
        items: what was answered.
        end: how the request ended; None when it has not, as far as is known.
        refused: why it was not begun, None when it was.
        suspect: the address of the worker, when it could not begin the chunk, read an image or store an output: the
            caller finds out whether the worker is to blame. Empty when nothing like that happened.
        begin: what it carries, where its log tells.
    """

    items: Sequence[FinishedItem] = ()
    end: ChunkEnd | None = None
    refused: str | None = None
    suspect: str = ""
    begin: ChunkBegin | None = None

    @property
    def unplaced(self) -> set[str]:
        """The names of images that have an output which is not stored at its place: all modes of one go to another."""
        return {item.answered.name for item in self.items if item.outputs and not item.stored}
