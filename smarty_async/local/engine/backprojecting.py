"""Back-projection: what an enlargement, made smaller again, lacks of the picture it was made of, is added to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.protocol import check_wanted
from smarty_async.local.engine.tiles import Pixels

__all__ = ["back_project"]

_SHARE: Final = 0.7
"""The share of what is missing that is added."""

_DIFFERENT: Final = 0.38
"""The share of the picture's finest detail, missing in the enlargement made smaller, from which nothing is added: the
picture was not made smaller by a filter like the bicubic one. At most 0.37 in photos that were, also after a blur; more
in those with noise of 3 gray levels (0.40 and more), sharpened (0.38), or blurred with noise of 1 (0.56)."""

_UNIT: Final = 64
"""Differences are kept in fractions of a gray level: this many to one."""

_BICUBIC: Final = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256
"""The filter that halves a picture, on its pixels."""

_FINEST: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) * (_UNIT / 16)

_ROWS: Final = 128
_MARGIN: Final = 2
"""Rows of the small picture processed at a time, which bounds memory, and those around that they depend on."""


class _Rows(msgspec.Struct, frozen=True):
    """Rows of the small picture.

    Attributes:
        own: the rows.
        seen: the rows, and those around.
        inside: where the rows are in those that are seen.
    """

    own: slice
    seen: slice
    inside: slice


def back_project(large: Pixels, small: Pixels) -> None:
    """Correct `large`, in place, so that it differs less from `small` when it is made smaller by a bicubic filter.

    Nothing is changed where this filter, or a lack of noise, is unlikely.

    Args:
        large: an enlargement of `small` to twice its size.
        small: H×W×3 uint8.

    Raises:
        Abandoned: the client has disconnected.
    """
    missing, share = _missing(large, small)
    if share > _DIFFERENT:
        return
    for rows in _strips(len(small)):
        part = missing[rows.seen].astype(np.float32) * np.float32(_SHARE / _UNIT)
        change = cv2.resize(part, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)[_doubled(rows.inside)]
        place = large[_doubled(rows.own)]
        cv2.add(place, change, dst=place, dtype=cv2.CV_8U)


def _missing(large: Pixels, small: Pixels) -> tuple[NDArray[np.int16], float]:
    """What `large`, made smaller, lacks of `small`, in units; and how much this is of the finest detail of `small`."""
    missing = np.empty(small.shape, np.int16)
    common = whole = 0.0
    kernel = _BICUBIC * np.float32(_UNIT**0.5)
    for rows in _strips(len(small)):
        given, made = small[rows.seen], large[_doubled(rows.seen)]
        again = cv2.sepFilter2D(made, cv2.CV_16S, kernel, kernel, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
        lacking = (given * np.int16(_UNIT) - again[::2, ::2])[rows.inside]
        finest = cv2.filter2D(given, cv2.CV_32F, _FINEST)[rows.inside]
        missing[rows.own] = lacking
        common += float(np.vdot(lacking.astype(np.float32), finest))
        whole += float(np.vdot(finest, finest))
    return missing, common / max(whole, 1.0)


def _strips(height: int) -> Iterator[_Rows]:
    for top in range(0, height, _ROWS):
        check_wanted()
        bottom = min(height, top + _ROWS)
        first, last = max(0, top - _MARGIN), min(height, bottom + _MARGIN)
        yield _Rows(slice(top, bottom), slice(first, last), slice(top - first, bottom - first))


def _doubled(rows: slice) -> slice:
    return slice(2 * rows.start, 2 * rows.stop)
