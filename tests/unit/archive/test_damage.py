"""Damage that looks whole, and whole pictures that look damaged."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageDraw
from support.metadata_samples import box
from support.pictures import CountingStream, encoded, heic, scene

from smarty_async.archive.photos import damage
from smarty_async.archive.photos.damage import check_boxes, check_tiff, find_missing_rows, find_zero_tail
from smarty_async.archive.photos.pages import ImageDirectory, Tag
from smarty_async.archive.photos.probe import probe
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

LIMITS = Limits()


@cache
def bright(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """A scene without black in it; not to be changed."""
    return scene(width, height, seed=seed).point(lambda value: 60 + value * 3 // 5)


def zero_filled(data: bytes, part: float) -> bytes:
    kept = int(len(data) * part)
    return data[:kept] + bytes(len(data) - kept)


TIFFS: list[dict[str, Any]] = [
    {},
    {"compression": "tiff_lzw"},
    {"compression": "tiff_adobe_deflate"},
    {"compression": "packbits"},
    {"compression": "jpeg"},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"optimize": True}),
        ("PNG", {}),
        *(("TIFF", options) for options in TIFFS),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG2000", {}),
    ],
)
@pytest.mark.parametrize("part", [0.35, 0.5, 0.75])
@pytest.mark.parametrize("fit", [False, True])
def test_a_file_whose_rest_is_zeros(kind: str, options: dict[str, Any], part: float, *, fit: bool) -> None:
    data = encoded(bright(601, 401), kind, **options)
    assert probe(data, limits=LIMITS, fit=fit).width == 601
    with pytest.raises(PhotoRejected, match="copy it again") as caught:
        probe(zero_filled(data, part), limits=LIMITS, fit=fit)
    assert caught.value.type in ("damaged", "truncated")


def cmyk(image: Image.Image) -> Image.Image:
    return image.convert("CMYK")


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "PPM", "SGI", "PCX"])
@pytest.mark.parametrize(
    "part", [0.5, *(pytest.param(part, marks=pytest.mark.slow) for part in (0.1, 0.9, 0.93, 0.97))]
)
def test_rows_that_are_missing_near_the_end_of_a_row(kind: str, part: float) -> None:
    # Of this size every part ends a few bytes before a row does: there are only as many as the file's header has.
    picture = bright(1200, 400)
    data = encoded(picture, kind)
    assert probe(data, limits=LIMITS).width == 1200
    with pytest.raises(PhotoRejected, match="copy it again"):
        probe(zero_filled(data, part), limits=LIMITS)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_rows_that_are_missing_in_cmyk(part: float) -> None:
    with pytest.raises(PhotoRejected, match="copy it again"):
        probe(zero_filled(encoded(cmyk(bright(601, 401)), "TIFF"), part), limits=LIMITS)


def black(width: int = 600, height: int = 400) -> Image.Image:
    return Image.new("RGB", (width, height))


def bordered() -> Image.Image:
    image = black()
    image.paste(bright(400, 200), (50, 30))
    return image


def half_black() -> Image.Image:
    image = black()
    image.paste(bright(600, 200))
    return image


def letterboxed() -> Image.Image:
    image = black()
    image.paste(bright(600, 301), (0, 50))
    return image


def round_picture() -> Image.Image:
    image, mask = black(), Image.new("L", (600, 400))
    ImageDraw.Draw(mask).ellipse((100, 20, 400, 220), fill=255)
    image.paste(bright(600, 400), mask=mask)
    return image


def skewed(angle: float) -> Callable[[], Image.Image]:
    def make() -> Image.Image:
        image = black()
        turned = bright(560, 200).rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
        image.paste(turned, (20, 20))
        return image

    return make


def night() -> Image.Image:
    """A few lights over black ground."""
    image = black()
    draw = ImageDraw.Draw(image)
    for x in range(20, 580, 60):
        draw.ellipse((x, 100, x + 12, 112), fill=(250, 240, 200))
    return image


def tilted(seed: int) -> Callable[[], Image.Image]:
    """A hard-edged picture on black whose lower edge sinks by about a row."""

    def make() -> Image.Image:
        dice, image = Random(seed), black()  # noqa: S311 - pictures, not secrets
        turned = bright(dice.randint(300, 560), 200).rotate(dice.uniform(-0.4, 0.4), expand=True)
        image.paste(turned, (dice.randint(-10, 20), 20))
        return image

    return make


WHOLE = [black, bordered, half_black, letterboxed, round_picture, skewed(0.1), skewed(0.5), skewed(-0.3), night]
TILTED = [tilted(seed) for seed in range(30)]


@pytest.mark.slow
@pytest.mark.parametrize("picture", WHOLE)
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
@pytest.mark.parametrize("options", TIFFS)
def test_black_is_no_damage_in_tiff(picture: Callable[[], Image.Image], mode: str, options: dict[str, Any]) -> None:
    if mode == "1" and options.get("compression") == "jpeg":
        pytest.skip("JPEG has no such samples")
    for image in (picture(), picture().transpose(Image.Transpose.ROTATE_180)):
        assert probe(encoded(image.convert(mode), "TIFF", **options), limits=LIMITS).width == 600


@pytest.mark.slow
@pytest.mark.parametrize("picture", WHOLE)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM", "SGI", "GIF", "WEBP"])
def test_black_is_no_damage_elsewhere(picture: Callable[[], Image.Image], kind: str) -> None:
    assert probe(encoded(picture(), kind), limits=LIMITS).width == 600


@pytest.mark.parametrize("picture", TILTED)
def test_a_tilted_edge_is_no_damage(picture: Callable[[], Image.Image]) -> None:
    image = picture()
    for mode in ("RGB", "L", "1", "CMYK"):
        for turned in (image, image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)):
            rows = turned.convert(mode).tobytes()
            assert find_missing_rows(rows, len(rows) // 400) is None, mode


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("colour", [0, 1])
def test_blank_faxes(compression: str, colour: int) -> None:
    data = encoded(Image.new("1", (1728, 1000), colour), "TIFF", compression=compression)
    assert probe(data, limits=LIMITS).width == 1728


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("picture", [bright(600, 400), Image.effect_noise((400, 300), 80)])
def test_the_last_bytes_may_be_missing(kind: str, options: dict[str, Any], cut: int, picture: Image.Image) -> None:
    data = encoded(picture, kind, **options)[:-cut]
    probed = probe(data, limits=LIMITS)
    sent = probed.converted or data
    with Image.open(io.BytesIO(sent)) as image:
        image.load()  # what is sent can be decoded
        assert image.size == picture.size


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.97])
def test_a_jpeg_that_breaks_off(options: dict[str, Any], part: float) -> None:
    data = encoded(Image.effect_noise((400, 300), 80), **options)
    with pytest.raises(PhotoRejected) as caught:
        probe(data[: int(len(data) * part)], limits=LIMITS)
    assert caught.value.type == "truncated"


def test_where_rows_are_missing() -> None:
    rows = bright(600, 400).tobytes()
    for at in (100_000, 333_333, 600_001):
        assert find_missing_rows(rows[:at] + bytes(len(rows) - at), 1800) == at
        hole = rows[:at] + bytes(20_000) + rows[at + 20_000 :]
        assert find_missing_rows(hole, 1800) == at
    assert find_missing_rows(rows, 1800) is None
    assert find_missing_rows(bytes(100_000), 1800) is None
    assert find_missing_rows(b"", 1800) is None


def test_the_zeros_at_the_end() -> None:
    assert find_zero_tail(io.BytesIO(b"abc" + bytes(64))) == 3
    assert find_zero_tail(io.BytesIO(b"abc" + bytes(63))) is None
    assert find_zero_tail(io.BytesIO(b"abc" + bytes(5_000_000))) == 3
    assert find_zero_tail(io.BytesIO(bytes(100))) == 0
    assert find_zero_tail(io.BytesIO(b"")) is None


NOISY = Image.merge("RGB", [Image.effect_noise((500, 400), 80) for _ in range(3)])


@pytest.mark.parametrize(("begin", "end"), [(0.4, 0.6), (0.9, 1), (0.97, 1)])
def test_zeros_in_a_lossless_webp(begin: float, end: float) -> None:
    data = encoded(NOISY, "WEBP", lossless=True)
    assert probe(data, limits=LIMITS).width == 500
    assert_damaged(holed(data, begin, end))


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.9])
def test_zeros_at_the_end_of_a_lossy_webp(part: float) -> None:
    assert_damaged(zero_filled(encoded(NOISY, "WEBP", quality=90), part))


@pytest.mark.parametrize("colour", ["black", "white", "gray"])
@pytest.mark.parametrize("method", [0, *(pytest.param(method, marks=pytest.mark.slow) for method in (4, 6))])
@pytest.mark.parametrize("shown", [0.1, pytest.param(0.5, marks=pytest.mark.slow)])
def test_flat_parts_of_a_lossy_webp_are_no_damage(colour: str, method: int, shown: float) -> None:
    image = Image.new("RGB", (1600, 1200), colour)
    image.paste(NOISY.resize((1600, round(1200 * shown))))
    assert probe(encoded(image, "WEBP", quality=80, method=method), limits=LIMITS).width == 1600


@cache
def noisy_heic() -> bytes:
    return heic(NOISY.crop((0, 0, 256, 192)))


@pytest.mark.parametrize(("begin", "end"), [(0.4, 0.6), (0.7, 0.75), (0.5, 1), (0.97, 1)])
def test_zeros_in_a_heic(begin: float, end: float) -> None:
    assert_damaged(holed(noisy_heic(), begin, end))


def test_zeros_in_the_notes_of_a_heic_are_no_damage() -> None:
    exif = Image.Exif()
    exif[0x927C] = bytes(20_000)
    picture = NOISY.crop((0, 0, 256, 192))
    assert probe(heic(picture, exif=exif.tobytes()), limits=LIMITS).width == 256


def heic_with(sizes: int, items: int, *entries: bytes, data: bytes = b"data") -> bytes:
    """A HEIC file of one encoded picture, number 1, and the box ``iloc`` that these make."""
    infe = box(b"infe", struct.pack(">B3xHH4s", 2, 1, 0, b"hvc1"))
    iloc = box(b"iloc", struct.pack(">4xBBH", sizes, 0, items), *entries)
    meta = box(b"meta", bytes(4), box(b"iinf", struct.pack(">4xH", 1), infe), iloc)
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"mdat", data) + meta


WITHOUT_LENGTHS = struct.pack(">HHH", 1, 0, 0xFFFF)
WITH_LENGTHS = struct.pack(">HHH", 1, 0, 1) + struct.pack(">LL", 0, 4)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(heic_with(0, 20, *[WITHOUT_LENGTHS] * 20), id="without lengths"),
        pytest.param(heic_with(0x44, 0xFFFF, WITH_LENGTHS), id="items behind the end"),
        pytest.param(heic_with(0x44, 3, *[WITHOUT_LENGTHS] * 3), id="parts behind the end"),
        pytest.param(heic_with(0x01, 4, *[WITHOUT_LENGTHS + bytes(0xFFFF)] * 4), id="many parts"),
    ],
)
def test_a_heic_that_tells_of_more_parts_than_it_has(data: bytes) -> None:
    tracemalloc.start()
    try:
        check_boxes(io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_a_heic_whose_parts_overlap_is_not_read_many_times() -> None:
    length = 100_000
    stream = CountingStream(
        heic_with(0x44, 1, struct.pack(">HHH", 1, 0, 200), struct.pack(">LL", 0, length) * 200, data=b"x" * length)
    )
    check_boxes(stream)
    assert stream.count < 3 * length


def test_a_tiff_whose_strips_overlap_is_not_read_many_times() -> None:
    rows = Random(1).randbytes(100_000)  # noqa: S311 - not secrets
    stream = CountingStream(rows)
    numbers = {
        Tag.WIDTH: (100,),
        Tag.HEIGHT: (200_000,),
        Tag.BITS: (8,),
        Tag.STRIP_ROWS: (1000,),
        Tag.STRIP_OFFSETS: (0,) * 200,
        Tag.STRIP_LENGTHS: (len(rows),) * 200,
    }
    check_tiff(stream, ImageDirectory(offset=0, index=0, big=False, numbers=numbers), len(rows))
    assert stream.count < 3 * len(rows)


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_rows_are_read_some_at_a_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.BytesIO):
        longest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.longest = max(self.longest, len(data))
            return data

    monkeypatch.setattr(damage, "_LONGEST_RAW_READ", 20_000)
    image = bright(400, 300)
    data = encoded(image, kind, **({"tiffinfo": {278: 300}} if kind == "TIFF" else {}))
    whole, broken = Stream(data), Stream(zero_filled(data, 0.51))
    assert probe(lambda: whole, limits=LIMITS).width == 400
    with pytest.raises(PhotoRejected, match="zeros stand"):
        probe(lambda: broken, limits=LIMITS)
    assert broken.longest <= 20_000


def holed(data: bytes, begin: float, end: float) -> bytes:
    start, stop = int(len(data) * begin), int(len(data) * end)
    return data[:start] + bytes(stop - start) + data[stop:]


def assert_damaged(data: bytes) -> None:
    with pytest.raises(PhotoRejected, match="copy it again") as caught:
        probe(data, limits=LIMITS)
    assert caught.value.type in ("damaged", "truncated")
