from __future__ import annotations

import io
import os
import struct
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.metadata_samples import exif_block, exif_segment, jpeg_with, scene
from support.pictures import CountingStream, encoded, opened

from smarty_async.archive.photos import jpeg
from smarty_async.archive.photos.jpeg import JpegExtent, find_jpeg_extent, has_all_scans

ENCODINGS: list[dict[str, Any]] = [
    {},
    {"progressive": True},
    {"optimize": True},
    {"restart_marker_blocks": 4},
    {"subsampling": 0, "quality": 98},
]


@cache
def noisy(width: int = 900, height: int = 700) -> Image.Image:
    """A picture of noise, not to be changed."""
    return Image.merge("RGB", [Image.effect_noise((width, height), 60) for _ in range(3)])


def extent(data: bytes) -> JpegExtent:
    return find_jpeg_extent(io.BytesIO(data))


def holed(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


@pytest.mark.slow
@pytest.mark.parametrize("options", ENCODINGS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_whole_picture_ends_with_its_file(options: dict[str, Any], mode: str) -> None:
    data = encoded(noisy().convert(mode), **options)
    assert extent(data) == JpegExtent(end=len(data))


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
@pytest.mark.parametrize(
    "trailer",
    [
        b"\0\0\0\x18ftypmp42" + os.urandom(50_000),
        encoded(scene()),
        bytes(100_000),
        b"\xff\xd9",
        b"SEFT" + struct.pack("<I", 9),
    ],
    ids=["video", "another picture", "padding", "a second end", "notes"],
)
def test_data_behind_a_picture_are_no_part_of_it(options: dict[str, Any], trailer: bytes) -> None:
    data = encoded(noisy(200, 150), **options)
    found = extent(data + trailer)
    assert found == JpegExtent(end=len(data))
    assert opened((data + trailer)[: found.end]).tobytes() == opened(data).tobytes()


def test_a_trailer_of_40_megabytes_is_not_read() -> None:
    data = encoded(noisy())
    stream = CountingStream(data + bytes(40_000_000))
    assert find_jpeg_extent(stream).end == len(data)
    assert stream.count < len(data) + 2_000_000


def test_thumbnails_in_front_of_the_picture_have_ends_of_their_own() -> None:
    data = jpeg_with(exif_segment(exif_block(thumbnail=encoded(scene(80, 60)))), (0xFE, b"\xff\xd9\xff\xd8"))
    assert extent(data + b"behind").end == len(data)


def test_a_picture_of_several_megabytes_is_read_in_parts() -> None:
    data = encoded(noisy(1600, 1200), quality=98)
    assert len(data) > 2 << 20
    assert extent(data + b"behind").end == len(data)
    middle = len(data) // 2
    assert extent(holed(data, middle, middle + 3_000)).hole in range(middle - 600, middle + 1)


@pytest.mark.slow
@pytest.mark.parametrize("options", ENCODINGS, ids=str)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_zeros_up_to_the_end_are_a_hole(options: dict[str, Any], part: float) -> None:
    data = encoded(noisy(), **options)
    start = int(len(data) * part)
    found = extent(holed(data, start, len(data)))
    assert found.end is None
    assert found.hole is not None
    assert start - 8 <= found.hole <= start


@pytest.mark.parametrize("options", [ENCODINGS[0], ENCODINGS[3], ENCODINGS[4]], ids=str)
def test_zeros_in_the_middle_are_a_hole(options: dict[str, Any]) -> None:
    data = encoded(noisy(), **options)
    start = len(data) // 3
    found = extent(holed(data, start, start + 4096))
    assert found.end == len(data)
    assert found.hole is not None
    assert start - 8 <= found.hole <= start


@pytest.mark.parametrize(("begin", "end"), [(0.3, 0.4), (0.2, 0.99), (0.5, 0.9)])
@pytest.mark.parametrize("image", [noisy(), scene(1200, 800)], ids=["noisy", "smooth"])
def test_zeros_in_the_middle_of_a_progressive_picture(image: Image.Image, begin: float, end: float) -> None:
    data = encoded(image, progressive=True)
    start, stop = int(len(data) * begin), int(len(data) * end)
    assert extent(holed(data, start, stop)).hole is not None


@pytest.mark.slow
@pytest.mark.parametrize("options", ENCODINGS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_have_no_hole(options: dict[str, Any], mode: str, level: int) -> None:
    flat = Image.new("L", (2400, 2400), level).convert(mode)
    flat.paste(scene(200, 150), (0, 0))
    data = encoded(flat, **options)
    assert extent(data) == JpegExtent(end=len(data))


def test_zeros_right_before_the_end_marker_are_padding() -> None:
    data = encoded(noisy())
    padded = data[:-2] + bytes(5000) + data[-2:]
    assert extent(padded) == JpegExtent(end=len(padded))


@given(
    parts=st.lists(
        st.sampled_from([b"\xff", b"\xff\0", b"\xff\xd0", b"\x01", bytes(200), bytes(511), bytes(512), bytes(900)]),
        max_size=12,
    ),
    window=st.integers(1, 1100),
    ends=st.booleans(),
)
@example(parts=[bytes(900), bytes(900)], window=600, ends=True)
@example(parts=[bytes(900), b"\x01", bytes(900)], window=600, ends=True)
def test_wherever_reading_pauses_the_same_zeros_are_padding(parts: list[bytes], window: int, *, ends: bool) -> None:
    data = WHOLE[:-2] + b"".join(parts) + WHOLE[-2:] * ends
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "_FIRST_BYTES", window)
        patch.setattr(jpeg, "_CHUNK_BYTES", window)
        assert extent(data) == find_jpeg_extent(data)


@pytest.mark.parametrize("missing", [1, 2, 3, 1000])
def test_a_file_that_breaks_off_has_no_end(missing: int) -> None:
    data = encoded(noisy())[:-missing]
    assert extent(data) == JpegExtent()


def test_a_picture_that_another_one_interrupts_has_no_end() -> None:
    data = encoded(noisy())
    assert extent(data[: len(data) // 2] + data).end is None


SCANS = encoded(scene(), progressive=True)
HEADER = SCANS[: SCANS.index(b"\xff\xda")]


def scan_header(components: bytes, last: int) -> bytes:
    """Of a scan that brings the coefficients from the first to the `last` one to their last bit."""
    tables = b"".join(bytes((component, 0)) for component in components)
    return b"\xff\xda" + struct.pack(">HB", 6 + len(tables), len(components)) + tables + bytes((0, last, 0))


def test_scans_that_bring_all_coefficients() -> None:
    for data, whole in (
        (SCANS, True),
        (SCANS[: SCANS.rindex(b"\xff\xda")], False),
        (HEADER + scan_header(b"\1\2\3", 63), True),
    ):
        assert has_all_scans(data, len(data)) == whole
        assert has_all_scans(io.BytesIO(data), len(data)) == whole
    assert not has_all_scans(SCANS, SCANS.rindex(b"\xff\xda"))


@pytest.mark.parametrize(("components", "last"), [(b"\1\2\3" * 85, 63), (b"\1\2\3\3\3", 63), (b"\1\2\3", 64)])
def test_scans_that_cannot_be_are_not_looked_at(components: bytes, last: int) -> None:
    data = HEADER + scan_header(components, last)
    assert not has_all_scans(data, len(data))


def test_scans_are_looked_for_until_all_are_found_and_not_without_end() -> None:
    none, whole = scan_header(b"\4", 63), scan_header(b"\1\2\3", 63)
    data = HEADER + whole + none * 20_000
    found = CountingStream(data)
    assert has_all_scans(found, len(data))
    assert found.count < len(data) // 2
    data = HEADER + none * 20_000 + whole
    assert not has_all_scans(data, len(data))


def test_a_scan_at_the_edge_of_what_is_read_at_a_time() -> None:
    for more in range(-3, 4):
        data = HEADER + scan_header(b"\4", 63).ljust((1 << 17) + 2 + more, b"\1") + scan_header(b"\1\2\3", 63)
        assert has_all_scans(io.BytesIO(data), len(data))
        assert not has_all_scans(io.BytesIO(data), len(data) - 1)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_jpeg_has_no_end(data: bytes) -> None:
    assert extent(data).end is None


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8), st.integers(0, 1 << 20))
@settings(max_examples=2 * settings().max_examples)
def test_damage_raises_nothing_and_ends_within_the_file(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at % len(data)] = value
    damaged = bytes(data[: cut % (2 * len(data))])
    found = extent(damaged)
    assert found.end is None or 2 < found.end <= len(damaged)
    assert found.hole is None or 0 <= found.hole < len(damaged)


WHOLE = encoded(scene())
