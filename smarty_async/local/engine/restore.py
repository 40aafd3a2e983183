"""The engine ``restore``: each defect is measured, and corrected by a step of its own if it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smarty_async.local.engine.colouring import Colourist, OnnxColourist, Toner
from smarty_async.local.engine.decoding import PixelBudget, check_enlarged, decode, encode, pixel_count, quality_of
from smarty_async.local.engine.diagnosing import (
    Ends,
    blockiness,
    blur,
    ends,
    has_own_colour,
    is_bw,
    is_faded,
    is_plain,
    levels,
    light_of,
    noise_level,
)
from smarty_async.local.engine.enlarging import enlarge_art, enlarge_photo
from smarty_async.local.engine.margins import core, picture_box
from smarty_async.local.engine.nets import UNKNOWN, clean, is_coarse
from smarty_async.local.engine.protocol import EngineOptions, Improved
from smarty_async.local.engine.scratches import repaired
from smarty_async.local.engine.tiles import Pixels
from smarty_async.local.memory import largest_output

__all__ = ["RestoreEngine"]


_BLOCKY: Final = 2.5
"""Roughness of the 8×8 grid from which a photo is taken for a former JPEG of low quality, whatever its tables are."""

_BLURRED: Final = (1.3, 3.5)
"""Blur, in pixels, that is sharpened: less is the lens's own, more cannot be corrected this way."""

_SHARPENED: Final = 2.0
"""The factor by which sharpening enlarges fine detail, and noise with it."""

_MOST_SHARPENED: Final = 1600
"""Pixels on the longer side up to which blur is corrected; larger photos are soft at this scale anyway."""


class RestoreEngine:
    """Networks for JPEG damage, noise, scratches and enlargement; classical methods for fading and blur."""

    name = "restore"

    def __init__(self, *, colourist: Colourist | None) -> None:
        """Make the engine; its networks are read when they are first needed.

        Args:
            colourist: gives black-and-white photos colour; None makes no outputs in colour.
        """
        self._colourist = colourist
        self._budget = PixelBudget()

    @classmethod
    def with_options(cls, options: EngineOptions) -> RestoreEngine:
        """The engine that the options ask for.

        Raises:
            ConfigurationError: the colourist's file cannot be used.
        """
        if options.colourist is not None:
            return cls(colourist=OnnxColourist(Path(options.colourist)))
        return cls(colourist=Toner() if options.toning else None)

    def improve(self, image: bytes, /) -> Improved:
        """Correct what is wrong with the photo; none of the outputs when nothing is.

        Raises:
            ItemRefused: it cannot be decoded, or is too large.
            Abandoned: the client has disconnected.
        """
        with self._budget.reserved(pixel_count(image)):
            source = decode(image)
            scan = _pixels(source)
            box = picture_box(scan)
            mended, bw = _mend(box.of(scan), quality_of(source))
            improved = None if mended is None else box.replaced(scan, mended)
            return Improved(
                improved=None if improved is None else _fine(_image(improved, source)),
                colorized_improved=self._coloured(improved) if bw else None,
                colorized=self._coloured(scan) if bw else None,
                bw=bw,
            )

    def _coloured(self, photo: Pixels | None) -> bytes | None:
        if photo is None or self._colourist is None:
            return None
        return _fine(Image.fromarray(self._colourist(photo)), comment=self._colourist.comment)

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:
        """Enlarge with a network for photographs or for drawings; JPEG damage and noise are removed first.

        Raises:
            ItemRefused: it cannot be decoded, or its enlargement would be too large.
            Abandoned: the client has disconnected.
        """
        most = largest_output() // factor**2
        with self._budget.reserved(pixel_count(image, max_pixels=most) * factor**2):
            source = decode(image, max_pixels=most)
            check_enlarged(source, factor)
            return _fine(_image(_enlarged(_pixels(source), quality_of(source), factor, rtype), source))


def _mend(photo: Pixels, quality: int | None) -> tuple[Pixels | None, bool]:
    """The photo with its defects corrected, None when there are none; and whether it is black-and-white.

    The order of the steps is the one that measured best on photos with several kinds of damage. Contrast and colour are
    measured after scratches are filled, because scratches have another colour than the print.
    """
    mended = photo
    quality = _jpeg_quality(photo, quality)
    coarse = is_coarse(quality)
    if coarse:
        mended = clean(photo, noise=noise_level(core(photo), gain=_gain(photo), after_jpeg=True), quality=quality)
    if not is_plain(photo):
        mended = repaired(mended)
    measured = core(mended)
    bw, faded = is_bw(measured), is_faded(measured)
    noise = noise_level(measured, gain=_gain(mended)) if not coarse else 0.0
    if noise:
        mended = clean(mended, noise=noise, quality=quality)
    if faded:
        own_colour = bw and has_own_colour(measured)
        mended = _neutral(mended) if bw and not own_colour else mended
        stretched = _stretch(mended, levels(core(mended), own_colour=own_colour))
        mended = _coloured_as(mended, stretched) if own_colour else stretched
    if mended is photo and max(photo.shape) <= _MOST_SHARPENED:
        softness = blur(light_of(photo))
        if _BLURRED[0] <= softness <= _BLURRED[1]:
            noise = noise_level(measured, gain=_SHARPENED)
            mended = _sharpen(clean(photo, noise=noise, quality=quality) if noise else photo, softness)
    return None if mended is photo else mended, bw


def _enlarged(photo: Pixels, quality: int | None, factor: int, rtype: str) -> Pixels:
    if rtype == "art":
        return enlarge_art(photo, factor=factor, quality=_jpeg_quality(photo, quality))
    noise = noise_level(core(picture_box(photo).of(photo)))
    if noise:
        photo = clean(photo, noise=noise)
    return enlarge_photo(photo, factor=factor, quality=_jpeg_quality(photo, quality))


def _jpeg_quality(photo: Pixels, quality: int | None) -> int | None:
    """The quality of the photo's JPEG damage: the file's, or unknown where an earlier, coarse JPEG left its grid."""
    if not is_coarse(quality) and blockiness(light_of(photo)) >= _BLOCKY:
        return UNKNOWN
    return quality


def _gain(photo: Pixels) -> float:
    """The factor by which the photo will be stretched."""
    measured = core(photo)
    return _gain_for(ends(light_of(measured))) if is_faded(measured) else 1.0


def _neutral(photo: Pixels) -> Pixels:
    """The photo in gray: without the tint of its paper."""
    return np.asarray(cv2.cvtColor(light_of(photo), cv2.COLOR_GRAY2RGB), np.uint8)


def _coloured_as(photo: Pixels, light: Pixels) -> Pixels:
    """The lightness of `light` with the colour of the photo: a tone is no stronger where there is more contrast."""
    colour = cv2.cvtColor(photo, cv2.COLOR_RGB2Lab)
    colour[..., 0] = cv2.cvtColor(light, cv2.COLOR_RGB2Lab)[..., 0]
    return np.asarray(cv2.cvtColor(colour, cv2.COLOR_Lab2RGB), np.uint8)


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), np.uint8)


def _fine(image: Image.Image, *, comment: str = "") -> bytes:
    """A JPEG of quality 95 and full colour resolution: quality 92 with 4:2:0 loses up to 2 dB of the improvement."""
    return encode(image, comment=comment, quality=95, subsampling="4:4:4")


def _image(photo: Pixels, source: Image.Image) -> Image.Image:
    """The photo as a picture in the mode of `source`, with its colour profile."""
    # Not `fromarray`, which makes one more copy.
    image = Image.frombuffer("RGB", (photo.shape[1], photo.shape[0]), photo, "raw", "RGB", 0, 1)
    if source.mode == "L":
        image = image.convert("L")
    image.info = dict(source.info)
    return image


_MOST_GAIN: Final = 4.0
"""The largest factor by which a channel is stretched: beyond it, JPEG's blocks become visible."""

_BLACK: Final = 5
_WHITE: Final = 247
"""Gray levels that the ends of a channel are stretched to: few photos use the whole range."""


def _gain_for(channel: Ends) -> float:
    """The factor by which a channel is stretched."""
    return min(_MOST_GAIN, (_WHITE - _BLACK) / max(1.0, channel.span))


def _stretch(picture: Pixels, channels: tuple[Ends, Ends, Ends]) -> Pixels:
    """Each channel stretched to the whole range.

    Args:
        picture: H×W×3 uint8.
        channels: where the black and the white of red, green and blue lie.
    """
    planes = [np.take(_curve(channels[number]), picture[..., number]) for number in range(3)]
    return np.stack(planes, axis=2)


def _curve(channel: Ends) -> NDArray[np.uint8]:
    gain = _gain_for(channel)
    # Where the gain is bounded, the channel is centred in the range.
    base = (_BLACK + _WHITE - channel.span * gain) / 2
    levels = base + (np.arange(256) - channel.low) * gain
    return np.asarray(np.rint(np.clip(levels, 0, 255)), np.uint8)


def _sharpen(picture: Pixels, blur: float) -> Pixels:
    """Unsharp masking; `blur` is the standard deviation of the blur to correct, in pixels."""
    soft = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.asarray(cv2.addWeighted(picture, _SHARPENED, soft, 1 - _SHARPENED, 0), np.uint8)
