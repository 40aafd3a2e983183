"""One image's work, as it is done in a thread: from the upload through the engine to the item's JSON."""

from __future__ import annotations

import logging
from threading import Event
from typing import Literal

import msgspec

from smarty_async.local.cancellation import Abandoned, wanted_until
from smarty_async.local.contract import Asked, ImproveItem, Mode, ResolutionItem, encode_item
from smarty_async.local.engine.protocol import Engine, ItemRefused
from smarty_async.local.faults import Faults
from smarty_async.local.upload import Upload

__all__ = ["failed_item", "worked_item"]

logger = logging.getLogger(__name__)


def worked_item(
    mode: Mode, name: str, *, asked: Asked, upload: Upload, engine: Engine, faults: Faults, left: Event
) -> list[bytes]:
    """The item's JSON, its error among it: whatever is wrong with one image, the others are not touched.

    Args:
        mode: what is asked of the image.
        name: the image's.
        asked: what the request asked.
        upload: the request's images.
        engine: what makes the pictures.
        faults: trouble to make on purpose.
        left: set when nobody waits for the item any more.
    """
    image = upload.read(name)
    if faults.spoils(image):
        return failed_item(mode, name, status=1, error="permanent error")
    try:
        with wanted_until(left):
            return encode_item(_work(engine, image, mode, name, asked))
    except ItemRefused as refused:
        return failed_item(mode, name, status=refused.status, error=str(refused))
    except MemoryError:
        return failed_item(mode, name, status=2, error="out of memory")
    except Abandoned:
        return []
    except Exception:
        logger.exception("the engine %s failed at an image", engine.name)
        return failed_item(mode, name, status=2, error="internal error")


def _work(engine: Engine, image: bytes, mode: Mode, name: str, asked: Asked) -> ImproveItem | ResolutionItem:
    if mode == "improve":
        return ImproveItem(status=0, name=name, **msgspec.structs.asdict(engine.improve(image)))
    resolved = engine.enlarge(image, factor=asked.rfactor, rtype=asked.rtype)
    return ResolutionItem(status=0, name=name, resolved=resolved)


def failed_item(mode: Mode, name: str, *, status: Literal[1, 2], error: str) -> list[bytes]:
    """The JSON, in pieces, of an item that came to no good end."""
    make = ImproveItem if mode == "improve" else ResolutionItem
    return encode_item(make(status=status, name=name, error=error))
