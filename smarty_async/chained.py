"""The picture that a chained enlargement is made of: the best one that ``improve`` made. Pure."""

from __future__ import annotations

from typing import Final

from smarty_async.archive.entries import StoredAnswer, output_paths
from smarty_async.errors import PhotoRejected
from smarty_async.results import Kind

__all__ = ["RESTORED_KINDS", "not_enlarged", "not_there", "restored_kind"]

RESTORED_KINDS: Final[tuple[Kind, ...]] = ("colorized_improved", "improved")
"""The outputs of ``improve`` that a chained enlargement is made of, the best first."""


_REDO: Final = (
    "run again with redo_missing (--redo-missing), which pays for the restoration again, or without chain (--chain)"
)


def not_enlarged(error: PhotoRejected) -> PhotoRejected:
    """Why a chained enlargement is not made: the restored picture cannot be sent."""
    return PhotoRejected(f"not enlarged: the restored picture cannot be sent: {error}", type=error.type)


def not_there(kind: Kind, place: str) -> PhotoRejected:
    """Why a chained enlargement is not made: the restored picture of this kind is no longer at its place."""
    path = output_paths(place, [kind])[kind]
    return not_enlarged(PhotoRejected(f"{path!r} is no longer there: {_REDO}", type="not_kept"))


def restored_kind(answer: StoredAnswer, place: str) -> Kind | None:
    """The best kind of restored picture that the `answer` to ``improve`` has; None when there was nothing to restore.

    Args:
        answer: the answer.
        place: of its outputs.

    Raises:
        PhotoRejected: there was something to restore, and the picture was not kept or is no longer there.
    """
    for kind in RESTORED_KINDS:
        if kind in answer.gone:
            raise not_there(kind, place)
        if kind in answer.outputs:
            return kind
    if any(kind in answer.dropped for kind in RESTORED_KINDS):
        reason = f"an earlier run did not keep it (outputs, --outputs): {_REDO}"
        raise not_enlarged(PhotoRejected(reason, type="not_kept"))
    return None
