"""A Pillow image as the photo of `SmartyClient.improve`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat
from PIL.PngImagePlugin import PngInfo
from support.metadata_samples import CAPTION, MAKER_NOTE, XMP, exif_block, icc_profile, scene
from support.pictures import cut, encoded, jpeg, noisy, opened

from smarty_async.client import SmartyClient
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits
from smarty_async.testing import FakeService

DESCRIPTION, ORIENTATION, MAKER_NOTES, BITS = 0x010E, 0x0112, 0x927C, 0x0102
EXIF_DIRECTORY = 0x8769
SMALL = 12_000
"""Bytes that a photo of 128×96 pixels has as a JPEG, and not as a PNG, when it is noisy."""


async def improved(picture: Image.Image, **limits: Any) -> tuple[bytes, Image.Image]:
    """What was sent of `picture`, and the output, which has the same pixels."""
    async with FakeService() as service, SmartyClient(base_url=service.url, limits=Limits(**limits)) as client:
        restored = await client.improve(picture)
        [image] = service.requests[0].images.values()
        return image, restored.to_pil()


def closed(data: bytes) -> Image.Image:
    """An image that was closed before it was decoded."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture


def looks_like(picture: Image.Image, other: Image.Image) -> bool:
    """Whether they show the same, so far as a JPEG keeps it."""
    difference = ImageChops.difference(ImageOps.exif_transpose(picture).convert("L"), other.convert("L"))
    return picture.size == other.size and max(ImageStat.Stat(difference).mean) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
async def test_a_picture_comes_back_upright_and_with_its_metadata(kind: str) -> None:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + exif_block(6))
    profile = icc_profile()
    lying = scene().transpose(Image.Transpose.ROTATE_90)
    given: Any = exif if kind == "TIFF" else b"Exif\0\0" + exif_block(6)
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    more: dict[str, Any] = {"PNG": {"pnginfo": texts}, "TIFF": {}}.get(kind, {"xmp": XMP})
    data = encoded(lying, kind, exif=given, icc_profile=profile, dpi=(600, 300), **more)
    _, output = await improved(Image.open(io.BytesIO(data)))
    assert looks_like(output, scene())
    fields = output.getexif()
    assert (fields[DESCRIPTION], fields.get(ORIENTATION, 1)) == (CAPTION, 1)
    assert fields.get_ifd(EXIF_DIRECTORY)[MAKER_NOTES] == MAKER_NOTE
    assert BITS not in fields
    assert output.info["icc_profile"] == profile
    assert kind == "TIFF" or b"MicroVideo" in output.info["xmp"]
    assert output.info["dpi"] == ((600, 300) if kind == "TIFF" else (300, 600))


async def test_a_picture_that_was_turned_by_pillow_is_not_turned_again() -> None:
    lying = scene().transpose(Image.Transpose.ROTATE_90)
    data = encoded(lying, exif=b"Exif\0\0" + exif_block(6))
    _, output = await improved(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert looks_like(output, scene())
    assert output.getexif()[DESCRIPTION] == CAPTION


async def test_the_orientation_that_a_program_has_set_counts() -> None:
    lying = scene().transpose(Image.Transpose.ROTATE_90)
    turned = opened(encoded(lying, exif=b"Exif\0\0" + exif_block(6))).rotate(-90, expand=True)
    turned.getexif()[0x112] = 1
    _, output = await improved(turned)
    assert looks_like(output, scene())


async def test_a_tiff_without_a_resolution_gets_none() -> None:
    buffer = io.BytesIO()
    scene().save(buffer, "TIFF")
    _, output = await improved(opened(buffer.getvalue()))
    assert output.info["jfif_unit"] == 0  # the density is only a ratio


@pytest.mark.parametrize(
    "info",
    [
        {"exif": b"Exif\0\0broken", "icc_profile": b"broken", "xmp": b"\xff", "dpi": (float("nan"), 1)},
        {"xmp": None, "dpi": "no"},
    ],
)
async def test_broken_metadata_spoil_no_picture(info: dict[str, Any]) -> None:
    picture = scene()
    picture.info.update(info)
    _, output = await improved(picture)
    assert looks_like(output, scene())
    assert picture.info == info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "La", "RGBa", "CMYK", "YCbCr"])
async def test_a_picture_of_any_mode(mode: str) -> None:
    between = {"PA": "P", "La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    picture = scene().convert(between).convert(mode)
    image, output = await improved(picture)
    assert looks_like(output, scene().convert(between).convert("RGB"))
    assert opened(image).mode in ("L", "RGB")
    assert picture.mode == mode


@pytest.mark.parametrize(
    ("mode", "white"), [("I", 65535), ("I;16", 65535), ("LAB", (255, 128, 128)), ("HSV", (0, 0, 255))]
)
async def test_a_picture_whose_samples_are_no_shades_of_eight_bits(mode: str, white: Any) -> None:
    picture = Image.new(mode, (60, 40), white)
    picture.info["transparency"] = 0
    _, output = await improved(picture)
    assert looks_like(output, Image.new("RGB", (60, 40), "white"))
    assert picture.info == {"transparency": 0}


async def test_a_picture_whose_png_is_over_the_limit_goes_as_a_jpeg_of_as_many_pixels() -> None:
    picture = opened(noisy())
    image, output = await improved(picture, max_image_bytes=SMALL)
    assert image.startswith(b"\xff\xd8")
    assert len(image) <= SMALL < len(encoded(picture, "PNG"))
    assert output.size == picture.size


@pytest.mark.parametrize(
    ("picture", "limits", "kind", "message"),
    [
        (Image.new("RGB", (0, 0)), {}, "empty", "no pixels"),
        (Image.new("F", (30, 30)), {}, "unsupported", "real numbers"),
        (opened(noisy()), {"max_image_bytes": 3000}, "too_large", "128×96 pixels .* 3,000 bytes .*: make .* smaller"),
        (opened(jpeg()), {"max_pixels": 3000}, "too_large", "64×48 pixels .* 3,000 pixels: make the picture smaller"),
        (Image.open(io.BytesIO(cut(jpeg()))), {}, "truncated", "incomplete"),
        (closed(jpeg()), {}, "unreadable", "closed"),
        (Image.new("L", (30, 30), 200).convert("I"), {}, "unsupported", "convert it to mode L"),
    ],
)
async def test_a_picture_that_cannot_be_sent(
    picture: Image.Image, limits: dict[str, int], kind: str, message: str
) -> None:
    with pytest.raises(PhotoRejected, match=message) as caught:
        await improved(picture, **limits)
    assert caught.value.type == kind
    assert "--" not in str(caught.value)
