"""Buckets of an object store (S3, GCS, Azure), through obstore, whose one importer this is. Everything here blocks.

obstore's blocking calls are used, in our own threads: with its asynchronous ones the interpreter aborted at exit in 9
of 25 short runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from smarty_async.archive.s3 import aws_profile, list_any_key
from smarty_async.errors import ConfigurationError, MissingExtra, StoreError
from smarty_async.options import is_loopback
from smarty_async.store_address import StoreAddress

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = [
    "Bucket",
    "ObjectChanged",
    "ObjectExists",
    "ObjectMissing",
    "ObjectRefused",
    "StoredObject",
    "UnlistableKey",
    "store_error",
]

PAGE: Final = 1000
"""Keys in one answer to a LIST request, at most; what all stores give."""

_TIMEOUT, _CONNECT_TIMEOUT = "300s", "10s"
_BACKOFF: Final = {"init_backoff": timedelta(seconds=0.2), "base": 3, "max_backoff": timedelta(seconds=5)}
_RETRIES: Final = {"max_retries": 1000, "retry_timeout": timedelta(seconds=120), "backoff": _BACKOFF}
"""The time ends the retries: a store may ask to slow down for a minute. obstore takes each wait at random, up
to `base` times the last one: with a base of 2 they hardly grow."""
_PREFIXES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CLIENT_OPTIONS: Final = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "proxy_ca_certificate"),
    *("proxy_excludes", "proxy_url", "timeout", "user_agent"),
)
"""Options of obstore's client that a variable of the environment may hold: ``AWS_ALLOW_HTTP`` …"""

_FIRST_RETRIES: Final = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
"""At the start a wrong address shows itself soon; without keys, the cloud's metadata address is asked that often."""


class StoredObject(msgspec.Struct, frozen=True, gc=False):
    """An object of a bucket.

    Attributes:
        key: relative to the prefix of its `Bucket`.
        size: bytes.
        etag: its entity tag as the store spells it; where there is none, its time.
    """

    key: str
    size: int
    etag: str


class Bucket:
    """The keys under one prefix of a bucket. It may be used from several threads.

    Nothing is opened before it is used. A pickle holds the address and the options that were given, and nothing that
    the environment or a profile gave.

    Args:
        address: of the bucket and the prefix.
        options: for obstore's constructor of the store: ``endpoint``, ``region``, ``access_key_id``,
            ``credential_provider``, ``client_options`` …
    """

    def __init__(self, address: StoreAddress, options: Mapping[str, Any] | None = None) -> None:
        self.address = address
        self._options = dict(options or {})

    def __repr__(self) -> str:
        return f"Bucket({str(self.address)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Bucket, (self.address, self._options)

    # what is there

    def check(self) -> None:
        """List one key, with few retries, to learn whether the bucket is there and may be used.

        Raises:
            MissingExtra: obstore is not installed.
            ConfigurationError: there is no such bucket, no credentials, or they do not allow it.
        """
        try:
            with self._translated("list"):
                store: Any = self._opened(_FIRST_RETRIES)
                stream = store.list(prefix=self.address.prefix or None, chunk_size=1)
                next(iter(stream), None)
        except UnlistableKey:
            pass
        except StoreError as error:
            raise ConfigurationError(str(error)) from None

    def pages(self, *, under: str = "", after: str = "") -> Iterator[list[StoredObject]]:
        """All objects in pages, in the order of their keys, as the store gives them.

        Args:
            under: only those below this folder; empty for all.
            after: only those whose keys follow this one.

        Raises:
            UnlistableKey: obstore cannot represent a key, and `list_any_key` cannot list it.
            StoreError: the store refuses.
        """
        try:
            for page in self._obstore_pages(under, after):
                yield page
                after = page[-1].key if page else after
        except UnlistableKey as odd:
            if self.address.scheme != "s3":
                raise
            folder, last = self.address.key(under) if under else self.address.prefix, self.address.key(after)
            address = msgspec.structs.replace(self.address, prefix="")
            for keys in list_any_key(address, self.config, folder=folder, after=last if after else "", odd=odd):
                yield [StoredObject(self.address.relative(one.key), one.size, one.etag) for one in keys]

    def _obstore_pages(self, under: str, after: str) -> Iterator[list[StoredObject]]:
        """The pages of obstore's listing."""
        folder = self.address.key(under) if under else self.address.prefix
        offset = self.address.key(after) if after else None
        with self._translated("list"):
            pages = iter(self._store.list(prefix=folder or None, offset=offset, chunk_size=PAGE))
        while True:
            with self._translated("list"):
                page: Sequence[Any] | None = next(pages, None)
            if page is None:
                return
            yield [self._object(meta) for meta in page]

    def head(self, key: str) -> StoredObject | None:
        """The object with this key, None when there is none."""
        try:
            with self._translated("read", key):
                return self._object(self._store.head(self.address.key(key)))
        except ObjectMissing:
            return None

    def about(self, key: str, *, name: str) -> str | None:
        """The user's metadata `name` of the object; None when it, or the object, is not there."""
        try:
            with self._translated("read", key):
                attributes = self._store.get(self.address.key(key), options={"head": True}).attributes
        except ObjectMissing:
            return None
        found: str | None = attributes.get(name)
        return found

    # reading

    def get(self, key: str, *, etag: str | None = None, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of an object, or those from `start` to before `end`.

        Raises:
            ObjectMissing: there is none.
            ObjectChanged: it is no longer the one with this `etag`.
            StoreError: the store refuses.
        """
        options: Any = {"if_match": etag} if etag else {}
        if end is not None:
            options["range"] = (start, end)
        with self._translated("read", key):
            return bytes(self._store.get(self.address.key(key), options=options).bytes())

    def stream(self, key: str, *, etag: str | None = None, piece: int = 1 << 20) -> Iterator[bytes]:
        """The bytes of an object in pieces of about `piece` bytes; raises as `get` does."""
        with self._translated("read", key):
            result = self._store.get(self.address.key(key), options={"if_match": etag} if etag else {})
            pieces = iter(result.stream(min_chunk_size=piece))
        while True:
            with self._translated("read", key):
                data: Any = next(pieces, None)
            if data is None:
                return
            yield bytes(data)

    # writing

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        create: bool = False,
        replaces: str | None = None,
    ) -> str:
        """Write an object, all or nothing.

        Args:
            key: of the object.
            data: its bytes, or the file that holds them.
            content_type: of the object.
            metadata: the user's metadata, in ASCII.
            create: only if there is no object with this key. Such a PUT is one request, whatever the size.
            replaces: only if the object has this ETag.

        Returns:
            The ETag.

        Raises:
            ObjectExists: `create`, and there is one.
            ObjectChanged: `replaces`, and there is another one.
            StoreError: the store refuses.
        """
        mode: Any = "create" if create else "overwrite" if replaces is None else {"e_tag": replaces}
        attributes: Any = {"Content-Type": content_type, **(metadata or {})}
        with self._translated("write", key):
            result = self._store.put(self.address.key(key), data, attributes=attributes, mode=mode)
        return str(result["e_tag"])

    def delete(self, *keys: str) -> None:
        """Remove objects; those that are not there do not matter."""
        with self._translated("remove", keys[0] if keys else ""):
            self._store.delete([self.address.key(key) for key in keys])

    # obstore

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of an S3 store, its keys among them: those of the environment, and those that were given."""
        found: dict[str, Any] = {
            name.removeprefix("AWS_").lower(): value for name, value in os.environ.items() if name[:4] == "AWS_"
        }
        found["region"] = found.get("region") or found.get("default_region")
        found["endpoint"] = _endpoint_of_environment()
        given = cast("Mapping[str, Any]", self._store.config)
        return {**found, **{name.removeprefix("aws_"): value for name, value in given.items()}}

    @cached_property
    def _store(self) -> Any:  # obstore's types leave some of its calls open
        return self._opened(_RETRIES)

    def _opened(self, retries: Mapping[str, Any]) -> ObjectStore:
        try:
            from obstore.store import from_url  # noqa: PLC0415 - an extra
        except ImportError:
            raise MissingExtra("storage in a bucket needs obstore, which", "store") from None
        options: dict[str, Any] = {**self._options}
        if self.address.scheme == "s3":
            options = {**aws_profile(options), **options}
        client: dict[str, Any] = {"timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT}
        client |= _client_options_of_environment(self.address.scheme) | options.pop("client_options", {})
        endpoint = options.get("endpoint") or options.get("aws_endpoint") or _endpoint_of_environment()
        if is_loopback(urlsplit(endpoint).hostname or ""):  # plain http gives nothing away
            client.setdefault("allow_http", True)
        options.setdefault("retry_config", retries)
        try:
            with self._translated("open"):
                return from_url(self.address.bucket_url, client_options=cast("Any", client), **options)
        except StoreError as error:
            raise ConfigurationError(str(error)) from None

    def _object(self, meta: Any) -> StoredObject:
        return StoredObject(
            self.address.relative(meta["path"]), meta["size"], meta["e_tag"] or meta["last_modified"].isoformat()
        )

    @contextmanager
    def _translated(self, doing: str, key: str = "") -> Generator[None]:
        """Translate obstore's errors, and those of Python that it raises."""
        try:
            yield
        except (StoreError, ConfigurationError):
            raise
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001 - obstore's tree, and OSError, ValueError, FileNotFoundError
            raise store_error(error, doing=doing, address=self.address, key=key) from None


def _client_options_of_environment(scheme: str) -> dict[str, str]:
    """How to connect, as the environment says: where obstore is given any such option, it leaves out all of these."""
    variables = {f"{_PREFIXES[scheme]}_{option.upper()}": option for option in _CLIENT_OPTIONS}
    return {option: os.environ[name] for name, option in variables.items() if os.environ.get(name)}


def _endpoint_of_environment() -> str:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


# What a store refuses. obstore puts the store's answer, addresses and notes for developers into the text of an
# exception. Of that, only the HTTP status and the store's own error code get into a message.

_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""The variables of the environment with the credentials of each kind of store."""

_NO_CREDENTIALS: Final = re.compile(
    r"169\.254\.1[67]|/latest/(api/token|meta-data)|metadata\.google|token request|Account must be|credential",
    re.IGNORECASE,
)
"""Without credentials, obstore asks the address where machines of a cloud learn theirs."""
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
_DENIED: Final = ("401", "403")

_WAYS_OUT: Final = {
    re.compile("RequestTimeTooSkewed|RequestExpired"): "the machine's clock is wrong",
    re.compile("Expired|InvalidToken|TokenRefresh"): "the credentials have expired: renew them",
    re.compile("AuthorizationHeaderMalformed|IllegalLocation"): "the bucket is in another region: set AWS_REGION",
    re.compile("InvalidObjectState|BlobArchived"): "it is archived: have the store bring it back first",
    re.compile("Sig|InvalidAccessKeyId|InvalidSecurity"): "check the keys",
}
"""What to do, by how a store's error code begins; the first that fits counts.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

_UNREADABLE: Final = ("403", "416")
_NOT_OF_AN_OBJECT: Final = re.compile("A(ll|ccount|uth)|Expired|Inv(?!alidObjectState|alidRange)|Not|Request|Sig|Token")
"""How codes begin with which no object can be read: of keys, of the clock, of the account."""
_UNWRITABLE: Final = ("400", "414")
_OF_A_KEY: Final = re.compile("|.*(?<!Bucket)Name|Key.*|InvalidU.*|OutOfRange.*|.*TooLarge")
"""Codes with which one object is not written; all others of 400 (``ExpiredToken``, ``RequestTimeout``) would come for
every other object, too, and each is paid for before it is stored."""

_INVALID_PATH: Final = re.compile(r'path: "((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\u\{([0-9a-f]{1,6})\}|\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


class ObjectMissing(StoreError):
    """There is no such object."""


class ObjectChanged(StoreError):
    """The object is no longer the one with the ETag that was asked for."""


class ObjectExists(StoreError):
    """There is an object with the key that was to be created."""


class ObjectRefused(StoreError):
    """The store refuses this object alone: it may not be read, or there can be no such key."""


class UnlistableKey(StoreError):
    """A key that obstore cannot represent ends a listing."""


def store_error(error: Exception, *, doing: str, address: StoreAddress, key: str = "") -> StoreError:
    """The error for what obstore raised.

    Args:
        error: an exception of obstore's tree, or one of Python that it raises.
        doing: what was done: ``list``, ``read``, ``write``, ``remove`` or ``open``.
        address: of the bucket and the prefix.
        key: of the object, relative to the prefix; empty when it was none.
    """
    text = str(error)
    status, code = (found[1] if (found := pattern.search(text)) else "" for pattern in (_STATUS, _CODE))
    what = f"cannot {doing} {address.url_of(key) if key else str(address)!r}"
    known = _of_an_object(type(error).__name__, text, what, address, has_key=bool(key), code=code)
    if known is not None:
        return known
    refused = _of_the_store(error, what, address, status=status, code=code)
    concerns_it_alone = bool(key) and _concerns_object(doing, status, code)
    return ObjectRefused(str(refused), refused.status) if concerns_it_alone else refused


def _of_an_object(
    name: str, text: str, what: str, address: StoreAddress, *, has_key: bool, code: str
) -> StoreError | None:
    """The error when it concerns one object, whether it is there; None when it does not."""
    if name == "InvalidPathError" and (found := _INVALID_PATH.search(text.partition("Debug source:")[2])):
        key = _ESCAPE.sub(_unescaped, found[1])
        return UnlistableKey(f"the key {key!r} in {address.bucket_url!r} cannot be listed: rename the object")
    if name == "AlreadyExistsError":
        return ObjectExists(f"{what}: it exists", 412)
    if name == "PreconditionError":
        return ObjectChanged(f"{what}: it has changed", 412)
    if has_key and name in ("NotFoundError", "FileNotFoundError") and code != "NoSuchBucket":
        return ObjectMissing(f"{what}: it is not there (404)", 404)
    return None


def _concerns_object(doing: str, status: str, code: str) -> bool:
    """Whether an answer to the reading or writing of an object concerns that object alone."""
    if doing == "write":
        return status in _UNWRITABLE and _OF_A_KEY.fullmatch(code) is not None
    return doing == "read" and status in _UNREADABLE and not _NOT_OF_AN_OBJECT.match(code)


def _of_the_store(error: Exception, what: str, address: StoreAddress, *, status: str, code: str) -> StoreError:
    text, answer = str(error), " ".join(filter(None, (status, code)))
    if code == "NoSuchBucket" or (status == "404" and not code):
        return StoreError(f"there is no bucket {address.bucket!r} (404 NoSuchBucket): check the address", 404)
    if not code and _NO_CREDENTIALS.search(text):
        return StoreError(f"there are no credentials for {str(address)!r}: set {_CREDENTIALS[address.scheme]}")
    way_out = next((way for pattern, way in _WAYS_OUT.items() if pattern.match(code)), "")
    if status in _DENIED:
        way_out = way_out or "these credentials do not allow it"
    if way_out and answer:
        return StoreError(f"{what}: {answer}: {way_out}", int(status) if status else None)
    if answer:
        return StoreError(f"{what}: the store answers {answer}", int(status) if status else None)
    return StoreError(f"{what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What obstore says, without addresses and its notes for developers."""
    first = str(error).partition("\n")[0]
    if "builder error" in first:
        return "its endpoint is no https:// address; AWS_ALLOW_HTTP=true allows plain http"
    if "redirect without LOCATION" in first:
        return "the bucket is in another region: set AWS_REGION"
    if "HTTP error" in first:
        return "the store cannot be reached: check its endpoint and the network"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return re.sub(r"\w+://\S+", "…", first)[:200]


def _unescaped(found: re.Match[str]) -> str:
    """The character that Rust's debug format has escaped."""
    return chr(int(found[1], 16)) if found[1] else _ESCAPES.get(found[2], found[2])
