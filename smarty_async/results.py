"""What a caller gets back: results, plans, and what a journal knows."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "BEST_FIRST",
    "GOOD_OUTCOMES",
    "KINDS",
    "KINDS_BY_MODE",
    "PRICE",
    "SENT_OUTCOMES",
    "UNREADABLE_FOLDER",
    "ErrorInfo",
    "Failures",
    "Kind",
    "Outcome",
    "Plan",
    "Restored",
    "Result",
    "Status",
]


PRICE = 0.06
"""₽ for one image and mode set, the first million a month (the service's price list); an estimate's basis."""

Outcome = Literal["restored", "already_good", "failed", "rejected", "skipped", "duplicate"]
"""What became of a photo.

``restored``: outputs were made. ``already_good``: the service found nothing to do. ``failed``: the service, or the
bound on retries, said no. ``rejected``: never sent; also a folder that cannot be read. ``skipped``: finished in an
earlier run. ``duplicate``: the same content as another photo, sent once.
"""

SENT_OUTCOMES: Final[tuple[Outcome, ...]] = ("restored", "already_good", "failed")
"""Outcomes of photos that were sent."""

GOOD_OUTCOMES: Final[tuple[Outcome, ...]] = ("restored", "already_good", "duplicate")
"""Outcomes of photos that came to a good end in the run that finished them."""

Kind = Literal["improved", "colorized_improved", "colorized", "resolved"]
"""What an output is; the API's field names, and the folders under ``--out``."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


KINDS_BY_MODE: Final[dict[str, tuple[Kind, ...]]] = {
    "improve": ("improved", "colorized_improved", "colorized"),
    "resolution": ("resolved",),
}
"""The kinds that each mode makes."""

BEST_FIRST: Final[tuple[Kind, ...]] = ("resolved", "colorized_improved", "improved", "colorized")
"""The outputs by how much of the service's work they show."""


UNREADABLE_FOLDER: Final = "unreadable_folder"
"""The type of the error of a folder that cannot be read. It stands among the photos in place of those in the folder,
whose number is not known."""


class ErrorInfo(msgspec.Struct, frozen=True):
    """Why a photo did not come to a good end.

    Attributes:
        type: a short stable word (``not_an_image``, ``too_large``, ``permanent``, ``temporary``, …).
        message: one sentence, for people.
    """

    type: str
    message: str


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    r"""What became of one photo of an archive: one line of ``results.jsonl``.

    Attributes:
        photo: path relative to its source, with ``/``; bytes that are not UTF-8 are written as ``\xNN``.
        source: the source it came from.
        outcome: what became of it.
        outputs: {kind: path relative to the output folder}.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: requests that carried it, in all runs.
        error: why it has no outputs, None when all is well.
        page: which picture of a file that holds several, from 1.
        warnings: what is not as it should be although the photo came to a good end: metadata that was left out.
    """

    photo: str
    source: str
    outcome: Outcome
    outputs: dict[Kind, str] = {}
    bw: bool | None = None
    attempts: int = 0
    error: ErrorInfo | None = None
    page: int = 1
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result as plain Python values, as its line in ``results.jsonl`` has them."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return] # a struct becomes a dict


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """One photo restored in memory; each picture is a JPEG file's bytes, None when the service made none.

    Attributes:
        outcome: ``restored`` or ``already_good``.
        improved: defects corrected.
        colorized_improved: defects corrected and colour restored.
        colorized: colour restored.
        resolved: enlarged.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: requests that carried it.
    """

    outcome: Outcome
    improved: bytes | None = None
    colorized_improved: bytes | None = None
    colorized: bytes | None = None
    resolved: bytes | None = None
    bw: bool | None = None
    attempts: int = 1

    @property
    def best(self) -> bytes | None:
        """The picture that most people want: the first of `BEST_FIRST` that was made; None when none was."""
        return next((picture for kind in BEST_FIRST if (picture := getattr(self, kind)) is not None), None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the best picture to `path`.

        Raises:
            ValueError: there is none: the photo is already good.
            OSError: the disk refuses.
        """
        Path(path).write_bytes(self._best())

    def to_pil(self) -> Image:
        """The best picture as a Pillow image.

        Raises:
            ValueError: there is none: the photo is already good.
        """
        from PIL import Image  # noqa: PLC0415 - importing the package is quick

        return Image.open(io.BytesIO(self._best()))

    def _best(self) -> bytes:
        if self.best is None:
            raise ValueError("the service made no picture: the photo is already good")
        return self.best

    def __repr__(self) -> str:
        return f"Restored({self.outcome}{''.join(f', {name}={size}' for name, size in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own would print every byte of every picture.
        pictures = {kind: getattr(self, kind) for kind in KINDS}
        return [(kind, f"{len(data):,} bytes") for kind, data in pictures.items() if data is not None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do, found without sending anything.

    Attributes:
        photos: photos that would be sent.
        requests: requests they would take, if none had to be tried again.
        bytes: bytes of those photos.
        duplicates: photos with the content of another, which take over what that one gets.
        skipped: photos finished in an earlier run.
        rejected: photos that would not be sent, and why.
        left: photos that `max_photos` or `max_cost` would leave for another run.
        cost: an estimate, in ₽.
        pixels: pixels of those photos, as they would be sent.
        oversized: photos outside the dimensions that the service publishes; they would be sent all the same.
        left_alone: files that are not photos, or that a list names and are results of a run.
        left_alone_names: the first of them, relative to their source.
        warnings: what the service may dislike in the photos, one sentence each.
        not_kept: finished photos by kind of output, where one that is asked for was made and not kept.
    """

    photos: int
    requests: int
    bytes: int
    pixels: int = 0
    oversized: int = 0
    left_alone: int = 0
    left_alone_names: list[str] = []
    warnings: list[str] = []
    not_kept: dict[Kind, int] = {}
    duplicates: int = 0
    skipped: int
    left: int = 0
    rejected: list[Result]
    cost: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal of an output folder knows.

    Attributes:
        outcomes: photos by outcome.
        unfinished: photos known and not finished.
        failures: failed and rejected photos by error type and message.
        images: images sent in all runs; a photo that is sent again counts again.
        images_paid: those that were probably paid for: all but the images of requests that the service refused before
            any work.
        cost: an estimate of what was paid, in ₽.
    """

    outcomes: dict[Outcome, int]
    unfinished: int
    failures: list[Failures]
    images: int
    images_paid: int
    cost: float


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Photos that share a reason.

    Attributes:
        outcome: ``failed`` or ``rejected``.
        type: the error's type.
        message: one of their messages.
        count: how many photos.
        example: one of the photos.
        names: the first twenty of them, the pages of a file from its second on with their number; in a `Status`, all
            of them.
    """

    outcome: Outcome
    type: str
    message: str
    count: int
    example: str
    names: list[str] = []
