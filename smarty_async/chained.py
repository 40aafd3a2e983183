"""The picture that a chained enlargement is made of: the best one that ``improve`` made. Pure."""

from __future__ import annotations

from typing import Final

from smarty_async.archive.entries import StoredAnswer
from smarty_async.errors import PhotoRejected
from smarty_async.results import Kind

__all__ = ["RESTORED_KINDS", "not_enlarged", "restored_kind"]

RESTORED_KINDS: Final[tuple[Kind, ...]] = ("colorized_improved", "improved")
"""The outputs of ``improve`` that a chained enlargement is made of, the best first."""


def not_enlarged(error: PhotoRejected) -> PhotoRejected:
    """Why a chained enlargement is not made: the restored picture cannot be sent."""
    return PhotoRejected(f"not enlarged: the restored picture cannot be sent: {error}", type=error.type)


def restored_kind(answer: StoredAnswer) -> Kind | None:
    """The best kind of restored picture that the `answer` to ``improve`` has; None when there was nothing to restore.

    Raises:
        PhotoRejected: there was something to restore, and the picture was not kept.
    """
    for kind in RESTORED_KINDS:
        if kind in answer.outputs:
            return kind
    if any(kind in answer.dropped for kind in RESTORED_KINDS):
        reason = (
            "an earlier run did not keep it (outputs, --outputs): run again with redo_missing (--redo-missing), which"
            " pays for the restoration again, or without chain (--chain)"
        )
        raise not_enlarged(PhotoRejected(reason, type="not_kept"))
    return None
