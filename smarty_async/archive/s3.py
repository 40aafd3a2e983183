"""What obstore lacks for S3: listing keys that it cannot represent, and the keys of an AWS profile. Blocking.

Keys such as ``a//b``, ``./`` and those with control characters end obstore's listing. The request is S3's
ListObjectsV2, signed with AWS Signature Version 4. obstore reads the environment, and not ``~/.aws``.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser, Error
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from smarty_async.errors import StoreError
from smarty_async.store_address import StoreAddress

__all__ = ["ListedKey", "aws_profile", "is_odd_key", "list_any_key"]

_ODD: Final = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|$)")
"""A control character, or a part that is empty, ``.`` or ``..``."""
_NO_BYTES: Final = hashlib.sha256(b"").hexdigest()
_TIMEOUT: Final = 60.0
_TRIES: Final = 5
_FIRST_WAIT: Final = 1.0
_SERVER_ERROR: Final = 500


class ListedKey(NamedTuple):
    """A key in a listing.

    Attributes:
        key: in the whole bucket.
        size: bytes.
        etag: as the store spells it.
    """

    key: str
    size: int
    etag: str


def is_odd_key(key: str) -> bool:
    """Whether obstore cannot represent `key`, so that nothing can read the object."""
    return _ODD.search(key) is not None


def list_any_key(
    address: StoreAddress, config: Mapping[str, Any], *, folder: str, after: str, odd: StoreError
) -> Iterator[list[ListedKey]]:
    """All keys below `folder`, a page at a time, whatever they are made of.

    Args:
        address: of the bucket.
        config: what its store was opened with, as obstore has it.
        folder: in the whole bucket, without a slash at its ends; empty for all.
        after: only keys that follow this one.
        odd: the key that obstore could not list.

    Raises:
        UnlistableKey: `odd`, where keys to sign with are not in `config`: they come from the cloud's own machines.
        StoreError: the store refuses.
    """
    signer = _Signer.of(config)
    if signer is None and not config.get("skip_signature"):
        raise odd
    query = {"list-type": "2", "encoding-type": "url"}
    query |= {"prefix": f"{folder}/"} if folder else {}
    query |= {"start-after": after} if after else {}
    while True:
        root = _answer(_url_of(address.bucket, config), query, signer, address)
        namespace = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        yield [
            ListedKey(
                unquote_plus(one.findtext(f"{namespace}Key", "")),
                int(one.findtext(f"{namespace}Size", "0")),
                one.findtext(f"{namespace}ETag", ""),
            )
            for one in root.iter(f"{namespace}Contents")
        ]
        token = root.findtext(f"{namespace}NextContinuationToken")
        if not token:
            return
        query["continuation-token"] = token


def _url_of(bucket: str, config: Mapping[str, Any]) -> str:
    """The address of the bucket."""
    region, endpoint = config.get("region") or "us-east-1", str(config.get("endpoint") or "").rstrip("/")
    if str(config.get("virtual_hosted_style_request", "")).lower() == "true":
        return f"{endpoint or f'https://{bucket}.s3.{region}.amazonaws.com'}/"
    return f"{endpoint or f'https://s3.{region}.amazonaws.com'}/{bucket}"


def _answer(url: str, query: Mapping[str, str], signer: _Signer | None, address: StoreAddress) -> ET.Element:
    parameters = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
    retrying = Retrying(
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential(_FIRST_WAIT, max=10),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    try:
        return retrying(_ask, f"{url}?{parameters}", signer)
    except HTTPError as error:
        raise StoreError(f"cannot list {str(address)!r}: the store answers {error.code}", error.code) from None
    except (OSError, ET.ParseError):
        raise StoreError(f"cannot list {str(address)!r}: the store cannot be reached") from None


def _ask(url: str, signer: _Signer | None) -> ET.Element:
    headers = {} if signer is None else signer.headers(url, datetime.now(UTC))
    try:
        with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as answer:  # noqa: S310 - the store's own address
            return ET.fromstring(answer.read())  # noqa: S314 - as above
    except HTTPError as error:
        error.close()  # it holds the connection
        raise


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, OSError) and (not isinstance(error, HTTPError) or error.code >= _SERVER_ERROR)


class _Signer(NamedTuple):
    """Signs requests without a body. A lasting key has no `token`."""

    key: str
    secret: str
    token: str | None
    region: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> _Signer | None:
        """The signer for what a store was opened with; None when that has no keys."""
        key, secret = config.get("access_key_id"), config.get("secret_access_key")
        token = config.get("token") or config.get("session_token")
        return cls(key, secret, token, str(config.get("region") or "us-east-1")) if key and secret else None

    def headers(self, url: str, now: datetime) -> dict[str, str]:
        """The headers of a GET of `url`, whose query is in canonical form."""
        parts, time = urlsplit(url), now.strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": parts.netloc, "x-amz-content-sha256": _NO_BYTES, "x-amz-date": time}
        headers |= {"x-amz-security-token": self.token} if self.token else {}
        names, lines = ";".join(headers), "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = "\n".join(("GET", quote(parts.path), parts.query, lines, names, _NO_BYTES))
        scope = f"{time[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(("AWS4-HMAC-SHA256", time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        authorization = f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return headers | {"authorization": authorization}


_FIELDS: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
"""What of a profile an S3 store is opened with, by its name in the files and in obstore."""
_KEYS: Final = ("access_key_id", "aws_access_key_id", "credential_provider", "skip_signature", "aws_skip_signature")
_KEY_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def aws_profile(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The settings of the profile ``AWS_PROFILE`` (or ``default``), as options of an S3 store.

    None when `options` or the environment say with which keys to sign. The files are those of ``AWS_CONFIG_FILE`` and
    ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/config`` and ``~/.aws/credentials``; what they lack, or a file that
    cannot be read, is left out.
    """
    if any(name in options for name in _KEYS) or any(environ.get(name) for name in _KEY_VARIABLES):
        return {}
    name = environ.get("AWS_PROFILE") or "default"
    found: dict[str, Any] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        profiles = ConfigParser(interpolation=None)
        try:
            profiles.read(environ.get(variable) or Path("~/.aws", file).expanduser(), encoding="utf-8")
        except (Error, OSError, RuntimeError, UnicodeError):
            continue
        if profiles.has_section(section):
            found |= {_FIELDS[key]: value for key, value in profiles[section].items() if key in _FIELDS}
    for option, variable in (
        ("region", "AWS_REGION"),
        ("region", "AWS_DEFAULT_REGION"),
        ("endpoint", "AWS_ENDPOINT_URL"),
    ):
        if environ.get(variable):  # which counts more
            found.pop(option, None)
    return found
