"""Addresses of storage: ``s3://bucket/folder``, ``gs://`` and ``az://``; ``file://`` is a path. Pure."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Self
from urllib.request import url2pathname

import msgspec

from smarty_async.errors import OptionsError
from smarty_async.redaction import address_without_secrets

__all__ = ["StoreAddress", "is_made_of_store_address", "is_store_address", "local_path"]

_SCHEMES: Final = ("s3", "gs", "az")
"""Kinds of object store: S3 (and all that speak it), Google Cloud Storage, Azure Blob Storage."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_URL_AS_PATH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""A URL from which `pathlib.Path` has removed a slash; or a path below a folder whose name ends in a colon."""


class StoreAddress(msgspec.Struct, frozen=True):
    """A folder in a bucket, or one object. Keys are taken literally: nothing in them is escaped.

    Attributes:
        scheme: ``s3``, ``gs`` or ``az``.
        bucket: the bucket; Azure's container.
        prefix: the folder, without a slash at its ends; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address in `text`.

        Raises:
            OptionsError: it is none, or holds credentials.
        """
        scheme, _, rest = text.partition("://")
        bucket, _, prefix = rest.partition("/")
        if "@" in bucket or not re.fullmatch(r"[\w.-]+", bucket):
            shown = f"{scheme}://…" if "@" in rest else text
            raise OptionsError(
                f"{shown!r} is no address of a bucket: write {scheme.lower()}://bucket/folder, with no key or password"
            )
        prefix = prefix.strip("/")
        if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
            raise OptionsError(f"{text!r} has a part that is empty, '.' or '..': no key with one can be read")
        return cls(scheme.lower(), bucket, prefix)

    def __str__(self) -> str:
        return self.url_of("").rstrip("/")

    @property
    def bucket_url(self) -> str:
        """The address of the whole bucket."""
        return f"{self.scheme}://{self.bucket}"

    def key(self, relative: str) -> str:
        """The key of what is called `relative` in this folder."""
        return f"{self.prefix}/{relative}" if self.prefix else relative

    def relative(self, key: str) -> str:
        """What the object with this key is called in this folder."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    def url_of(self, relative: str) -> str:
        """The address of what is called `relative` in this folder."""
        return f"{self.bucket_url}/{self.key(relative)}"


def is_store_address(text: str | os.PathLike[str]) -> bool:
    """Whether `text` is the address of a bucket, and no path."""
    found = _URL.match(text) if isinstance(text, str) else None
    return found is not None and found[1].lower() in _SCHEMES


def is_made_of_store_address(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the address of a bucket, or a `pathlib.Path` made of one, which has lost a slash."""
    found = _URL_AS_PATH.match(os.fspath(path).replace(os.sep, "/"))
    return found is not None and found[1] in _SCHEMES


def local_path(path: str | os.PathLike[str], *, option: str) -> str:
    """`path` as text, also where it is given as a ``file://`` URL.

    Any other URL is refused: ``ftp://host`` would become a folder called ``ftp:``. So is an empty text, such as that of
    a variable that is not set: it would be the working folder. So is ``~`` that no shell has replaced, unless there is
    a folder called so.

    Args:
        path: a path that the caller gave.
        option: what the caller gave it for (``--out``), for the message.

    Raises:
        OptionsError: it is empty, begins with a ``~`` that was not replaced, is a URL of something else, or a
            `pathlib.Path` that was made of a URL.
    """
    text = os.fspath(path)
    if not text:
        raise OptionsError(f"{option} is empty: name a folder or a file")
    spelled = text.replace(os.sep, "/")
    if spelled.partition("/")[0] == "~" and not Path("~").exists():
        raise OptionsError(f"{option} {text!r} begins with '~', which the shell has not replaced: write the whole path")
    found = _URL.match(spelled)
    if found is None and not isinstance(path, str):
        found = _URL_AS_PATH.match(spelled)
        if found and Path(f"{found[1]}:").exists():
            return text
    if found is None:
        return text
    scheme = found[1].lower()
    if scheme == "file" and isinstance(path, str):
        host, slash, name = text[found.end() :].partition("/")
        if not slash or host not in ("", "localhost"):
            raise OptionsError(f"{option} {text!r} names another machine: write file:///folder, or the path alone")
        return url2pathname(f"/{name}")
    if scheme in _SCHEMES and isinstance(path, str):
        raise OptionsError(f"{option} takes a folder, and {text!r} is in a bucket")
    if scheme in (*_SCHEMES, "file"):
        raise OptionsError(f"{option} {text!r} is a path made of a URL: give the URL as text")
    shown = address_without_secrets(f"{found[1]}://{spelled[found.end() :].lstrip('/')}")  # a Path has lost a slash
    kinds = ", ".join(f"{kind}://" for kind in _SCHEMES)
    raise OptionsError(
        f"{option} takes a path, file:// or {kinds}: {scheme}:// is not supported, but {shown!r} was given"
    )
