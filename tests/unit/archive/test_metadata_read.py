"""What is read from rarer files, and what damaged ones can cost."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter
from support.metadata_samples import (
    CAPTION,
    IPTC,
    TAKEN,
    XMP,
    ascii_value,
    box,
    canon_raw,
    exif_block,
    exif_segment,
    icc_profile,
    jpeg_2000_with_profile,
    jpeg_with,
    photoshop_resource,
    png_with,
    scene,
    srgb_profile,
    tiff_block,
    xmp_segment,
)
from support.pictures import encoded

from smarty_async.archive.outputs.metadata import read
from smarty_async.archive.outputs.metadata.copier import metadata_segments
from smarty_async.archive.outputs.metadata.exif import Geometry, correct_exif, short_exif
from smarty_async.archive.outputs.metadata.profiles import PhotoshopError, descriptive_resources
from smarty_async.archive.outputs.metadata.read import read_metadata
from smarty_async.archive.photos.jpeg import read_header
from smarty_async.archive.photos.tiff import TiffError, TiffReader


def fields_of(photo: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(read_metadata(photo).exif or b"")
    return exif


def test_canon_s_raw_gives_its_three_directories() -> None:
    root = tiff_block({0x0110: ascii_value("Canon EOS R"), 0x0112: (3, 1, b"\x06\0")}, {})
    inner = tiff_block({36867: ascii_value(TAKEN)}, {})
    gps = tiff_block({1: ascii_value("N")}, {})
    raw = canon_raw((b"CNCV", b"version"), (b"CMT1", root), (b"CMT2", inner), (b"CMT3", b"maker"), (b"CMT4", gps))
    found = fields_of(raw)
    assert found[0x0110] == "Canon EOS R"
    assert found.get_ifd(0x8769)[36867] == TAKEN
    assert found.get_ifd(0x8825)[1] == "N"
    assert (read_metadata(raw).orientation, read_metadata(raw).size) == (6, None)


@pytest.mark.parametrize(
    "raw",
    [
        canon_raw(),
        canon_raw((b"CMT2", tiff_block({}, {}))),
        canon_raw((b"CMT1", b"broken")),
        canon_raw((b"CMT1", exif_block()))[:60],
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    ],
)
def test_a_damaged_canon_raw_gives_nothing(raw: bytes) -> None:
    assert read_metadata(raw).exif is None


def test_fujifilm_s_raw_gives_what_its_jpeg_holds() -> None:
    preview = jpeg_with(exif_segment(exif_block(8)))
    head = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 148, len(preview))
    found = read_metadata(head.ljust(148, b"\0") + preview + bytes(500))
    assert (found.orientation, found.size, found.dpi) == (8, None, None)
    assert fields_of(head.ljust(148, b"\0") + preview)[0x010E] == CAPTION


@pytest.mark.parametrize("image_format", ["BMP", "GIF", "PPM", "JPEG2000"])
def test_other_formats_are_read_by_pillow(image_format: str) -> None:
    assert read_metadata(encoded(scene(), image_format)).size == (300, 200)


UUIDS = {
    "exif": b"JpgTiffExif->JP2",
    "xmp": bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
    "iptc": bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
}


def test_a_jpeg_2000_s_boxes() -> None:
    parts = {"exif": exif_block(), "xmp": XMP, "iptc": IPTC}
    photo = encoded(scene(), "JPEG2000") + b"".join(box(b"uuid", UUIDS[name] + parts[name]) for name in parts)
    metadata = read_metadata(photo)
    assert fields_of(photo)[0x010E] == CAPTION
    assert metadata.xmp == XMP
    assert IPTC in (metadata.iptc or b"")
    assert metadata.size == (300, 200)


def photoshop_document(*resources: bytes) -> bytes:
    """A PSD of 300×200 gray pixels."""
    block = b"".join(resources)
    head = b"8BPS" + struct.pack(">H6xHIIHHI", 1, 1, 200, 300, 8, 1, 0)
    return head + struct.pack(">I", len(block)) + block + bytes(4) + bytes(2) + bytes(300 * 200)


def test_a_psd_s_image_resources() -> None:
    resolution = struct.pack(">IHHIHH", 600 << 16, 1, 1, 300 << 16, 1, 1)
    photo = photoshop_document(
        photoshop_resource(0x03ED, resolution),
        photoshop_resource(0x0404, IPTC),
        photoshop_resource(0x0422, exif_block()),
        b"8BIM\x04\x24\x03abc" + struct.pack(">I", len(XMP)) + XMP,
    )
    metadata = read_metadata(photo)
    assert fields_of(photo)[0x010E] == CAPTION
    assert metadata.xmp == XMP
    assert IPTC in (metadata.iptc or b"")
    assert (metadata.size, metadata.dpi) == ((300, 200), (600, 300))
    assert not metadata.warnings


def test_a_psd_s_broken_image_resources_are_left_out_and_said() -> None:
    metadata = read_metadata(photoshop_document(photoshop_resource(0x0404, IPTC), b"8BIM\x04\x22\0\0\xff\xff\xff\xff"))
    assert "image resources left out, malformed" in "; ".join(metadata.warnings)


@pytest.mark.parametrize(("method", "kept"), [(1, False), (2, True), (3, True)])
def test_a_jpeg_2000_s_profile(method: int, kept: bool) -> None:  # noqa: FBT001 - a parameter of the test
    photo = jpeg_2000_with_profile(scene(), icc_profile(), method=method)
    assert read_metadata(photo).icc == (icc_profile() if kept else None)


def test_a_jpeg_xl_s_boxes() -> None:
    photo = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"Exif", bytes(4) + exif_block(6)) + box(b"xml ", XMP)
    metadata = read_metadata(photo + box(b"jxlc", bytes(20)))
    assert fields_of(photo)[0x010E] == CAPTION
    assert metadata.xmp == XMP
    assert metadata.orientation == 1  # its decoder turns the picture upright
    assert read_metadata(photo + box(b"brob", b"Exif" + bytes(20))).warnings == ("compressed metadata left out",)
    assert read_metadata(b"\xff\x0a" + bytes(20)).warnings == ()  # there is no room for metadata in it


def test_a_jpeg_xl_s_compressed_boxes() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    boxes = [box(b"brob", b"xml " + imagecodecs.brotli_encode(XMP))]
    boxes += [box(b"brob", b"Exif" + imagecodecs.brotli_encode(bytes(4) + exif_block()))]
    photo = b"\0\0\0\x0cJXL \r\n\x87\n" + b"".join(boxes)
    assert fields_of(photo)[0x010E] == CAPTION
    assert read_metadata(photo).xmp == XMP


def test_a_jpeg_xl_s_compressed_box_that_unpacks_to_too_much_is_left_out() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    bomb = box(b"brob", b"xml " + imagecodecs.brotli_encode(bytes(20 << 20)))
    metadata = read_metadata(b"\0\0\0\x0cJXL \r\n\x87\n" + bomb)
    assert (metadata.xmp, metadata.warnings) == (None, ("compressed metadata left out",))


def test_a_jpeg_xl_made_of_a_jpeg_gives_what_that_holds() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    original = encoded(scene(), exif=b"Exif\0\0" + exif_block(6), icc_profile=srgb_profile())
    metadata = read_metadata(imagecodecs.jpegxl_encode_jpeg(original, usecontainer=True))
    assert metadata == read_metadata(original)
    assert metadata.icc == srgb_profile()


def test_a_png_s_title_is_kept_beside_its_description() -> None:
    photo = png_with((b"tEXt", b"Title\0The lake"), (b"tEXt", b"Description\0" + CAPTION.encode()))
    assert (fields_of(photo)[0x010D], fields_of(photo)[0x010E]) == ("The lake", CAPTION)
    alone = fields_of(png_with((b"tEXt", b"Title\0The lake")))
    assert (alone.get(0x010D), alone[0x010E]) == (None, "The lake")


def test_a_png_s_time_in_words_is_left_out_and_said() -> None:
    (warning,) = read_metadata(png_with((b"tEXt", b"Creation Time\0summer of 1943"))).warnings
    assert "EXIF has no place for them: Creation Time" in warning


def test_a_png_s_profile_as_exiftool_names_it() -> None:
    resources = photoshop_resource(0x0404, IPTC)
    text = b"\nIPTC profile\n%8d\n%s\n" % (len(resources), resources.hex().encode())
    photo = png_with((b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text)))
    assert IPTC in (read_metadata(photo).iptc or b"")


def test_the_second_page_behind_a_thumbnail() -> None:
    album, pages = io.BytesIO(), [scene(), scene(80, 60), scene()]
    with AppendingTiffWriter(album, new=True) as file:
        for number, page in enumerate(pages):
            page.save(file, "TIFF", tiffinfo={254: number % 2, 0x010E: f"picture {number}"})
            file.newFrame()
    exif = Image.Exif()
    exif.load(read_metadata(album.getvalue(), page=1).exif or b"")
    assert exif[0x010E] == "picture 2"


def test_a_gif_s_comment_and_a_bmp_s_resolution() -> None:
    assert read_metadata(encoded(scene(), "GIF", comment=b"a comment")).comment == b"a comment"
    dpi = read_metadata(encoded(scene(), "BMP", dpi=(300, 300))).dpi
    assert dpi is not None
    assert round(dpi[0]) == 300


def test_heif_without_its_extra_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    assert read_metadata(b"\0\0\0\x18ftypheic" + bytes(30)).warnings


def test_a_heif_is_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    data = io.BytesIO()
    heif.from_pillow(scene()).save(data, exif=b"Exif\0\0" + exif_block(6))
    found = read_metadata(data.getvalue())
    assert (found.orientation, found.size) == (1, (200, 300))


def test_a_file_that_pillow_would_read_whole_is_left_alone_when_it_is_huge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(read, "_LARGEST_READ_WHOLE", 1000)
    path = tmp_path / "a.webp"
    path.write_bytes(encoded(scene(), "WEBP", exif=exif_block()))
    assert read_metadata(path).warnings == ("the file is too large for its metadata to be read",)


def test_a_tiff_s_iptc_stored_as_numbers_of_the_other_byte_order() -> None:
    padded = IPTC + bytes(-len(IPTC) % 4)
    swapped = struct.pack(f"<{len(padded) // 4}I", *struct.unpack(f">{len(padded) // 4}I", padded))
    found = read_metadata(tiff_block({33723: (4, len(swapped) // 4, swapped)}, {}))
    assert IPTC in (found.iptc or b"")


OLD_IPTC = b"\x1c\x02\x78\0\x03old"
NOTICE = photoshop_resource(0x040A, b"\1")
DIGEST = photoshop_resource(0x0425, bytes(range(16)))


@pytest.mark.parametrize(
    ("resources", "kept"),
    [
        pytest.param(NOTICE, photoshop_resource(0x0404, IPTC) + NOTICE, id="no IPTC"),
        pytest.param(
            photoshop_resource(0x0404, OLD_IPTC) + DIGEST + NOTICE,
            photoshop_resource(0x0404, IPTC) + NOTICE,
            id="other IPTC",
        ),
        pytest.param(
            NOTICE + photoshop_resource(0x0404, IPTC) + DIGEST,
            NOTICE + photoshop_resource(0x0404, IPTC) + DIGEST,
            id="the same IPTC",
        ),
        pytest.param(b"broken", photoshop_resource(0x0404, IPTC), id="malformed"),
    ],
)
def test_a_tiff_s_iptc_beside_image_resources(resources: bytes, kept: bytes) -> None:
    found = read_metadata(tiff_block({33723: (7, len(IPTC), IPTC), 34377: (7, len(resources), resources)}, {}))
    assert found.iptc == kept
    assert [warning.partition(" left out")[0] for warning in found.warnings] == (
        ["Photoshop's image resources"] if resources == b"broken" else []
    )


def test_a_tiff_s_field_without_iptc_records_does_not_count() -> None:
    resources = photoshop_resource(0x0404, IPTC)
    found = read_metadata(tiff_block({33723: (7, 9, bytes(9)), 34377: (7, len(resources), resources)}, {}))
    assert (found.iptc, found.warnings) == (resources, ())


def test_a_tiff_s_image_resources_and_damaged_fields() -> None:
    resources = photoshop_resource(0x040C, b"thumbnail") + photoshop_resource(0x0404, IPTC)
    block = tiff_block(
        {
            254: (2, 4, b"odd\0"),
            256: (3, 1, b"\x09\0"),
            257: (2, 2, b"9\0"),
            271: (99, 1, b""),
            34377: (7, 999, resources),
        },
        {},
    ).replace(struct.pack("<HI", 7, 999), struct.pack("<HI", 7, len(resources)))
    found = read_metadata(block)
    assert found.iptc == photoshop_resource(0x0404, IPTC)
    assert found.size is None
    assert found.warnings == ("TIFF's field 271 left out, malformed: it cannot be read",)


@pytest.mark.parametrize(
    "resources", [b"8BIM\x04\x04", b"8BIM\x04\x04\0\0\0\0\0\x09short", b"8BIM\x04\x04\xffname", b"none of them"]
)
def test_image_resources_that_break_off_are_an_error(resources: bytes) -> None:
    with pytest.raises(PhotoshopError):
        descriptive_resources(photoshop_resource(0x0404, IPTC) + resources)


def test_zeros_behind_image_resources_are_none() -> None:
    assert descriptive_resources(photoshop_resource(0x0404, IPTC) + bytes(99)) == photoshop_resource(0x0404, IPTC)
    assert descriptive_resources(b"") is None


@pytest.mark.parametrize(
    ("text", "time_taken"),
    [
        (TAKEN, TAKEN),
        ("Fri, 05 Jun 1987 04:03:02 GMT", TAKEN),
        ("1987-06-05", "1987:06:05 00:00:00"),
        ("0900-01-01", "0900:01:01 00:00:00"),
        ("in the summer", None),
        ("Mon, 01 Jan 2020 10:00:00 +99999999999999", None),
        ("01 Jan 2020 10:00:99999999999", None),
    ],
)
def test_times_as_png_s_writers_spell_them(text: str, time_taken: str | None) -> None:
    photo = png_with((b"tEXt", b"Creation Time\0" + text.encode()), (b"tEXt", b"Title\0x"))
    assert fields_of(photo).get(0x0132) == time_taken
    assert fields_of(photo)[0x010E] == "x"


def test_profiles_of_odd_length_are_none() -> None:
    photo = png_with(
        (b"tEXt", b"Raw profile type exif\0\nexif\n 3\nabc\n"), (b"tEXt", b"Raw profile type xmp\0\nxmp\n1\n41")
    )
    assert "it is not a profile" in "".join(read_metadata(photo).warnings)


def test_a_png_without_an_end_is_read_as_far_as_it_goes() -> None:
    photo = png_with((b"tEXt", b"Title\0x"))
    assert fields_of(photo[:60])[0x010E] == "x"


def test_a_resolution_that_cannot_be_is_none() -> None:
    block = exif_block().replace(struct.pack("<II", 600, 1), struct.pack("<II", 600, 0))
    assert read_metadata(jpeg_with(exif_segment(block))).dpi is None
    assert read_metadata(encoded(scene(), dpi=(0, 0))).dpi is None


def test_padding_behind_a_profile_is_cut_off() -> None:
    found = read_metadata(encoded(scene(), icc_profile=icc_profile(501) + bytes(3)))
    assert (found.icc, found.warnings) == (icc_profile(501), ())


@pytest.mark.parametrize("size", [0, 131, 502])
def test_a_profile_whose_size_cannot_be_is_left_out_and_said(size: int) -> None:
    found = read_metadata(encoded(scene(), icc_profile=struct.pack(">I", size) + icc_profile(501)[4:]))
    assert found.icc is None
    assert "ICC profile left out, malformed" in "".join(found.warnings)


def test_what_is_too_large_is_left_out_and_said() -> None:
    assert "XMP left out: 2," in "".join(read_metadata(png_with((b"iTXt", XMP_KEYWORD + bytes(2_000_000)))).warnings)
    assert "comment left out: 70,000" in "".join(
        read_metadata(png_with((b"tEXt", b"Comment\0" + b"x" * 70_000))).warnings
    )


def test_orientations_of_another_type_are_replaced() -> None:
    block = tiff_block({0x0112: ascii_value("6"), 256: (5, 1, bytes(8))}, {})
    assert read_metadata(block).orientation == 1
    corrected = correct_exif(block, Geometry(width=3, height=2, orientation=6))
    reader = TiffReader(io.BytesIO(corrected))
    assert {tag: field.value for tag, field in reader.directory(reader.first).fields.items()} == {0x0112: b"\x06\0"}


def test_a_block_of_directories_alone_cannot_be_made_short() -> None:
    with pytest.raises(TiffError):
        short_exif(exif_block(), 10)


def _overlapping_values() -> bytes:
    """An EXIF directory of 5,000 fields, each of which claims the whole block."""
    count = 5_000
    entries = b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def _many_small_fields() -> bytes:
    return tiff_block({tag: (7, 60, bytes(60)) for tag in range(1, 40_000)}, {})


XMP_KEYWORD = b"XML:com.adobe.xmp\0\0\0\0\0"

LARGEST_CARRIED = 4 << 20

HOSTILE: dict[str, Callable[[], bytes]] = {
    "values that overlap": lambda: jpeg_with(exif_segment(_overlapping_values())),
    "values that overlap in a PNG": lambda: png_with((b"eXIf", _overlapping_values() + bytes(3_000_000))),
    "many fields": lambda: png_with((b"eXIf", _many_small_fields())),
    "spaces in XMP": lambda: png_with((b"iTXt", XMP_KEYWORD + XMP.replace(b" " * 2000, b" " * 900_000))),
    "texts that inflate": lambda: png_with(
        *[(b"zTXt", b"Comment%d\0\0" % n + zlib.compress(bytes(4_000_000))) for n in range(50)]
    ),
    "image resources": lambda: png_with(
        (b"tEXt", b"Raw profile type iptc\0\niptc\n 840000\n" + (photoshop_resource(7, b"") * 70_000).hex().encode())
    ),
    "numbers in place of a profile": lambda: png_with(
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"1 " * 2_000_000 + b"!"))
    ),
    "segments": lambda: jpeg_with(*[(0xE1, b"")] * 9_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_comes_to_an_end(name: str) -> None:
    """A plainer reader takes minutes or gigabytes for each."""
    found = read_metadata(HOSTILE[name]())
    output = read_header(encoded(scene(600, 400)))
    segments = metadata_segments(found, output, orientation=1)
    assert len(segments.data) < LARGEST_CARRIED
    assert len(found.warnings) <= 20


@pytest.mark.parametrize(
    ("part", "hostile"),
    [
        (b"<t:XResolution>", b"<![CDATA[" + b"<xmp:Thumbnails " * 50_000 + b"]]><t:XResolution>"),
        (b"600/1", b"1e999999999"),
        (b"600/1", b"9" * 900_000),
        (
            b" t:Orientation",
            b"".join(b' xmlns:p%d="http://ns.adobe.com/tiff/1.0/"' % n for n in range(9_000)) + b" t:Orientation",
        ),
    ],
    ids=["elements in text", "exponent", "digits", "prefixes"],
)
def test_hostile_xmp_comes_to_an_end(part: bytes, hostile: bytes) -> None:
    found = read_metadata(png_with((b"iTXt", XMP_KEYWORD + XMP.replace(part, hostile))))
    segments = metadata_segments(found, read_header(encoded(scene())), orientation=1)
    assert found.xmp
    assert (b"Rating" in segments.data) is not any("XMP" in warning for warning in segments.warnings)


def test_an_xmp_of_a_jpeg_is_read_once() -> None:
    found = read_metadata(jpeg_with(xmp_segment(XMP), xmp_segment(b"another"), (0xE1, b"Exif\0\0")))
    assert b"Rating" in (found.xmp or b"")
    assert found.warnings == ()
