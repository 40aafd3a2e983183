"""TIFFs of every layout: right pixels, or a rejection with the true reason; never wrong pixels."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps
from support.pictures import encoded, opened, scene

from smarty_async.archive.photos.convert import flattened
from smarty_async.archive.photos.formats import decode_tiff
from smarty_async.archive.photos.pages import read_directories
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.photos.reader import _READ_AT_ONCE
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

LIMITS = Limits()
WIDTH, HEIGHT = 64, 48

np = pytest.importorskip("numpy")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

RGB = np.asarray(scene(WIDTH, HEIGHT))
GRAY = np.asarray(scene(WIDTH, HEIGHT).convert("L"))
OPAQUE = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)


def written(pixels: Any, **options: Any) -> bytes:
    """The array as a TIFF."""
    buffer = io.BytesIO()
    options.setdefault("metadata", None)
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def wide(pixels: Any) -> Any:
    """8-bit samples as 16-bit ones."""
    return pixels.astype(np.uint16) * 257


def planes(pixels: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def sent(data: bytes, **options: Any) -> Image.Image:
    """The picture that the service gets."""
    probed = probe(data, limits=LIMITS, **options)
    return opened(data if probed.converted is None else probed.converted)


def difference(image: Image.Image, expected: Any) -> int:
    """The largest difference of a sample."""
    assert image.mode == ("L" if expected.ndim == 2 else "RGB")
    return int(np.abs(np.asarray(image).astype(int) - expected.astype(int)).max())


def packed_bits(pixels: Any, bits: int) -> bytes:
    """Rows of samples of fewer than 8 bits, or of 12."""
    rows = []
    for row in pixels.reshape(len(pixels), -1):
        text = "".join(f"{value:0{bits}b}" for value in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        rows.append(int(text, 2).to_bytes(len(text) // 8))
    return b"".join(rows)


def plain_tiff(data: bytes, tags: dict[int, tuple[int, tuple[int, ...]]], *, order: str = "<") -> bytes:
    """A classic TIFF of one strip; `tags`: type and values of each, without strips."""
    entries = dict(tags)
    entries |= {256: (3, (WIDTH,)), 257: (3, (HEIGHT,)), 278: (3, (HEIGHT,)), 279: (4, (len(data),))} | tags
    entries[273] = (4, (0,))
    codes = {1: "B", 3: "H", 4: "L", 8: "h"}
    body_at = 8 + 2 + 12 * len(entries) + 4
    extra = b"".join(
        struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
        for _, (kind, values) in sorted(entries.items())
        if len(values) * struct.calcsize(order + codes[kind]) > 4
    )
    entries[273] = (4, (body_at + len(extra),))
    head, at = b"", body_at
    for tag, (kind, values) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
        if len(value) > 4:
            value, at = struct.pack(f"{order}L", at), at + len(value)
        head += struct.pack(f"{order}HHL", tag, kind, len(values)) + value.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, len(entries))
    return start + head + bytes(4) + extra + data


GRAYS: dict[str, Callable[[], bytes]] = {
    "8 bits": lambda: written(GRAY),
    "8 bits, white is zero": lambda: written(255 - GRAY, photometric="miniswhite"),
    "16 bits": lambda: written(wide(GRAY)),
    "16 bits, big-endian": lambda: written(wide(GRAY), byteorder=">"),
    "16 bits, white is zero": lambda: written(65535 - wide(GRAY), photometric="miniswhite"),
    "16 bits, white is zero, big-endian": lambda: written(65535 - wide(GRAY), photometric="miniswhite", byteorder=">"),
    "16 bits, lzw, predictor": lambda: written(wide(GRAY), compression="lzw", predictor=True),
    "16 bits, big-endian, deflate, predictor": lambda: written(
        wide(GRAY), byteorder=">", compression="zlib", predictor=True
    ),
    "16 bits with alpha": lambda: written(
        np.dstack([wide(GRAY), wide(OPAQUE)]), photometric="minisblack", extrasamples=[2]
    ),
    "8 bits with alpha": lambda: written(np.dstack([GRAY, OPAQUE]), photometric="minisblack", extrasamples=[2]),
    "white is zero with alpha": lambda: written(
        np.dstack([255 - GRAY, OPAQUE]), photometric="miniswhite", extrasamples=[2]
    ),
    "32 bits": lambda: written(GRAY.astype(np.uint32) * 0x01010101),
    "signed 16 bits": lambda: written(np.rint(GRAY / 255 * 32767).astype(np.int16)),
    "float to 1": lambda: written((GRAY / 255).astype(np.float32)),
    "float to 1, big-endian": lambda: written((GRAY / 255).astype(np.float32), byteorder=">"),
    "half float to 1": lambda: written((GRAY / 255).astype(np.float16)),
    "double to 1": lambda: written(GRAY / 255),
    "float to 255": lambda: written(GRAY.astype(np.float32)),
    "float to 65535": lambda: written(wide(GRAY).astype(np.float32)),
    "float, white is zero": lambda: written((1 - GRAY / 255).astype(np.float32), photometric="miniswhite"),
    "float, predictor 3": lambda: written((GRAY / 255).astype(np.float32), compression="zlib", predictor=3),
    "12 bits": lambda: plain_tiff(
        packed_bits(GRAY.astype(int) * 4095 // 255, 12),
        {258: (3, (12,)), 259: (3, (1,)), 262: (3, (1,)), 277: (3, (1,))},
    ),
    "12 bits in 16, by MaxSampleValue": lambda: plain_tiff(
        (GRAY.astype(int) * 4095 // 255).astype("<u2").tobytes(),
        {258: (3, (16,)), 259: (3, (1,)), 262: (3, (1,)), 277: (3, (1,)), 281: (3, (4095,))},
    ),
    "tiles": lambda: written(GRAY, tile=(16, 16)),
    "BigTIFF": lambda: written(GRAY, bigtiff=True),
    "zstd": lambda: written(GRAY, compression="zstd"),
    "lzma": lambda: written(GRAY, compression="lzma"),
    "webp": lambda: written(RGB, compression="webp", compressionargs={"lossless": True}),
}

COLORS: dict[str, Callable[[], bytes]] = {
    "8 bits": lambda: written(RGB),
    "planar": lambda: written(planes(RGB), photometric="rgb", planarconfig="separate"),
    "planar, lzw": lambda: written(planes(RGB), photometric="rgb", planarconfig="separate", compression="lzw"),
    "16 bits": lambda: written(wide(RGB)),
    "16 bits, big-endian": lambda: written(wide(RGB), byteorder=">"),
    "16 bits, big-endian, lzw, predictor": lambda: written(wide(RGB), byteorder=">", compression="lzw", predictor=True),
    "16 bits, planar": lambda: written(planes(wide(RGB)), photometric="rgb", planarconfig="separate"),
    "16 bits, planar, deflate, predictor": lambda: written(
        planes(wide(RGB)), photometric="rgb", planarconfig="separate", compression="zlib", predictor=True
    ),
    "16 bits, planar, tiles": lambda: written(
        planes(wide(RGB)), photometric="rgb", planarconfig="separate", tile=(16, 16)
    ),
    "16 bits with alpha": lambda: written(np.dstack([wide(RGB), wide(OPAQUE)]), photometric="rgb", extrasamples=[2]),
    "8 bits with alpha": lambda: written(np.dstack([RGB, OPAQUE]), photometric="rgb", extrasamples=[2]),
    "8 bits and an infrared channel": lambda: written(np.dstack([RGB, GRAY]), photometric="rgb", extrasamples=[0]),
    "32 bits": lambda: written(RGB.astype(np.uint32) * 0x01010101, photometric="rgb"),
    "float to 1": lambda: written((RGB / 255).astype(np.float32), photometric="rgb"),
    "float to 1, planar": lambda: written(
        planes((RGB / 255).astype(np.float32)), photometric="rgb", planarconfig="separate"
    ),
    "float to 1, big-endian, predictor 3": lambda: written(
        (RGB / 255).astype(np.float32), photometric="rgb", byteorder=">", compression="zlib", predictor=3
    ),
    "float to 255": lambda: written(RGB.astype(np.float32), photometric="rgb"),
    "half float": lambda: written((RGB / 255).astype(np.float16), photometric="rgb"),
    "tiles, deflate": lambda: written(RGB, tile=(16, 16), compression="zlib"),
    "BigTIFF, lzw": lambda: written(RGB, bigtiff=True, compression="lzw"),
    "packbits": lambda: written(RGB, compression="packbits"),
    "zstd": lambda: written(RGB, compression="zstd"),
    "webp": lambda: written(RGB, compression="webp", compressionargs={"lossless": True}),
    "jpeg xl": lambda: written(RGB, compression="jpegxl", compressionargs={"lossless": True}),
    "jpeg 2000": lambda: written(RGB, compression="jpeg2000", compressionargs={"reversible": True}),
    "png": lambda: written(RGB, compression="png"),
    "CMYK": lambda: written(np.asarray(Image.fromarray(RGB).convert("CMYK")), photometric="separated"),
    "CMYK, planar": lambda: written(
        planes(np.asarray(Image.fromarray(RGB).convert("CMYK"))), photometric="separated", planarconfig="separate"
    ),
    "CMYK, 16 bits": lambda: written(wide(np.asarray(Image.fromarray(RGB).convert("CMYK"))), photometric="separated"),
    "CMYK with alpha": lambda: written(
        np.dstack([np.asarray(Image.fromarray(RGB).convert("CMYK")), OPAQUE]),
        photometric="separated",
        extrasamples=[2],
    ),
}


@pytest.mark.parametrize("layout", [name for name in GRAYS if name != "webp"])
def test_gray(layout: str) -> None:
    assert difference(sent(GRAYS[layout]()), GRAY) <= 1


@pytest.mark.parametrize("layout", COLORS)
def test_colour(layout: str) -> None:
    assert difference(sent(COLORS[layout]()), RGB) <= 1


@pytest.mark.parametrize("layout", ["float to 1", "16 bits, planar", "zstd"])
def test_a_file_that_is_too_large_to_be_read_at_once(tmp_path: Path, layout: str) -> None:
    file = tmp_path / "large.tif"
    file.write_bytes(COLORS[layout]() + b"behind the picture" * (_READ_AT_ONCE // 18))
    probed = probe(file, limits=LIMITS)
    assert difference(opened(probed.converted or b""), RGB) <= 1


@pytest.mark.parametrize("quality", [95])
@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
def test_jpeg_in_tiff(quality: int, subsampling: str) -> None:
    factors = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[subsampling]
    data = written(RGB, compression="jpeg", compressionargs={"level": quality}, photometric="rgb", subsampling=factors)
    image = sent(data)
    assert np.abs(np.asarray(image).astype(int) - RGB).mean() < 6


@pytest.mark.parametrize("compression", ["jpeg", "tiff_jpeg"])
def test_jpeg_in_tiff_as_pillow_writes_it(compression: str) -> None:
    image = sent(encoded(scene(WIDTH, HEIGHT), "TIFF", compression=compression, quality=95))
    assert np.abs(np.asarray(image).astype(int) - RGB).mean() < 6


@pytest.mark.parametrize("layout", [*GRAYS, *COLORS])
def test_pillow_and_tifffile_agree(layout: str) -> None:
    data = (GRAYS.get(layout) or COLORS[layout])()
    directory = read_directories(io.BytesIO(data))[0]
    image = flattened(decode_tiff(io.BytesIO(data), directory, what="a TIFF"))
    got = sent(data)
    assert got.mode == image.mode
    assert ImageChops.difference(got, image).getextrema() in ((0, 0), (0, 1), *(((0, 0),) * 3, ((0, 1),) * 3)) or (
        int(np.abs(np.asarray(got).astype(int) - np.asarray(image)).max()) <= 1
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits(bits: int, photometric: int, order: str) -> None:
    most = 2**bits - 1
    levels = np.rint(GRAY / 255 * most).astype(int)
    stored = levels if photometric else most - levels
    data = plain_tiff(
        packed_bits(stored, bits),
        {258: (3, (bits,)), 259: (3, (1,)), 262: (3, (photometric,)), 277: (3, (1,))},
        order=order,
    )
    assert difference(sent(data), np.rint(levels * 255 / most)) == 0


@pytest.mark.parametrize("fill_order", [1, 2])
@pytest.mark.parametrize("compression", [None, "group3", "group4", "tiff_ccitt"])
def test_fax(compression: str | None, fill_order: int) -> None:
    page = scene(WIDTH, HEIGHT).convert("1")
    data = bytearray(encoded(page, "TIFF", compression=compression) if compression else encoded(page, "TIFF"))
    if fill_order == 2:  # the bits of each byte the other way round, and the tag that says so
        directory = read_directories(io.BytesIO(bytes(data)))[0]
        for offset, length in directory.segments:
            part = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data[offset : offset + length])
            data[offset : offset + length] = part
        data = bytearray(with_tag(bytes(data), 266, 2))
    assert difference(sent(bytes(data)), np.asarray(page.convert("L"))) == 0


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with one more tag; its directory is written again at the end."""
    at = struct.unpack_from("<L", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    entries = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    entries = [one for one in entries if struct.unpack_from("<H", one)[0] != tag]
    entries.append(struct.pack("<HHLHH", tag, 3, 1, value, 0))
    entries.sort(key=lambda one: struct.unpack_from("<H", one)[0])
    data += bytes(len(data) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + directory


@pytest.mark.parametrize("scale", [257, 1])
def test_palettes_of_sixteen_and_of_eight_bits(scale: int) -> None:
    indexed = Image.fromarray(RGB).quantize(200)
    table = indexed.getpalette() or []
    table += [0] * (768 - len(table))
    colormap = tuple(value * scale for plane in range(3) for value in table[plane::3])
    data = plain_tiff(
        indexed.tobytes(), {258: (3, (8,)), 259: (3, (1,)), 262: (3, (3,)), 277: (3, (1,)), 320: (3, colormap)}
    )
    assert difference(sent(data), np.asarray(indexed.convert("RGB"))) == 0


def lab_reference(lab: Any) -> Any:
    """CIE L*a*b* (D50) to sRGB after CIE 15 and IEC 61966-2-1, adapted by the Bradford method."""
    light, a, b = (lab[..., at] for at in range(3))
    fy = (light + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * [0.9642, 1.0, 0.8249]
    to_rgb = np.array([[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]])
    linear = np.clip(xyz @ to_rgb.T, 0, 1)
    return np.rint(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [8, 9])
def test_lab(bits: int, photometric: int) -> None:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    lab = np.stack([30 + 40 * x / WIDTH, -12 + 24.0 * y / HEIGHT, 12 - 24.0 * x / WIDTH], -1)
    if photometric == 8:
        scales = (255 / 100, 1, 1) if bits == 8 else (65535 / 100, 256, 256)
        stored = np.rint(lab * scales).astype(int) % 2**bits
    else:
        scales = (255 / 100, 1, 1) if bits == 8 else (65280 / 100, 256, 256)
        stored = np.rint(lab * scales + (0, 2 ** (bits - 1), 2 ** (bits - 1))).astype(int)
    data = plain_tiff(
        stored.astype(f"<u{bits // 8}").tobytes(),
        {258: (3, (bits,) * 3), 259: (3, (1,)), 262: (3, (photometric,)), 277: (3, (3,))},
    )
    probed = probe(data, limits=LIMITS)
    assert probed.to_srgb
    assert difference(opened(probed.converted or b""), lab_reference(lab)) <= 3  # 8 bits are coarse


def test_cmyk_goes_through_its_profile() -> None:
    profile = cmyk_profile()
    cmyk = np.asarray(Image.fromarray(RGB).convert("CMYK"))
    for data in (
        written(cmyk, photometric="separated", iccprofile=profile),
        encoded(Image.fromarray(cmyk, "CMYK"), "TIFF", icc_profile=profile),
        encoded(Image.fromarray(cmyk, "CMYK"), quality=100, subsampling=0, icc_profile=profile),
    ):
        probed = probe(data, limits=LIMITS)
        assert probed.to_srgb
        image = opened(probed.converted or b"")
        assert "icc_profile" not in image.info
        expected = ImageCms.profileToProfile(
            Image.fromarray(cmyk, "CMYK"),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
        assert expected is not None
        assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).mean() < 4
        assert np.abs(np.asarray(image).astype(int) - RGB).mean() > 8  # the plain formula gives other colours


def cmyk_profile() -> bytes:
    """A profile for a press with weak inks: a lookup table of two points an ink (ICC.1:2022, 10.10)."""
    entries = []
    for corner in range(16):
        c, m, y, k = ((corner >> bit) & 1 for bit in (3, 2, 1, 0))
        light = (1 - 0.7 * k) * (1 - 0.25 * c) * (1 - 0.3 * m) * (1 - 0.06 * y)
        a, b = (1 - k) * (60 * m - 30 * c - 5 * y), (1 - k) * (70 * y - 35 * c - 8 * m)
        entries += [round(light * 255), round(a + 128), round(b + 128)]
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0))
    lut += struct.pack(">9l", *(0x10000 if n % 4 == 0 else 0 for n in range(9)))
    lut += bytes(range(256)) * 4 + bytes(entries) + bytes(range(256)) * 3
    text = (
        b"mluc" + bytes(4) + struct.pack(">2L", 1, 12) + b"enUS" + struct.pack(">2L", 2, 28) + "x".encode("utf-16-be")
    )
    white = b"XYZ " + bytes(4) + struct.pack(">3L", 0xF6D6, 0x10000, 0xD32D)
    tags = [(b"desc", text), (b"cprt", text), (b"wtpt", white), (b"A2B0", lut), (b"A2B1", lut), (b"A2B2", lut)]
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags:
        data = content + bytes(-len(content) % 4)
        table += name + struct.pack(">2L", at + len(body), len(data))
        body += data
    size = at + len(body)
    head = struct.pack(">L4xL", size, 0x02400000) + b"prtrCMYKLab " + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    head = head.ljust(64, b"\0") + bytes(4) + struct.pack(">3L", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


def test_transparency_is_laid_on_white() -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, WIDTH // 2 :] = 255
    for pixels, kind in ((np.dstack([RGB, alpha]), 2), (np.dstack([wide(RGB), wide(alpha)]), 2)):
        image = sent(written(pixels, photometric="rgb", extrasamples=[kind]))
        assert image.getpixel((3, 3)) == (255, 255, 255)
        assert difference(image.crop((WIDTH // 2, 0, WIDTH, HEIGHT)), RGB[:, WIDTH // 2 :]) <= 1
    premultiplied = np.dstack([wide(RGB * (alpha // 255)), wide(alpha)])
    image = sent(written(premultiplied, photometric="rgb", extrasamples=[1]))
    assert image.getpixel((3, 3)) == (255, 255, 255)
    assert difference(image.crop((WIDTH // 2, 0, WIDTH, HEIGHT)), RGB[:, WIDTH // 2 :]) <= 1


def test_real_numbers_of_no_known_scale_are_stretched() -> None:
    image = sent(written((GRAY.astype(np.float32) - 128) * 1000))
    assert image.getextrema() == (0, 255)
    holes = (GRAY / 255).astype(np.float32)
    holes[0, :3] = (np.nan, np.inf, -np.inf)
    pixels = np.asarray(sent(written(holes)))
    assert pixels[0, 1] == 255
    assert pixels[0, 2] == 0
    assert np.abs(pixels[1:].astype(int) - GRAY[1:]).max() <= 1


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_signed_integers(kind: Any) -> None:
    most = np.iinfo(kind).max
    from_zero = np.rint(GRAY / 255 * most).astype(kind)
    assert difference(sent(written(from_zero)), GRAY) <= 1
    around_zero = np.rint(GRAY / 255 * (2 * most + 1) - most - 1).astype(kind)
    assert difference(sent(written(around_zero)), GRAY) <= 1


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_a_big_endian_bigtiff(compression: str | None) -> None:
    data = written(wide(RGB), photometric="rgb", bigtiff=True, byteorder=">", compression=compression)
    assert difference(sent(data), RGB) <= 1


def test_zeros_in_the_directory() -> None:
    data = encoded(scene(WIDTH, HEIGHT), "TIFF")
    with pytest.raises(PhotoRejected, match="copy it again") as caught:
        probe(data[:40] + bytes(len(data) - 40), limits=LIMITS)
    assert caught.value.type == "damaged"


@pytest.mark.parametrize("compression", ["lzw", "packbits"])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_zeros_within_strips_and_tiles(compression: str, tile: tuple[int, int] | None) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 200, 3), np.uint8)
    data = written(noise, photometric="rgb", compression=compression, tile=tile)
    half = len(data) // 2
    assert probe(data, limits=LIMITS)
    with pytest.raises(PhotoRejected, match="zeros") as caught:
        probe(data[:half] + bytes(2048) + data[half + 2048 :], limits=LIMITS)
    assert caught.value.type == "damaged"


@pytest.mark.parametrize("compression", ["lzw", "packbits"])
def test_black_is_no_damage(compression: str) -> None:
    black = np.zeros((2000, 1500, 3), np.uint8)
    assert probe(written(black, photometric="rgb", compression=compression), limits=LIMITS)
    pillow = {"lzw": "tiff_lzw", "packbits": "packbits"}[compression]
    assert probe(encoded(Image.fromarray(black), "TIFF", compression=pillow), limits=LIMITS)


def shortened(data: bytes, tag: int, at: int, *, by: int = 1) -> bytes:
    """A little-endian TIFF in which one of the lengths of its strips or tiles is less."""
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        found, kind, values, place = struct.unpack_from("<HHLL", data, entry)
        if found == tag:
            layout = f"<{values}{'H' if kind == 3 else 'L'}"
            offset = entry + 8 if struct.calcsize(layout) <= 4 else place
            lengths = list(struct.unpack_from(layout, data, offset))
            lengths[at] -= by
            return data[:offset] + struct.pack(layout, *lengths) + data[offset + struct.calcsize(layout) :]
    raise AssertionError("it has no such tag")


@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize(
    ("data", "tag"),
    [
        pytest.param(encoded(scene(WIDTH, HEIGHT), "TIFF", tiffinfo={278: 7}), 279, id="strips"),
        pytest.param(written(RGB, photometric="rgb", rowsperstrip=7), 279, id="rows a strip"),
        pytest.param(
            written(planes(RGB), photometric="rgb", planarconfig="separate", rowsperstrip=7), 279, id="planes"
        ),
        pytest.param(written((GRAY / 255).astype(np.float32), photometric="minisblack"), 279, id="real numbers"),
        pytest.param(written(RGB, photometric="rgb", tile=(16, 32)), 325, id="tiles"),
    ],
)
def test_rows_that_end_too_early(data: bytes, tag: int, at: int) -> None:
    assert sent(data).size == (WIDTH, HEIGHT)
    with pytest.raises(PhotoRejected, match="ends some of its rows too early") as caught:
        probe(shortened(data, tag, at), limits=LIMITS)
    assert caught.value.type == "damaged"


@pytest.mark.parametrize("by", [1, WIDTH * HEIGHT * 3])
def test_the_length_of_one_plain_strip_says_nothing(by: int) -> None:
    data = encoded(scene(WIDTH, HEIGHT), "TIFF")
    short = shortened(data, 279, 0, by=by)
    assert probe(short, limits=LIMITS).size == len(short)
    with Image.open(io.BytesIO(short)) as seen, Image.open(io.BytesIO(data)) as whole:
        assert seen.tobytes() == whole.tobytes()
    with pytest.raises(PhotoRejected):
        probe(short[: -WIDTH * 30], limits=LIMITS)


def test_the_size_of_tiles_says_nothing_of_strips() -> None:
    data = written(RGB, photometric="rgb", rowsperstrip=7, extratags=[(322, 4, 1, 64, True), (323, 4, 1, 64, True)])
    assert sent(data).size == (WIDTH, HEIGHT)


class TestRareJpeg:
    """JPEG of more than 8 bits, lossless, or coded arithmetically."""

    imagecodecs: Any = pytest.importorskip("imagecodecs")

    @pytest.mark.parametrize("bits", [10, 12, 16])
    def test_lossless(self, bits: int) -> None:
        dark = wide(GRAY // 4) >> (16 - bits)
        data = self.imagecodecs.jpeg_encode(dark, lossless=True, bitspersample=bits)
        assert difference(sent(data), GRAY // 4) <= 1

    def test_twelve_bits(self) -> None:
        data = self.imagecodecs.jpeg_encode(wide(GRAY // 16) >> 4, bitspersample=12, level=98)
        assert difference(sent(data), GRAY // 16) <= 2

    def test_turned_upright(self) -> None:
        data = self.imagecodecs.jpeg_encode(wide(GRAY) >> 4, bitspersample=12, level=98)
        exif = Image.Exif()
        exif[0x0112] = 6
        block = exif.tobytes()
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        assert difference(sent(data[:2] + segment + data[2:]), np.rot90(GRAY, -1)) <= 6

    def test_cut_and_holed(self) -> None:
        noise = np.random.default_rng(0).integers(0, 4096, (100, 200)).astype(np.uint16)
        data = self.imagecodecs.jpeg_encode(noise, bitspersample=12, level=98)
        middle = len(data) // 2
        for broken in (data[:middle], data[:middle] + bytes(len(data) - middle)):
            with pytest.raises(PhotoRejected, match="copy it again"):
                probe(broken, limits=LIMITS)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({262: (3, (32844,)), 258: (3, (16,)), 277: (3, (1,))}, "photometric interpretation 32844"),
        ({262: (3, (5,)), 258: (3, (8,) * 6), 277: (3, (6,)), 332: (3, (2,))}, "CMYK"),
    ],
)
def test_colours_that_nobody_knows(tags: dict[int, tuple[int, tuple[int, ...]]], reason: str) -> None:
    data = plain_tiff(bytes([1, 2, 3]) * (WIDTH * HEIGHT * 2), {259: (3, (1,))} | tags)
    with pytest.raises(PhotoRejected, match=reason) as caught:
        probe(data, limits=LIMITS)
    assert caught.value.type == "unsupported"


@pytest.mark.parametrize("layout", ["16 bits, planar", "float to 1", "CMYK with alpha"])
def test_without_the_extra(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(PhotoRejected, match=r"pip install 'smarty_async\[formats\]'") as caught:
        probe(COLORS[layout](), limits=LIMITS)
    assert caught.value.type == "unsupported"
    assert "damaged" not in str(caught.value)


class TestPages:
    @staticmethod
    def album(*sizes: tuple[int, int], **options: Any) -> tuple[bytes, list[Image.Image]]:
        pages = [scene(width, height, seed=seed) for seed, (width, height) in enumerate(sizes)]
        return encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options), pages

    @pytest.mark.parametrize("compression", [None, "tiff_lzw"])
    def test_every_page_of_an_album(self, compression: str | None) -> None:
        data, pages = self.album((64, 48), (40, 60), (9, 9), compression=compression)
        for number, page in enumerate(pages, 1):
            probed = probe(data, limits=LIMITS, page=number)
            assert probed.pages == 3
            assert (probed.width, probed.height) == page.size
            assert opened(probed.converted or b"").tobytes() == page.tobytes()

    @pytest.mark.parametrize("page", [0, 4, -1])
    def test_pages_that_are_not_there(self, page: int) -> None:
        data, _ = self.album((64, 48), (40, 60), (9, 9))
        with pytest.raises(PhotoRejected) as caught:
            probe(data, limits=LIMITS, page=page)
        assert caught.value.type == "no_such_page"
        with pytest.raises(PhotoRejected):
            probe(encoded(scene()), limits=LIMITS, page=2)

    def test_pages_of_different_layouts(self) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tif:
            tif.write(RGB, metadata=None)
            tif.write(planes(wide(RGB)), photometric="rgb", planarconfig="separate", metadata=None)
            tif.write(65535 - wide(GRAY), photometric="miniswhite", metadata=None)
        data = buffer.getvalue()
        assert [difference(sent(data, page=page), RGB) for page in (1, 2)] == [0, 0]
        assert difference(sent(data, page=3), GRAY) == 0

    @pytest.mark.parametrize("kind", [1, 4, 5])
    def test_thumbnails_and_masks_are_no_pages(self, kind: int) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tif:
            tif.write(RGB, metadata=None)
            tif.write(RGB[::2, ::2], subfiletype=1, metadata=None)
        data = bytearray(buffer.getvalue())
        entry = data.index(struct.pack("<HHLL", 254, 4, 1, 1))
        struct.pack_into("<L", data, entry + 8, kind)
        probed = probe(bytes(data), limits=LIMITS)
        assert (probed.pages, probed.converted, probed.content_type) == (1, None, "image/tiff")

    def test_a_thumbnail_before_its_picture(self) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tif:
            tif.write(RGB[::4, ::4], subfiletype=1, metadata=None)
            tif.write(RGB, metadata=None)
        probed = probe(buffer.getvalue(), limits=LIMITS)
        assert (probed.pages, probed.width, probed.height) == (1, WIDTH, HEIGHT)
        assert difference(opened(probed.converted or b""), RGB) == 0

    @pytest.mark.parametrize("flagged", [True, False])
    def test_the_levels_of_a_pyramid_are_no_pages(self, *, flagged: bool) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tif:
            for step in (1, 2, 4):
                kind = 1 if flagged and step > 1 else 0
                tif.write(RGB[::step, ::step], tile=(16, 16), subfiletype=kind, metadata=None)
        assert probe(buffer.getvalue(), limits=LIMITS).pages == 1

    def test_reduced_copies_in_children_are_no_pages(self) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tif:
            tif.write(RGB, subifds=1, metadata=None)
            tif.write(RGB[::2, ::2], subfiletype=1, metadata=None)
        probed = probe(buffer.getvalue(), limits=LIMITS)
        assert (probed.pages, probed.width) == (1, WIDTH)

    def test_a_picture_among_the_children_of_its_thumbnail(self) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tif:
            tif.write(RGB[::4, ::4], subfiletype=1, subifds=1, metadata=None)
            tif.write(RGB, metadata=None)
        probed = probe(buffer.getvalue(), limits=LIMITS)
        assert (probed.pages, probed.width) == (1, WIDTH)
        assert difference(opened(probed.converted or b""), RGB) == 0

    def test_a_chain_that_bites_its_tail(self) -> None:
        data, _ = self.album((64, 48), (40, 60))
        directories = read_directories(io.BytesIO(data))
        broken = bytearray(data)
        at = directories[1].offset
        count = struct.unpack_from("<H", broken, at)[0]
        struct.pack_into("<L", broken, at + 2 + 12 * count, directories[0].offset)
        assert probe(bytes(broken), limits=LIMITS).pages == 2

    def test_a_chain_that_leads_out_of_the_file(self) -> None:
        data, _ = self.album((64, 48), (40, 60))
        with pytest.raises(PhotoRejected) as caught:
            probe(data[: len(data) // 2], limits=LIMITS)
        assert caught.value.type == "truncated"

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("reader", ["Pillow", "tifffile"])
    @pytest.mark.parametrize("compression", [None, "lzw"])
    def test_pages_are_turned_upright(self, orientation: int, reader: str, compression: str | None) -> None:
        turn: dict[str, Any] = {"extratags": [(274, 3, 1, orientation, True)], "compression": compression}
        if reader == "Pillow":
            data = written(wide(RGB), photometric="rgb", **turn)
        else:
            data = written(planes(wide(RGB)), photometric="rgb", planarconfig="separate", **turn)
        probed: Probed = probe(data, limits=LIMITS)
        turned = Image.fromarray(RGB)
        turned.getexif()[274] = orientation
        expected = ImageOps.exif_transpose(turned)
        assert probed.orientation == 1
        assert opened(probed.converted or b"").tobytes() == expected.tobytes()

    def test_orientation_of_what_is_sent_as_it_is(self) -> None:
        data = written(RGB, extratags=[(274, 3, 1, 6, True)])
        probed = probe(data, limits=LIMITS)
        assert (probed.converted, probed.orientation, probed.width) == (None, 6, WIDTH)


def test_a_tag_of_the_wrong_type() -> None:
    for tag in (256, 258, 262, 273, 279, 320, 330, 338):
        for kind in (2, 5, 7, 11, 12, 99):
            data = bytearray(encoded(scene().convert("P"), "TIFF"))
            at = struct.unpack_from("<L", data, 4)[0]
            for number in range(struct.unpack_from("<H", data, at)[0]):
                entry = at + 2 + 12 * number
                if struct.unpack_from("<H", data, entry)[0] == tag:
                    struct.pack_into("<H", data, entry + 2, kind)
            with suppress(PhotoRejected):
                probe(bytes(data), limits=LIMITS)


def test_libtiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(scene(300, 200), "TIFF", compression="jpeg"))
    directory = read_directories(io.BytesIO(bytes(data)))[0]
    for offset, length in directory.segments:
        data[offset + 20 : offset + length - 20] = bytes(range(1, 201)) * (length // 200) + bytes(length % 200 + 160)
    del data[-40:]
    with suppress(PhotoRejected):
        probe(bytes(data), limits=LIMITS)
    with suppress(PhotoRejected):
        probe(encoded(scene().convert("1"), "TIFF", compression="group4")[:-1], limits=LIMITS)
    broken = bytearray(encoded(scene().convert("1"), "TIFF", compression="tiff_lzw"))
    for offset, length in read_directories(io.BytesIO(bytes(broken)))[0].segments:
        broken[offset + 2 : offset + length] = b"\xa7" * (length - 2)
    with suppress(PhotoRejected):
        probe(bytes(broken), limits=LIMITS)
    assert capfd.readouterr() == ("", "")
