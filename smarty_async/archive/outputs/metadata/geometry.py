"""How the pixels of an output relate to those of its source."""

from __future__ import annotations

from math import sqrt

import msgspec

__all__ = ["Geometry", "swaps_axes"]


def swaps_axes(orientation: int) -> bool:
    """Whether a picture with this EXIF orientation (1…8) is shown with its width and height swapped."""
    return orientation >= 5  # noqa: PLR2004 - 5 to 8 mirror along, or turn by, a quarter


class Geometry(msgspec.Struct, frozen=True, kw_only=True):
    """The stored size and orientation of an output, and of the source it was made from.

    Attributes:
        width: pixels of the output, as stored.
        height: pixels of the output, as stored.
        orientation: the EXIF orientation (1…8) under which the output shows upright.
        source_size: width and height of the source as stored, in pixels; None when they are not known.
        source_orientation: the source's own EXIF orientation.
    """

    width: int
    height: int
    orientation: int = 1
    source_size: tuple[int, int] | None = None
    source_orientation: int = 1

    @property
    def turned(self) -> bool:
        """Whether the output's rows are the source's columns."""
        return swaps_axes(self.orientation) != swaps_axes(self.source_orientation)

    @property
    def unchanged(self) -> bool:
        """Whether positions and lengths in pixels are the same in both."""
        return self.orientation == self.source_orientation and self.scale == (1.0, 1.0)

    @property
    def scale(self) -> tuple[float, float]:
        """How many pixels of the output there are for one of the source, along the output's rows and columns.

        Sides that were rounded to whole pixels do not make the two differ.
        """
        if not self.source_size or not min(self.source_size):
            return 1.0, 1.0
        width, height = reversed(self.source_size) if self.turned else self.source_size
        along, down = self.width / width, self.height / height
        if abs(along - down) * min(width, height) > 2 * max(1.0, along):
            return along, down
        both = sqrt(along * down)
        near = round(both)
        whole = near >= 1 and abs(both - near) * min(width, height) <= near
        return (float(near), float(near)) if whole else (both, both)

    def resolution(self, horizontal: float, vertical: float) -> tuple[float, float]:
        """The output's pixels a unit of length, for the same physical size as the source's resolution gives."""
        along, down = self.scale
        return (vertical * along, horizontal * down) if self.turned else (horizontal * along, vertical * down)
