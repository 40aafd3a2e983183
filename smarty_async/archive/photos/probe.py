"""A look into one photo: is it an image, is it whole, is it within the limits, must it be converted?

Everything here blocks; run it in a thread. The common case reads a header and the file's last bytes, and decodes
nothing.
"""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import BinaryIO

import msgspec

from smarty_async.archive.photos.convert import LONG_SIDE, SHORT_SIDE, SHORTEST_SIDE, fitted, scale_to_fit
from smarty_async.archive.photos.identify import LARGEST_DECODED, Header, check_whole, identify
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

__all__ = ["Probed", "probe"]


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """A photo that can be sent.

    Attributes:
        content_type: ``image/jpeg``, ``image/png`` or ``image/tiff``.
        size: bytes that will be sent.
        width: pixels, as they will be sent.
        height: pixels, as they will be sent.
        converted: the bytes to send instead of the file's, None when it is sent as it is.
        warning: what the service may dislike in it, None when there is nothing.
    """

    content_type: str
    size: int
    width: int
    height: int
    converted: bytes | None = None
    warning: str | None = None


def probe(photo: str | bytes, *, limits: Limits, fit: bool = False) -> Probed:
    """Look into `photo`, and convert it where the service would not take it as it is.

    JPEG, PNG and TIFF are sent as they are. Whatever else can be read is converted: to PNG when that is within the
    limit, else to JPEG.

    Args:
        photo: the path of a file, or a file's bytes.
        limits: what one request may carry.
        fit: make smaller what is over the limits on bytes or dimensions, instead of refusing or only warning.

    Raises:
        PhotoRejected: with type ``unreadable``, ``empty``, ``not_an_image``, ``truncated`` or ``too_large``.
    """
    try:
        with _opened(photo) as stream:
            return _probed(stream, limits.max_image_bytes, fit=fit)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise PhotoRejected(f"it cannot be read: {reason}", type="unreadable") from error


def _opened(photo: str | bytes) -> BinaryIO:
    if isinstance(photo, bytes):
        return io.BytesIO(photo)
    if not stat.S_ISREG(Path(photo).stat().st_mode):
        raise OSError("not a regular file")  # a pipe would keep us waiting
    return Path(photo).open("rb")


def _probed(stream: BinaryIO, max_bytes: int, *, fit: bool) -> Probed:
    header = identify(stream)
    width, height = header.image.size
    over = header.size > max_bytes
    if header.content_type is None or (fit and (over or scale_to_fit(width, height) < 1)):
        return _converted(header, max_bytes, fit=fit)
    if over:
        raise PhotoRejected(
            f"{header.size:,} bytes are over the limit of {max_bytes:,} bytes an image: --fit makes it smaller",
            type="too_large",
        )
    check_whole(header, stream)
    return Probed(
        content_type=header.content_type,
        size=header.size,
        width=width,
        height=height,
        warning=_warning(width, height),
    )


def _converted(header: Header, max_bytes: int, *, fit: bool) -> Probed:
    if header.size > LARGEST_DECODED:
        raise PhotoRejected(f"{header.size:,} bytes are too many to be made to fit", type="too_large")
    data, content_type, width, height = fitted(header.image, max_bytes=max_bytes, shrink=fit)
    return Probed(
        content_type=content_type,
        size=len(data),
        width=width,
        height=height,
        converted=data,
        warning=_warning(width, height),
    )


def _warning(width: int, height: int) -> str | None:
    """What speaks against the dimensions, None when nothing."""
    told = (
        f"{width}×{height} pixels are outside the service's {SHORTEST_SIDE}×{SHORTEST_SIDE} to {LONG_SIDE}×{SHORT_SIDE}"
    )
    if min(width, height) < SHORTEST_SIDE:
        return told
    if max(width, height) > LONG_SIDE or min(width, height) > SHORT_SIDE:
        return f"{told}: --fit makes it smaller"
    return None
