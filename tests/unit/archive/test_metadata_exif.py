from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.metadata_samples import CAPTION, MAKER_NOTE, TAKEN, ascii_value, exif_block, tiff_block

from smarty_async.archive.outputs.metadata.exif import (
    Geometry,
    correct_exif,
    exif_with,
    minimal_exif,
    read_exif,
    short_exif,
)
from smarty_async.archive.photos.tiff import TiffError

ENLARGED = Geometry(width=600, height=400, source_size=(300, 200))
TURNED = Geometry(width=200, height=300, source_size=(300, 200), source_orientation=6)
THUMBNAIL = b"\xff\xd8the stale thumbnail\xff\xd9"


def parsed(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_set_in_place_in_either_byte_order(order: str, orientation: int) -> None:
    block = exif_block(6, order=order)
    corrected = correct_exif(block, Geometry(width=300, height=200, orientation=orientation))
    assert read_exif(corrected).orientation == orientation
    assert len(corrected) == len(block)


@pytest.mark.parametrize("order", "<>")
def test_an_orientation_is_added_where_there_is_none(order: str) -> None:
    block = exif_block(None, order=order)
    assert read_exif(correct_exif(block, ENLARGED)).orientation is None
    corrected = parsed(correct_exif(block, Geometry(width=300, height=200, orientation=8)))
    assert corrected[0x0112] == 8
    assert corrected[0x010E] == CAPTION
    assert corrected.get_ifd(0x8769)[36867] == TAKEN


@pytest.mark.parametrize("order", "<>")
def test_sizes_and_resolutions_are_the_enlarged_output_s(order: str) -> None:
    exif = parsed(correct_exif(exif_block(order=order), ENLARGED))
    assert (exif[0x011A], exif[0x011B]) == (1200, 600)
    inner = exif.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (600, 400)
    assert 0x9214 not in inner, "a position in pixels of the source"


def test_resolutions_change_places_where_rows_become_columns() -> None:
    exif = parsed(correct_exif(exif_block(6), TURNED))
    assert (exif[0x011A], exif[0x011B]) == (300, 600)
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (200, 300)


@pytest.mark.parametrize("thumbnail", [b"", THUMBNAIL])
@pytest.mark.parametrize("orientation", [1, 8])
def test_maker_note_and_gps_stay_byte_for_byte_at_their_offsets(thumbnail: bytes, orientation: int) -> None:
    block = exif_block(None, thumbnail=thumbnail)
    corrected = correct_exif(block, Geometry(width=600, height=400, orientation=orientation, source_size=(300, 200)))
    assert corrected.index(MAKER_NOTE) == block.index(MAKER_NOTE)
    assert parsed(corrected).get_ifd(0x8825) == {1: "N", 2: (55.0, 45.0, 0.0)}


def test_no_byte_of_the_thumbnail_is_left() -> None:
    block = exif_block(thumbnail=THUMBNAIL)
    corrected = correct_exif(block, ENLARGED)
    assert b"stale" in block
    assert b"stale" not in corrected
    assert len(corrected) == len(exif_block())
    assert not parsed(corrected).get_ifd(1)


def test_a_thumbnail_in_the_middle_is_overwritten() -> None:
    block = exif_block(thumbnail=THUMBNAIL)
    # The caption is moved behind the thumbnail.
    place = block.index(struct.pack("<HHI", 0x010E, 2, len(CAPTION) + 1)) + 8
    block = block[:place] + struct.pack("<I", len(block)) + block[place + 4 :] + CAPTION.encode() + b"\0"
    corrected = correct_exif(block, ENLARGED)
    assert b"stale" not in corrected
    assert parsed(corrected)[0x010E] == CAPTION


def test_fields_and_children_that_cannot_be_read_are_left_out() -> None:
    root = {
        0x010E: ascii_value(CAPTION),
        0x010F: (2, 900, b"\xff\xff\0\0"),  # an offset beyond the end
        0x0110: (99, 1, b"what"),
    }
    block = bytearray(tiff_block(root, {0x8769: {}}))
    place = block.index(struct.pack("<H", 0x8769)) + 8
    block[place : place + 4] = struct.pack("<I", 8)  # circular
    block[block.index(struct.pack("<HHI", 0x010F, 2, 900)) + 8 :][:4] = b"\xff\xff\0\0"
    corrected = correct_exif(bytes(block), ENLARGED)
    assert dict(parsed(corrected)) == {0x010E: CAPTION}


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"II*\0\xff\xff\0\0",
        b"II*\0\0\0\0\0",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(400),  # 65,535 entries
        b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + bytes(8),
        b"no TIFF header at all",
    ],
)
def test_a_malformed_block_is_an_error(block: bytes) -> None:
    with pytest.raises(TiffError):
        correct_exif(block, ENLARGED)


def test_parts_that_overlap_are_an_error() -> None:
    block = bytearray(exif_block())
    place = block.index(struct.pack("<HHI", 0x011A, 5, 1)) + 8
    block[place : place + 4] = struct.pack("<I", 10)  # the resolution lies in the directory itself
    with pytest.raises(TiffError, match="overlap"):
        correct_exif(bytes(block), ENLARGED)


def test_a_block_that_is_too_long_loses_its_largest_fields() -> None:
    block = exif_block(maker=bytes(70_000))
    shorter, left_out = short_exif(block, 65_000)
    assert left_out == [0x927C]
    assert len(shorter) <= 65_000
    exif = parsed(shorter)
    assert exif[0x010E] == CAPTION
    assert exif.get_ifd(0x8769)[36867] == TAKEN
    assert exif.get_ifd(0x8825)[1] == "N"


def test_texts_are_added_where_there_are_none() -> None:
    exif = parsed(exif_with(exif_block(), {0x010E: "another caption", 0x013B: "the photographer"}))
    assert (exif[0x010E], exif[0x013B]) == (CAPTION, "the photographer")
    assert parsed(exif_with(None, {0x010E: CAPTION}))[0x010E] == CAPTION


def test_an_orientation_alone() -> None:
    assert dict(parsed(minimal_exif(6))) == {0x0112: 6}


@pytest.mark.parametrize(("unit", "inches"), [(1, None), (2, 1.0), (3, 2.54), (9, None)])
def test_the_unit_of_resolutions_is_read(unit: int, inches: float | None) -> None:
    old, new = (struct.pack("<HHIH", 0x0128, 3, 1, number) for number in (2, unit))
    summary = read_exif(exif_block().replace(old, new))
    assert (summary.resolution, summary.inches) == ((600, 300), inches)
    assert read_exif(tiff_block({}, {})).inches == 1.0


@pytest.mark.slow
@given(
    order=st.sampled_from("<>"),
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
    orientation=st.integers(1, 8),
)
@settings(max_examples=3 * settings().max_examples)
def test_damaged_blocks_are_errors_or_keep_what_is_whole(
    order: str, changes: list[tuple[int, int]], cut: int, orientation: int
) -> None:
    block = bytearray(exif_block(6, order=order, thumbnail=THUMBNAIL, maker=b"maker"))
    for at, value in changes:
        block[at % len(block)] = value
    damaged = bytes(block[: len(block) - cut // 4 if cut % 4 == 0 else len(block)])
    geometry = Geometry(width=600, height=400, orientation=orientation, source_size=(300, 200))
    try:
        corrected = correct_exif(damaged, geometry)
    except TiffError:
        return
    assert (read_exif(corrected).orientation or 1) == orientation
    assert len(corrected) <= len(damaged) + 12 * 10
    unchanged = Geometry(width=600, height=400, orientation=orientation, source_orientation=orientation)
    assert read_exif(correct_exif(corrected, unchanged)) == read_exif(corrected)
