from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, IptcImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from support.metadata_samples import (
    CAPTION,
    IPTC,
    MAKER_NOTE,
    TAKEN,
    XMP,
    ascii_value,
    exif_block,
    exif_segment,
    icc_profile,
    iptc_segment,
    jpeg_with,
    png_with,
    scene,
    tiff_block,
    xmp_segment,
)
from support.pictures import encoded, opened

from smarty_async.archive.outputs.metadata import copier as copier_module
from smarty_async.archive.outputs.metadata.copier import (
    MetadataCopier,
    SentPhoto,
    metadata_segments,
    set_modified,
    splice,
    splice_bytes,
    stripped_segments,
    tagged_orientation,
)
from smarty_async.archive.outputs.metadata.parts import Parts, SourceMetadata
from smarty_async.archive.outputs.metadata.profiles import color_profile
from smarty_async.archive.outputs.metadata.read import read_metadata
from smarty_async.archive.outputs.metadata.xmp import xmp_segments
from smarty_async.archive.photos.jpeg import JpegError, JpegHeader, SegmentKind, read_header, segment

UPRIGHT_XMP = XMP.replace(b't:Orientation="6"', b't:Orientation="1"')

OUTPUT = encoded(scene(600, 400))
"""What a service answers with: enlarged, upright, without metadata."""

Segments = Callable[..., Any]


def carried(source: SourceMetadata | bytes, output: bytes = OUTPUT, *, orientation: int = 1) -> JpegImageFile:
    """The output with the source's metadata; its pixels are checked to be the same."""
    metadata = read_metadata(source) if isinstance(source, bytes) else source
    return _exchanged(metadata, output, metadata_segments, orientation)


def stripped(source: bytes, output: bytes = OUTPUT, *, orientation: int = 1) -> JpegImageFile:
    return _exchanged(read_metadata(source), output, stripped_segments, orientation)


def _exchanged(metadata: SourceMetadata, output: bytes, segments: Segments, orientation: int) -> JpegImageFile:
    header = read_header(output)
    data = splice_bytes(output, header=header, segments=segments(metadata, header, orientation=orientation))
    image = opened(data)
    assert isinstance(image, JpegImageFile)
    assert image.tobytes() == opened(output).tobytes()
    assert image.mode == opened(output).mode
    image.info["data"] = data
    return image


def warnings_of(source: bytes, output: bytes = OUTPUT) -> str:
    metadata = read_metadata(source)
    segments = metadata_segments(metadata, read_header(output), orientation=1)
    return "; ".join((*metadata.warnings, *segments.warnings))


def camera_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif.load(exif_block(orientation))
    return exif


def encoded_with_exif(image_format: str) -> bytes:
    return encoded(
        scene(),
        image_format,
        exif=b"Exif\0\0" + exif_block(1),
        **({"dpi": (600, 300)} if image_format != "WEBP" else {}),
    )


def heif() -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    return encoded(scene(), "HEIF", exif=b"Exif\0\0" + exif_block(1))


def tiff(order: str, *, big: bool = False) -> bytes:
    """A TIFF of one pixel with all kinds of metadata; BigTIFF in directories of its own form."""
    pixel = 0
    tags: list[tuple[int, int, int, bytes]] = [
        (256, 3, 1, struct.pack(order + "H", 300)),
        (257, 3, 1, struct.pack(order + "H", 200)),
        (0x010E, *ascii_value(CAPTION)),
        (273, 4, 1, struct.pack(order + "I", pixel)),
        (282, 5, 1, struct.pack(order + "II", 600, 1)),
        (283, 5, 1, struct.pack(order + "II", 300, 1)),
        (700, 1, len(UPRIGHT_XMP), UPRIGHT_XMP),
        (33723, 7, len(IPTC), IPTC),
        (34675, 7, 3144, icc_profile()),
    ]
    head = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    data = bytearray((b"II" if order == "<" else b"MM") + head)
    entry, room = (order + "HHQ", 8) if big else (order + "HHI", 4)
    table = struct.pack(order + ("Q" if big else "H"), len(tags))
    values = b""
    at = len(data) + len(table) + len(tags) * (12 + (8 if big else 0)) + room
    for tag, kind, count, value in tags:
        held = value.ljust(room, b"\0")
        if len(value) > room:
            held = struct.pack(order + ("Q" if big else "I"), at + len(values))
            values += value
        table += struct.pack(entry, tag, kind, count) + held
    return bytes(data) + table + bytes(room) + values


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF"])
def test_exif_is_carried_from_every_format(image_format: str) -> None:
    source = heif() if image_format == "HEIF" else encoded_with_exif(image_format)
    exif = carried(source).getexif()
    assert exif[0x010E] == CAPTION
    if image_format != "TIFF":  # Pillow does not write these into one
        assert exif.get_ifd(0x8769)[36867] == TAKEN
        assert exif.get_ifd(0x8825)[1] == "N"
        assert MAKER_NOTE in carried(source).info["data"]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
def test_an_enlarged_output_is_as_large_on_paper_as_its_source(image_format: str) -> None:
    source = encoded(scene(), image_format, dpi=(204, 98))
    assert carried(source).info["dpi"] == (408, 196)
    assert carried(source, encoded(scene())).info["dpi"] == (204, 98)
    assert carried(source, encoded(scene(599, 401))).info["dpi"] == (408, 196)


def test_a_side_made_longer_than_the_other_keeps_its_resolution_apart() -> None:
    source = encoded(scene(), dpi=(204, 98))
    assert carried(source, encoded(scene(300, 400))).info["dpi"] == (204, 196)


def test_only_the_shape_of_the_pixels_is_known() -> None:
    source = encoded(scene())
    source = source[:13] + b"\0\0\x02\0\x01" + source[18:]
    assert read_metadata(source).aspect == (2, 1)
    image = carried(source)
    assert (image.info["jfif_unit"], image.info["jfif_density"]) == (0, (4, 2))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_everything_is_carried_from_a_tiff(order: str, *, big: bool) -> None:
    image = carried(tiff(order, big=big))
    assert image.getexif()[0x010E] == CAPTION
    assert 273 not in image.getexif()
    assert image.info["dpi"] == (1200, 600)
    assert image.info["icc_profile"] == icc_profile()
    assert b"Rating" in image.info["xmp"]
    assert dict(IptcImagePlugin.getiptcinfo(image) or {})[2, 120] == CAPTION.encode()


def test_exif_and_gps_of_a_tiff_are_carried() -> None:
    block = exif_block(6)
    exif = carried(block, orientation=6).getexif()
    assert exif[0x0112] == 6
    assert exif.get_ifd(0x8769)[36867] == TAKEN
    assert exif.get_ifd(0x8825)[1] == "N"
    assert read_metadata(block).orientation == 6


def test_the_pages_of_a_tiff_have_metadata_of_their_own() -> None:
    data = io.BytesIO()
    scene().save(data, "TIFF", save_all=True, append_images=[scene(120, 80)], dpi=(100, 100))
    found = [read_metadata(data.getvalue(), page=page) for page in (0, 1)]
    assert [one.size for one in found] == [(300, 200), (120, 80)]
    assert found[0].dpi == (100, 100)
    assert read_metadata(data.getvalue(), page=2).warnings


def test_the_preview_in_front_of_a_raw_does_not_give_its_size() -> None:
    raw = tiff_block(
        {254: (4, 1, b"\x01\0\0\0"), 256: (3, 1, b"\xa0\0"), 257: (3, 1, b"\x6b\0"), 0x0110: ascii_value("Camera 9")},
        {},
    )
    found = read_metadata(raw)
    assert found.size is None
    assert carried(found).getexif()[0x0110] == "Camera 9"


@pytest.mark.parametrize("behind", [False, True])
def test_a_png_s_own_texts_become_exif(behind: bool) -> None:  # noqa: FBT001 - a parameter of the test
    source = png_with(
        (b"tEXt", b"Description\0" + CAPTION.encode("latin-1")),
        (b"zTXt", b"Author\0\0" + zlib.compress("Åse".encode("latin-1"))),
        (b"iTXt", b"Copyright\0\x01\0en\0\0" + zlib.compress("© Åse".encode())),
        (b"iTXt", b"Comment\0\0\0\0\0" + "у озера".encode()),
        (b"tEXt", b"Creation Time\x001987-06-05T04:03:02"),
        (b"pHYs", struct.pack(">IIB", 23622, 11811, 1)),
        (b"iCCP", b"name\0\0" + zlib.compress(icc_profile())),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + UPRIGHT_XMP),
        behind=behind,
    )
    image = carried(source)
    exif = image.getexif()
    assert exif[0x010E] == CAPTION
    assert exif[0x013B].encode("latin-1").decode() == "Åse"
    assert exif[0x8298].encode("latin-1").decode() == "© Åse"
    assert exif[0x0132] == TAKEN
    assert image.info["comment"].decode() == "у озера"
    assert image.info["dpi"] == (1200, 600)
    assert image.info["icc_profile"] == icc_profile()
    assert b"Rating" in image.info["xmp"]


@pytest.mark.parametrize("chunk", [b"tEXt", b"zTXt"])
def test_imagemagick_s_raw_profiles_are_read(chunk: bytes) -> None:
    def profile(name: str, data: bytes) -> tuple[bytes, bytes]:
        digits = data.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        text = f"\n{name}\n{len(data):8}\n{lines}\n".encode()
        keyword = f"Raw profile type {name}".encode() + b"\0"
        return chunk, keyword + (b"\0" + zlib.compress(text) if chunk == b"zTXt" else text)

    source = png_with(
        profile("exif", b"Exif\0\0" + exif_block(6)),
        profile("iptc", iptc_segment()[1][14:]),
        profile("APP1", xmp_segment(XMP)[1]),
        profile("icm", icc_profile()),
    )
    image = carried(source)
    assert image.getexif()[0x010E] == CAPTION
    assert dict(IptcImagePlugin.getiptcinfo(image) or {})[2, 120] == CAPTION.encode()
    assert b"Rating" in image.info["xmp"]
    assert image.info["icc_profile"] == icc_profile()


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        ((b"tEXt", b"prompt\0a cat"), "left out, EXIF has no place for them: prompt"),
        ((b"zTXt", b"Comment\0\0not compressed"), "zTXt left out, malformed"),
        ((b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000))), "zTXt left out, malformed: over"),
        ((b"pHYs", b"short"), "pHYs left out, malformed"),
        ((b"iTXt", b"Comment\0\0\0\0\0\xff\xff"), "iTXt left out, malformed"),
        ((b"iCCP", b"name\0\0" + zlib.compress(bytes(200))), "ICC profile left out, malformed"),
        ((b"tEXt", b"Raw profile type exif\0\nexif\n 9\nzz"), "left out, malformed: it is not a profile"),
        ((b"eXIf", b"broken"), "EXIF left out, malformed"),
        ((b"eXIf", bytes(5 << 20)), "eXIf left out: 5,242,880 bytes"),
    ],
    ids=lambda value: value[0].decode() if isinstance(value, tuple) else "",
)
def test_what_is_malformed_in_a_png_is_left_out_and_said(chunk: tuple[bytes, bytes], said: str) -> None:
    source = png_with((b"iTXt", b"Description\0\0\0\0\0" + CAPTION.encode()), chunk)
    assert said in warnings_of(source)
    assert carried(source).getexif()[0x010E] == CAPTION


def test_a_png_chunk_with_a_wrong_checksum_is_left_out() -> None:
    source = png_with((b"tEXt", b"Description\0" + CAPTION.encode()))
    assert "checksum" in warnings_of(source.replace(b"Summer", b"Winter"))


def test_all_of_a_jpeg_is_carried_with_its_orientation_set_right() -> None:
    source = jpeg_with(
        exif_segment(exif_block(6, thumbnail=b"\xff\xd8stale\xff\xd9")),
        xmp_segment(XMP),
        iptc_segment(),
        (0xFE, b"a comment"),
    )
    image = carried(source, encoded(scene(400, 600)), orientation=1)
    assert image.getexif()[0x0112] == 1
    assert image.getexif().get_ifd(0x8769)[36867] == TAKEN
    assert b't:Orientation="1"' in image.info["xmp"]
    assert dict(IptcImagePlugin.getiptcinfo(image) or {})[2, 120] == CAPTION.encode()
    assert image.info["comment"] == b"a comment"
    assert b"stale" not in image.info["data"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tagged", [1, 6])
@pytest.mark.parametrize("described", [False, True])
def test_an_output_is_tagged_with_its_orientation(orientation: int, tagged: int, described: bool) -> None:  # noqa: FBT001
    """Whatever the service's own EXIF says, and whether or not the source has any."""
    source = jpeg_with(exif_segment(exif_block(6))) if described else encoded(scene())
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = tagged, "the service"
    output = encoded(scene(), exif=exif)
    for exchanged in (carried, stripped):
        image = exchanged(source, output, orientation=orientation)
        assert image.getexif().get(0x0112, 1) == orientation
        assert tagged_orientation(read_header(image.info["data"]).payloads) == orientation
    if not described:
        assert carried(source, output, orientation=orientation).getexif()[0x0131] == "the service"


def test_an_orientation_in_xmp_alone_counts_as_pillow_counts_it() -> None:
    packet = XMP.replace(b"xmlns:t=", b"xmlns:tiff=").replace(b"t:Orientation", b"tiff:Orientation")
    source = jpeg_with(xmp_segment(packet.replace(b"<t:", b"<tiff:").replace(b"</t:", b"</tiff:")))
    assert opened(source).getexif()[0x0112] == 6
    assert read_metadata(source).orientation == 6
    image = carried(source)
    assert image.getexif()[0x0112] == 1


@pytest.mark.parametrize("size", [3_144, 65_519, 65_520, 180_000])
def test_a_profile_of_several_segments_is_carried(size: int) -> None:
    profile = icc_profile(size)
    source = encoded(scene(), icc_profile=profile)
    assert carried(source).info["icc_profile"] == profile
    assert stripped(source).info["icc_profile"] == profile


@pytest.mark.parametrize(
    ("space", "mode", "kept"),
    [
        (b"RGB ", "RGB", True),
        (b"GRAY", "L", True),
        (b"GRAY", "RGB", False),
        (b"RGB ", "L", False),
        (b"CMYK", "RGB", False),
        (b"Lab ", "RGB", False),
    ],
)
def test_a_profile_is_carried_only_onto_pixels_that_it_is_for(space: bytes, mode: str, kept: bool) -> None:  # noqa: FBT001
    profile = icc_profile(space=space)
    source = encoded(scene(), icc_profile=profile)
    output = encoded(scene().convert(mode))
    assert carried(source, output).info.get("icc_profile") == (profile if kept else None)
    assert ("ICC profile left out" in warnings_of(source, output)) is not kept


def test_the_service_s_own_profile_stays() -> None:
    own = icc_profile(500)
    output = encoded(scene(), icc_profile=own)
    assert carried(encoded(scene(), icc_profile=icc_profile()), output).info["icc_profile"] == own


def test_xmp_longer_than_a_segment_is_carried_as_an_extension() -> None:
    packet = XMP.replace(b"</rdf:Description>", b"<xmp:Label>" + b"long " * 30_000 + b"</xmp:Label></rdf:Description>")
    source = png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    data = carried(source).info["data"]
    found = read_metadata(data)
    assert found.extended_xmp is not None
    assert b"long long" in found.extended_xmp
    assert b't:Orientation="1"' in found.extended_xmp
    again = carried(data).info["data"]
    assert read_metadata(again).extended_xmp == found.extended_xmp


def test_an_extension_that_is_not_whole_is_left_out_and_said() -> None:
    segments = xmp_segments(XMP.replace(b"</x:xmpmeta>", b"<!--" + b"x" * 70_000 + b"--></x:xmpmeta>"))
    data = OUTPUT[:2] + segments.replace(b"xxxx", b"yyyy", 1) + OUTPUT[2:]
    assert "extended XMP left out" in warnings_of(data)
    assert b"HasExtendedXMP" not in (read_metadata(data).xmp or b"")


def test_exif_longer_than_a_segment_loses_its_largest_fields_and_says_so() -> None:
    source = png_with((b"eXIf", exif_block(6, maker=bytes(100_000))))
    assert "0x927c left out" in warnings_of(source)
    exif = carried(source).getexif()
    assert exif[0x010E] == CAPTION
    assert exif.get_ifd(0x8769)[36867] == TAKEN


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (exif_segment(b"broken"), "EXIF left out, malformed"),
        (exif_segment(b"II*\0\x08\0\0\0\xff\xff"), "EXIF left out, malformed"),
        (xmp_segment(b"<x:xmpmeta><broken"), "XMP left out, malformed"),
        (xmp_segment(b'<?xml version="1.0" encoding="none-such"?><RDF/>'), "XMP left out, malformed"),
        ((0xED, b"Photoshop 3.0\x008BIMbroken"), "IPTC left out, malformed"),
        ((0xE2, b"ICC_PROFILE\0\x01\x01broken"), "ICC profile left out, malformed"),
        ((0xE2, b"ICC_PROFILE\0"), ""),
    ],
)
def test_what_is_malformed_in_a_jpeg_is_left_out_and_said(segment: tuple[int, bytes], said: str) -> None:
    source = jpeg_with(segment, (0xFE, b"a comment"))
    assert said in warnings_of(source)
    assert carried(source).info["comment"] == b"a comment"


def test_parts_of_exif_that_overlap_are_left_out_and_said() -> None:
    block = bytearray(exif_block())
    place = block.index(struct.pack("<HHI", 0x011A, 5, 1)) + 8
    block[place : place + 4] = struct.pack("<I", 10)
    assert "overlap" in warnings_of(jpeg_with(exif_segment(bytes(block))))


@pytest.mark.parametrize(
    "source", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF\0\0\0\0WEBPVP8 ", b"text", b"GIF89a"]
)
def test_what_is_no_picture_has_no_metadata(source: bytes) -> None:
    found = read_metadata(source)
    assert (found.exif, found.xmp, found.size) == (None, None, None)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "gone.jpg")


def test_a_stripped_output_holds_no_metadata_but_looks_the_same() -> None:
    source = jpeg_with(exif_segment(exif_block(6)), xmp_segment(XMP), iptc_segment(), (0xFE, b"a comment"))
    service = jpeg_with(
        exif_segment(exif_block(1)), xmp_segment(XMP), iptc_segment(), (0xFE, b"by the service"), (0xEB, b"unknown")
    )
    image = stripped(source, service)
    assert not dict(image.getexif())
    assert {"xmp", "comment", "photoshop", "exif"}.isdisjoint(image.info)
    for part in (CAPTION.encode(), b"Rating", b"service", b"unknown", MAKER_NOTE):
        assert part not in image.info["data"]
    assert "dpi" not in stripped(encoded(scene(), dpi=(600, 600))).info
    fax = stripped(encoded(scene(), dpi=(204, 98)))
    assert "dpi" not in fax.info
    assert fax.info["jfif_density"] == (408, 196)


def test_jfif_stays_the_first_segment() -> None:
    for source in (jpeg_with(exif_segment(exif_block())), encoded(scene(), "WEBP", exif=exif_block())):
        for exchanged in (carried, stripped):
            assert exchanged(source, orientation=6).info["data"][2:11] == b"\xff\xe0\0\x10JFIF\0"


def test_resolutions_without_a_unit_give_the_shape_alone() -> None:
    block = exif_block().replace(struct.pack("<HHIH", 0x0128, 3, 1, 2), struct.pack("<HHIH", 0x0128, 3, 1, 1))
    source = jpeg_with(exif_segment(block))
    assert read_metadata(source).dpi is None
    assert carried(source).info["jfif_density"] == (1200, 600)


def test_segments_of_the_service_that_nothing_replaces_stay() -> None:
    output = jpeg_with((0xEB, b"unknown"), (0xFE, b"by the service"), image=scene())
    data = carried(jpeg_with(exif_segment(exif_block())), output).info["data"]
    assert b"unknown" in data
    assert b"by the service" in data
    assert data.endswith(output[output.index(b"\xff\xdb") :])


@pytest.mark.parametrize("transform", [0, 1, None])
@pytest.mark.parametrize("ids", [b"\x01\x02\x03", b"RGB"])
def test_a_resolution_never_changes_how_colours_are_decoded(transform: int | None, ids: bytes) -> None:
    """JFIF means YCbCr: it is not added to an output whose Adobe segment or component names say RGB."""
    data = bytearray(encoded(scene(600, 400)))
    del data[2:20]  # the JFIF segment
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number in range(3):
        data[frame + 10 + 3 * number] = data[scan + 5 + 2 * number] = ids[number]
    adobe = b"" if transform is None else b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes((transform,))
    output = bytes(data[:2]) + adobe + bytes(data[2:])
    carried(encoded(scene(), dpi=(600, 600)), output)
    carried(encoded(scene(), dpi=(600, 600)), encoded(scene().convert("CMYK")))


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 4}, {"optimize": True}], ids=str)
def test_any_way_of_encoding_is_copied_as_it_is(options: dict[str, Any]) -> None:
    carried(jpeg_with(exif_segment(exif_block())), encoded(scene(), **options))


def test_files_are_copied_in_parts(tmp_path: Path) -> None:
    source, destination = tmp_path / "answer.jpg", tmp_path / "output.jpg"
    source.write_bytes(OUTPUT + bytes(3_000_000))
    metadata = read_metadata(jpeg_with(exif_segment(exif_block())))
    with source.open("rb") as answer, destination.open("wb") as output:
        header = read_header(answer)
        splice(answer, output, header=header, segments=metadata_segments(metadata, header, orientation=1))
    assert opened(destination.read_bytes()).getexif()[0x010E] == CAPTION
    assert destination.read_bytes().endswith(OUTPUT[-1000:] + bytes(3_000_000))


def copier_of(photo: bytes, *, header: JpegHeader | None = None) -> MetadataCopier:
    return MetadataCopier(SentPhoto(photo=photo, sent=photo, header=header), strip=False)


@pytest.mark.parametrize("trailer", [0, 3_000_000], ids=["in memory", "in parts"])
def test_a_file_gets_the_metadata_once(tmp_path: Path, trailer: int) -> None:
    path = tmp_path / "output.jpg"
    path.write_bytes(OUTPUT + bytes(trailer))
    for _ in range(2):
        size = copier_of(jpeg_with(exif_segment(exif_block()))).copy_to(str(path))
        data = path.read_bytes()
        assert size == len(data) == path.stat().st_size
        assert opened(data).getexif()[0x010E] == CAPTION
        assert data.endswith(OUTPUT[-1000:] + bytes(trailer))
        assert data.count(CAPTION.encode()) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["output.jpg"]


@pytest.mark.parametrize("trailer", [0, 3_000_000], ids=["in memory", "in parts"])
def test_a_file_that_is_no_jpeg_stays_as_it_is(tmp_path: Path, trailer: int) -> None:
    path, data = tmp_path / "output.jpg", b"\xff\xd8 and no more" + bytes(trailer)
    path.write_bytes(data)
    assert copier_of(jpeg_with(exif_segment(exif_block()))).copy_to(str(path)) == len(data)
    assert path.read_bytes() == data


def test_metadata_of_a_header_that_was_read_before_are_the_same() -> None:
    photo = jpeg_with(exif_segment(exif_block(6)), xmp_segment(XMP), iptc_segment(), (0xFE, b"a comment"))
    again, handed_on = copier_of(photo), copier_of(b"", header=read_header(photo))
    assert handed_on.copied(OUTPUT) == again.copied(OUTPUT)
    assert handed_on.warnings == again.warnings == []


def test_no_error_in_a_header_that_was_read_before_fails_a_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LookupError("of any class")

    monkeypatch.setattr(Parts, "set_comment", fail)
    photo = jpeg_with(exif_segment(exif_block()), (0xFE, b"a comment"))
    copier = copier_of(b"", header=read_header(photo))
    assert opened(copier.copied(OUTPUT)).getexif()[0x010E] == CAPTION
    assert copier.warnings == ["metadata left out, malformed: of any class"]


def test_outputs_of_one_answer_that_begin_differently_get_what_each_needs() -> None:
    photo = jpeg_with(exif_segment(exif_block()), (0xFE, b"a comment"))
    outputs = [
        OUTPUT,
        jpeg_with((0xFE, b"colorized"), image=scene(600, 400)),
        encoded(scene(600, 400).convert("L")),
        encoded(scene(300, 200)),
        encoded(scene(300, 200), icc_profile=icc_profile(500)),
        b"no JPEG",
        OUTPUT[:-40] + bytes(40),
    ]
    one_for_all = copier_of(photo)
    assert [one_for_all.copied(output) for output in outputs] == [copier_of(photo).copied(one) for one in outputs]


def test_an_output_in_pieces_gets_what_a_whole_one_gets() -> None:
    photo = jpeg_with(exif_segment(exif_block()), (0xFE, b"a comment"))
    whole = copier_of(photo).copied(OUTPUT)
    for size in (1, 100, read_header(OUTPUT).end, len(OUTPUT) - 1, len(OUTPUT)):
        pieces = [OUTPUT[at : at + size] for at in range(0, len(OUTPUT), size)]
        assert b"".join(copier_of(photo).edited(pieces)) == whole
    for shown in (3, 6):
        turned = jpeg_with(exif_segment(exif_block(shown)))
        pieces = [OUTPUT[:1000], OUTPUT[1000:]]
        sent = SentPhoto(photo=turned, sent=turned, orientation=shown)
        whole = MetadataCopier(sent, strip=False).copied(OUTPUT)
        assert b"".join(MetadataCopier(sent, strip=False).edited(pieces)) == whole


def test_outputs_are_edited_in_several_threads_at_a_time() -> None:
    photo = jpeg_with(exif_segment(exif_block()), (0xFE, b"a comment"))
    outputs = [OUTPUT, encoded(scene(300, 200), icc_profile=icc_profile(5000)), encoded(scene(600, 400).convert("L"))]
    wanted = [copier_of(photo).copied(output) for output in outputs]
    one_for_all, interval = copier_of(photo), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as threads:
            made = list(threads.map(one_for_all.copied, outputs * 200))
    finally:
        sys.setswitchinterval(interval)
    assert made == wanted * 200


def test_the_start_of_an_output_is_edited_once_it_reaches_to_the_pixels() -> None:
    photo, pixels = jpeg_with(exif_segment(exif_block())), read_header(OUTPUT).end
    assert copier_of(photo).edited_start([OUTPUT[: pixels - 1]]) is None
    assert copier_of(photo).edited_start([b"no JPEG"]) is None
    edited = copier_of(photo).edited_start([OUTPUT[:pixels]])
    assert edited is not None
    assert b"".join([*edited, OUTPUT[pixels:]]) == copier_of(photo).copied(OUTPUT)
    turned = MetadataCopier(SentPhoto(photo=photo, sent=photo, orientation=6), strip=False)
    assert turned.edited_start([OUTPUT]) is None, "how the output is turned is found in its pixels"


def test_an_unexpected_error_at_the_start_of_an_output_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("of any class")

    monkeypatch.setattr(copier_module, "metadata_segments", fail)
    copier = copier_of(jpeg_with(exif_segment(exif_block())))
    assert copier.edited_start([OUTPUT]) is None
    with pytest.raises(LookupError):  # which fails its photo, when the output is complete
        copier.edited([OUTPUT])


def test_fill_bytes_and_markers_without_content_are_passed_over() -> None:
    assert read_header(io.BytesIO(OUTPUT[:2] + b"\xff\x01" + OUTPUT[2:])).width == 600
    output = OUTPUT[:2] + b"\xff\xff" + OUTPUT[2:]
    assert carried(jpeg_with(exif_segment(exif_block())), output).getexif()[0x010E] == CAPTION


def test_an_output_of_too_many_segments_is_an_error() -> None:
    for segments in (b"\xff\xfe\0\2" * 10_001, (b"\xff\xfe\xff\xff" + bytes(65_533)) * 330):
        with pytest.raises(JpegError, match="too many"):
            read_header(io.BytesIO(OUTPUT[:2] + segments + OUTPUT[2:]))


def test_an_output_without_a_frame_is_an_error() -> None:
    scan = OUTPUT.index(b"\xff\xda")
    with pytest.raises(JpegError, match="no frame"):
        read_header(io.BytesIO(OUTPUT[:2] + OUTPUT[scan:]))


def test_a_resolution_too_high_for_jfif_is_left_to_exif() -> None:
    image = carried(SourceMetadata(dpi=(50_000, 50_000), size=(300, 200)))
    assert "dpi" not in image.info


@pytest.mark.parametrize("output", [b"", b"text", OUTPUT[:30], b"\xff\xd8\xff\xd9", OUTPUT[:2] + b"\xff\xe1\0\0"])
def test_an_output_that_is_no_jpeg_is_an_error(output: bytes) -> None:
    with pytest.raises(JpegError):
        read_header(output)


def test_the_time_of_modification_is_the_source_s(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(OUTPUT)
    set_modified(path, 550_000_000_123_456_700)
    assert path.stat().st_mtime_ns // 1000 == 550_000_000_123_456
    assert path.stat().st_atime > path.stat().st_mtime
    with path.open("rb") as stream:
        if os.utime in os.supports_fd:
            set_modified(stream.fileno(), 550_000_001_000_000_000)
            assert path.stat().st_mtime_ns == 550_000_001_000_000_000
    before = path.stat().st_mtime_ns
    set_modified(tmp_path / "gone.jpg", 0)
    set_modified(path, 1 << 100)
    assert path.stat().st_mtime_ns == before


WHOLE_SOURCES = [
    jpeg_with(
        exif_segment(exif_block(6, thumbnail=b"thumbnail")), xmp_segment(XMP), iptc_segment(), (0xFE, b"comment")
    ),
    encoded_with_exif("PNG"),
    encoded_with_exif("WEBP"),
    tiff("<"),
    tiff(">", big=True),
    exif_block(8, order=">"),
]


@pytest.mark.slow
@given(
    source=st.sampled_from(WHOLE_SOURCES),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=4)), max_size=8),
    cut=st.none() | st.integers(0, 6000),
    orientation=st.integers(1, 8),
)
@settings(max_examples=300)
def test_damaged_sources_never_damage_an_output(
    source: bytes, changes: list[tuple[int, bytes]], cut: int | None, orientation: int
) -> None:
    data = bytearray(source)
    for at, value in changes:
        data[at : at + len(value)] = value
    metadata = read_metadata(bytes(data[:cut]))
    for segments in (metadata_segments, stripped_segments):
        image = _exchanged(metadata, OUTPUT, segments, orientation)
        assert tagged_orientation(read_header(image.info["data"]).payloads) == orientation


@pytest.mark.slow
@given(changes=st.lists(st.tuples(st.integers(2, 1200), st.binary(max_size=3)), max_size=4))
@settings(max_examples=200)
def test_damaged_outputs_keep_what_pixels_they_have(changes: list[tuple[int, bytes]]) -> None:
    output = bytearray(WHOLE_SOURCES[0])
    for at, value in changes:
        output[at : at + len(value)] = value
    try:
        header = read_header(bytes(output))
    except JpegError:
        return
    metadata = SourceMetadata(exif=exif_block(), xmp=XMP, dpi=(600, 600))
    data = splice_bytes(bytes(output), header=header, segments=metadata_segments(metadata, header, orientation=1))
    tables = [found.kind for found in header.segments if found.kind in (SegmentKind.FRAME, SegmentKind.OTHER)]
    copied = read_header(io.BytesIO(data))
    assert [found.kind for found in copied.segments if found.kind in (SegmentKind.FRAME, SegmentKind.OTHER)] == tables
    assert data.endswith(bytes(output[header.segments[-1].end :]))


def gray_profile(gamma: float) -> bytes:
    """A profile for gray with one power as its curve, as scanners' programs embed it."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"gray\0" + bytes(79),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256)),
    }
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    head = bytearray(128)
    head[:4] = struct.pack(">I", 128 + len(table) + len(body))
    head[8:10], head[12:24], head[36:40] = b"\2\x40", b"mntrGRAYXYZ ", b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(head) + table + body


def as_srgb(image: Image.Image) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    srgb = ImageCms.ImageCmsProfile(cast("Any", ImageCms.createProfile("sRGB")))  # pyright: ignore[reportUnknownMemberType]
    shown = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    assert shown is not None
    return shown


@pytest.mark.parametrize("gamma", [1.5, 1.8, 2.6])
def test_gray_that_became_colours_keeps_its_shades(gamma: float) -> None:
    ramp = Image.linear_gradient("L")
    source = encoded(ramp, quality=100, icc_profile=gray_profile(gamma))
    output = encoded(ramp.convert("RGB"), quality=100, subsampling=0)
    shown = as_srgb(carried(source, output))
    assert max(ImageChops.difference(shown, as_srgb(opened(source))).tobytes()) <= 3
    assert not warnings_of(source, output)


@pytest.mark.parametrize(
    "broken", [b"", bytes(200), gray_profile(2.2)[:150], gray_profile(2.2).replace(b"kTRC", b"none")]
)
def test_a_gray_profile_without_its_curve_becomes_none(broken: bytes) -> None:
    assert color_profile(broken) is None


@pytest.mark.parametrize("segments", [metadata_segments, stripped_segments])
def test_where_there_is_nothing_to_carry_an_output_stays_as_it_is(segments: Segments) -> None:
    header = read_header(OUTPUT)
    found = segments(SourceMetadata(size=(300, 200)), header, orientation=1)
    assert splice_bytes(OUTPUT, header=header, segments=found) == OUTPUT


@pytest.mark.parametrize("segments", [metadata_segments, stripped_segments])
def test_jfif_comes_first_in_an_output_also_where_there_is_nothing_to_carry(segments: Segments) -> None:
    comment = segment(SegmentKind.COMMENT, b"made by a service")
    output = OUTPUT[:2] + comment + OUTPUT[2:]
    header = read_header(output)
    found = segments(SourceMetadata(), header, orientation=1)
    made = read_header(splice_bytes(output, header=header, segments=found))
    assert made.segments[0].kind == SegmentKind.JFIF
    assert len(made.payloads[SegmentKind.JFIF]) == 1
