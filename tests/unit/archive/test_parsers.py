"""The parsers of JPEG segments and TIFF directories: hostile files, and that bytes and streams are read alike."""

from __future__ import annotations

import io
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.metadata_samples import IPTC, XMP, exif_block, exif_segment, icc_profile, jpeg_with, scene, xmp_segment
from support.pictures import encoded

from smarty_async.archive.photos.jpeg import (
    JpegError,
    JpegHeader,
    JpegSource,
    JpegTruncated,
    SegmentKind,
    find_jpeg_extent,
    read_header,
    segment,
)
from smarty_async.archive.photos.pages import Tag, read_directories
from smarty_async.archive.photos.tiff import Directory, TiffError, TiffReader, first_orientation
from smarty_async.errors import PhotoRejected

PLAIN = encoded(scene(64, 48))
FULL = jpeg_with(exif_segment(exif_block(6)), xmp_segment(XMP), (0xED, b"Photoshop 3.0\0" + IPTC), (0xFE, b"a comment"))
LONG = PLAIN[:2] + b"".join(b"\xff\xe4\xff\xff" + bytes(65_533) for _ in range(3)) + PLAIN[2:]
"""Longer in front of its pixels than what is read of a stream at once."""


def header_of(source: JpegSource) -> JpegHeader | str:
    """The header, or the error in its place."""
    try:
        return read_header(source)
    except JpegError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("data", [PLAIN, FULL, LONG], ids=["plain", "full", "long"])
def test_segments_follow_each_other_up_to_the_pixels(data: bytes) -> None:
    header = read_header(data)
    assert [one.start for one in header.segments] == [2, *(one.end for one in header.segments[:-1])]
    assert data[header.end - 2 : header.end] == b"\xff\xda"
    assert all(data[one.start : one.start + 2] == bytes((0xFF, one.marker)) for one in header.segments)
    assert (header.bits, header.components, header.sound, header.is_common) == (8, 3, True, True)


def test_what_segments_hold_is_read_with_them() -> None:
    payloads = read_header(FULL).payloads
    assert payloads[SegmentKind.EXIF] == (exif_block(6),)
    assert payloads[SegmentKind.XMP] == (XMP,)
    assert payloads[SegmentKind.IPTC] == (IPTC,)
    assert payloads[SegmentKind.COMMENT] == (b"a comment",)
    assert read_header(FULL).held < len(FULL)
    profile = read_header(encoded(scene(64, 48), icc_profile=icc_profile(180_000))).payloads[SegmentKind.ICC]
    assert [part[:2] for part in profile] == [b"\x01\x03", b"\x02\x03", b"\x03\x03"]


def test_bytes_between_segments_are_passed_over() -> None:
    junk = PLAIN[:2] + b"\0\xff\0\xff\xff\xff\x01junk" + PLAIN[2:]
    assert read_header(junk).width == 64
    assert len(read_header(junk).segments) == len(read_header(PLAIN).segments)
    far = PLAIN[:2] + bytes(200_001) + PLAIN[2:]
    assert header_of(io.BytesIO(far)) == header_of(far)
    assert read_header(far).width == 64


@pytest.mark.parametrize("marker", [0x02, 0x31, 0xBF])
def test_a_reserved_marker_is_an_error(marker: int) -> None:
    with pytest.raises(JpegError, match="unknown marker"):
        read_header(PLAIN[:2] + bytes((0xFF, marker)) + PLAIN[2:])


@pytest.mark.parametrize("components", [2, 4, 255])
def test_a_frame_without_the_components_that_it_announces_is_an_error(components: int) -> None:
    at = PLAIN.index(b"\xff\xc0") + 9
    with pytest.raises(JpegError, match="no frame"):
        read_header(PLAIN[:at] + bytes((components,)) + PLAIN[at + 1 :])


def test_a_second_frame_is_an_error() -> None:
    at = PLAIN.index(b"\xff\xc0")
    frame = PLAIN[at : at + 19]
    with pytest.raises(JpegError, match="two frames"):
        read_header(PLAIN[:at] + frame + PLAIN[at:])


def test_a_file_that_ends_in_its_header_is_truncated() -> None:
    for end in range(2, read_header(PLAIN).end):
        with pytest.raises(JpegTruncated):
            read_header(PLAIN[:end])


def test_a_file_that_becomes_shorter_meanwhile_is_truncated() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.truncate(70_000)
            return data

    with pytest.raises(JpegTruncated):
        read_header(Shrinking(LONG))


@pytest.mark.parametrize("tables", [b"\x00" + bytes(63), b"\x10" + bytes(127), bytes(66)])
def test_quantization_tables_that_are_not_whole_are_noticed(tables: bytes) -> None:
    at = PLAIN.index(b"\xff\xdb")
    header = read_header(PLAIN[:at] + b"\xff\xdb" + struct.pack(">H", len(tables) + 2) + tables + PLAIN[at:])
    assert not header.sound


@pytest.mark.slow
@given(
    data=st.sampled_from([PLAIN, FULL, LONG, encoded(scene(64, 48), progressive=True)]),
    changes=st.lists(st.tuples(st.integers(0, 200_000), st.binary(max_size=4)), max_size=6),
    cut=st.none() | st.integers(0, 210_000),
)
@settings(max_examples=300, deadline=None)
def test_bytes_and_streams_are_read_alike(data: bytes, changes: list[tuple[int, bytes]], cut: int | None) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(data) : at % len(data) + len(value)] = value
    source = bytes(damaged[:cut])
    assert header_of(source) == header_of(io.BytesIO(source))
    assert find_jpeg_extent(source) == find_jpeg_extent(io.BytesIO(source))


@given(
    kind=st.sampled_from([SegmentKind.EXIF, SegmentKind.XMP, SegmentKind.ICC, SegmentKind.IPTC, SegmentKind.COMMENT]),
    payload=st.binary(max_size=99),
)
def test_a_segment_is_read_as_it_was_written(kind: str, payload: bytes) -> None:
    assert read_header(PLAIN[:2] + segment(kind, payload) + PLAIN[2:]).payloads[kind] == (payload,)


# TIFF


def directory(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """A little-endian TIFF of one directory."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + struct.pack("<I", following)


def read(block: bytes | io.BytesIO) -> Directory | str:
    """The first directory, or the error in its place."""
    try:
        reader = TiffReader(block)
        return reader.directory(reader.first)
    except TiffError as error:
        return str(error)


@pytest.mark.parametrize("count", [9, 1 << 20, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", [2, 5, 7, 12, 99])
def test_values_of_gigabytes_are_not_read(kind: int, count: int) -> None:
    found = read(directory([(0x010E, kind, count, 0xFFFFFFF0), (0x010F, 2, 6, 8)]))
    assert isinstance(found, Directory)
    assert found.broken == {0x010E}
    assert 0x010F in found.fields, "what comes behind it is read"


@pytest.mark.parametrize("big", [False, True])
def test_directories_that_lead_to_themselves_end(big: bool) -> None:  # noqa: FBT001 - a parameter of the test
    if big:
        size = struct.pack("<QHHQQQ", 1, 256, 4, 1, 9, 16)
        pages = read_directories(io.BytesIO(b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + size))
    else:
        pages = read_directories(io.BytesIO(directory([(256, 4, 1, 9), (330, 4, 1, 8)], following=8)))
    assert [page.size for page in pages] == [(9, 0)]
    found = read(directory([(0x8769, 4, 1, 8)]))
    assert isinstance(found, Directory)
    assert not found.children
    assert found.broken == {0x8769}


@pytest.mark.slow
def test_directories_that_overlap_come_to_an_end() -> None:
    """Each begins two bytes behind the one before, and claims the rest of the file."""
    entry = struct.pack("<HHII", 256, 4, 1, 9)
    offsets = list(range(100_000, 108_000, 2))
    children = directory([(330, 4, len(offsets), 26)]) + struct.pack(f"<{len(offsets)}I", *offsets)
    with pytest.raises(PhotoRejected) as caught:
        read_directories(io.BytesIO(children.ljust(100_000, b"\0") + b"\x20\x4e" * 4_000 + entry * 30_000))
    assert caught.value.type == "truncated"


@pytest.mark.parametrize("tags", [sorted(value for name, value in vars(Tag).items() if name.isupper()), [273, 279]])
def test_tags_that_share_their_values_take_no_more_memory_than_the_file_can_hold(tags: list[int]) -> None:
    count = 400_000
    shared = struct.pack("<H", 64) * count
    data = directory([(tag, 3, count, 8 + 2 + 12 * len(tags) + 4) for tag in tags]) + shared
    tracemalloc.start()
    try:
        with pytest.raises(PhotoRejected) as caught:
            read_directories(io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 50 * count
    finally:
        tracemalloc.stop()
    assert caught.value.type == "truncated"


@pytest.mark.parametrize("tag", [Tag.BITS, Tag.SAMPLE_FORMAT, Tag.EXTRA_SAMPLES])
def test_of_a_tag_for_each_sample_only_the_first_values_are_read(tag: int) -> None:
    (page,) = read_directories(io.BytesIO(directory([(tag, 3, 1000, 26)]) + struct.pack("<H", 8) * 1000))
    assert page.numbers == {tag: (8,) * 64}


@pytest.mark.parametrize(("tag", "value"), [(Tag.SAMPLES, 65), (Tag.SAMPLES, 100_000_000), (Tag.BITS, 0xFFFFFFFF)])
def test_more_samples_or_bits_than_pictures_have_are_refused(tag: int, value: int) -> None:
    with pytest.raises(PhotoRejected, match=f"{value:,}") as caught:
        read_directories(io.BytesIO(directory([(tag, 4, 1, value)])))
    assert caught.value.type == "unsupported"


def test_bits_that_are_missing_are_one_a_sample() -> None:
    (page,) = read_directories(io.BytesIO(directory([(Tag.SAMPLES, 4, 1, 3)])))
    assert page.bits == (1, 1, 1)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("kind", "code"), [(1, "B3x"), (3, "H2x"), (4, "I"), (13, "I")])
def test_an_orientation_of_any_type_is_read(order: str, kind: int, code: str) -> None:
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI{code}", 0x0112, kind, 1, 6)
    assert first_orientation(head + struct.pack(f"{order}IH", 8, 1) + entry) == 6
    assert first_orientation(head + struct.pack(f"{order}IH", 8, 9) + entry) == 6, "the block breaks off"
    assert first_orientation(head + struct.pack(f"{order}IH", 8, 1) + entry.replace(b"\6", b"\x09")) == 0


@given(block=st.binary(max_size=200) | st.binary(max_size=80).map(lambda data: b"II*\0\x08\0\0\0" + data))
def test_blocks_of_any_bytes_are_errors_or_directories(block: bytes) -> None:
    assert read(block) == read(io.BytesIO(block))
    assert 0 <= first_orientation(block) <= 8
