"""What an object store refuses, from obstore's exceptions to one sentence. Pure.

obstore puts the store's answer, addresses and notes for developers into the text of an exception. Of that, only the
HTTP status and the store's own error code get into a message.
"""

from __future__ import annotations

import re
from typing import Final

from smarty_async.errors import StoreError
from smarty_async.store_address import StoreAddress

__all__ = ["ObjectChanged", "ObjectExists", "ObjectMissing", "UnlistableKey", "store_error"]

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

_INVALID_PATH: Final = re.compile(r'path: "((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\u\{([0-9a-f]{1,6})\}|\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


class ObjectMissing(StoreError):
    """There is no such object."""


class ObjectChanged(StoreError):
    """The object is no longer the one with the ETag that was asked for."""


class ObjectExists(StoreError):
    """There is an object with the key that was to be created."""


class UnlistableKey(StoreError):
    """A key that obstore cannot represent ends a listing.

    Attributes:
        key: the key, whole.
    """

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


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
    return _of_an_object(type(error).__name__, text, what, address, has_key=bool(key), code=code) or _of_the_store(
        error, what, address, status=status, code=code
    )


def _of_an_object(
    name: str, text: str, what: str, address: StoreAddress, *, has_key: bool, code: str
) -> StoreError | None:
    """The error when it concerns one object, whether it is there; None when it does not."""
    if name == "InvalidPathError" and (found := _INVALID_PATH.search(text.partition("Debug source:")[2])):
        key = _ESCAPE.sub(_unescaped, found[1])
        return UnlistableKey(f"the key {key!r} in {address.bucket_url!r} cannot be listed: rename the object", key=key)
    if name == "AlreadyExistsError":
        return ObjectExists(f"{what}: it exists", 412)
    if name == "PreconditionError":
        return ObjectChanged(f"{what}: it has changed", 412)
    if has_key and name in ("NotFoundError", "FileNotFoundError") and code != "NoSuchBucket":
        return ObjectMissing(f"{what}: it is not there (404)", 404)
    return None


def _of_the_store(error: Exception, what: str, address: StoreAddress, *, status: str, code: str) -> StoreError:
    text, answer = str(error), " ".join(filter(None, (status, code)))
    if code == "NoSuchBucket" or (status == "404" and not code):
        return StoreError(f"there is no bucket {address.bucket!r} (404 NoSuchBucket): check the address", 404)
    if not code and _NO_CREDENTIALS.search(text):
        return StoreError(f"there are no credentials for {str(address)!r}: set {_CREDENTIALS[address.scheme]}")
    if status in _DENIED:
        way_out = "check the keys" if code.startswith(("Sig", "Inv")) else "these credentials do not allow it"
        return StoreError(f"{what}: {answer}: {way_out}", int(status))
    if answer:
        return StoreError(f"{what}: the store answers {answer}", int(status) if status else None)
    return StoreError(f"{what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What obstore says, without addresses and its notes for developers."""
    first = str(error).partition("\n")[0]
    if "builder error" in first:
        return "its endpoint is no https:// address; AWS_ALLOW_HTTP=true allows plain http"
    if "HTTP error" in first:
        return "the store cannot be reached: check its endpoint and the network"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return re.sub(r"\w+://\S+", "…", first)[:200]


def _unescaped(found: re.Match[str]) -> str:
    """The character that Rust's debug format has escaped."""
    return chr(int(found[1], 16)) if found[1] else _ESCAPES.get(found[2], found[2])
