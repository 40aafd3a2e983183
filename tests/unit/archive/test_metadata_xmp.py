from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metadata_samples import XMP, jpeg_with, xmp_segment

from smarty_async.archive.outputs.metadata.copier import tagged_orientation
from smarty_async.archive.outputs.metadata.exif import Geometry
from smarty_async.archive.outputs.metadata.read import read_metadata
from smarty_async.archive.outputs.metadata.xmp import (
    XmpError,
    check_xmp,
    correct_xmp,
    extension_digest,
    without_extension,
)
from smarty_async.archive.photos.jpeg import read_header
from smarty_async.archive.photos.probe import probe
from smarty_async.options import Limits

UPRIGHT = Geometry(width=400, height=600, source_size=(300, 200), source_orientation=6)

REFERRING = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="0123ABC"/></rdf:RDF></x:xmpmeta>'
)


def test_orientation_size_and_resolution_are_the_output_s() -> None:
    corrected = correct_xmp(check_xmp(XMP), UPRIGHT)
    assert b't:Orientation="1"' in corrected
    assert b"<exif:PixelXDimension>400<" in corrected
    assert b"<exif:PixelYDimension>600<" in corrected
    assert b"<t:XResolution>600000/1000<" in corrected
    assert b"<t:YResolution>1200000/1000<" in corrected
    assert b'xmp:Rating="4"' in corrected


def test_thumbnails_padding_and_the_video_behind_the_picture_are_gone() -> None:
    corrected = correct_xmp(XMP, UPRIGHT)
    assert b"Thumbnails" not in corrected
    assert b'MicroVideo="0"' in corrected
    assert len(corrected) < len(XMP) - 2000
    assert check_xmp(corrected) == corrected.removeprefix(b"\xef\xbb\xbf")


def test_nothing_is_added_and_an_unchanged_output_leaves_all_as_it_is() -> None:
    same = Geometry(width=300, height=200, orientation=6, source_size=(300, 200), source_orientation=6)
    for packet in (REFERRING, REFERRING.replace(b"n:", b"other:")):
        assert correct_xmp(packet, same) == packet


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_become_utf_8(encoding: str) -> None:
    assert check_xmp(REFERRING.decode().encode(encoding)) == REFERRING


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<x:xmpmeta",
        b"<html></html>",
        b'<!DOCTYPE a [<!ENTITY lol "lol">]><RDF>&lol;</RDF>',
        b"\xff\xfe<",
        b"RDF \xff\xff",
        b'<?xml version="1.0" encoding="none-such"?><RDF/>',
    ],
)
def test_what_is_malformed_or_declares_entities_is_an_error(packet: bytes) -> None:
    with pytest.raises(XmpError):
        check_xmp(packet)


@pytest.mark.parametrize(
    ("name", "orientation"),
    [
        (b'tiff:Orientation="6"', 6),
        (b'tiff:Orientation="0"', 1),
        (b'tiff:Orientation="9"', 1),
        (b'tiff:Orientation="top"', 1),
        (b'tiff:Orientation=""', 1),
        (b"tiff:Orientation='6'", 1),
        (b't:Orientation="6"', 1),
    ],
)
def test_the_orientation_is_the_same_for_the_probe_the_metadata_and_the_output(name: bytes, orientation: int) -> None:
    namespace = b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    photo = jpeg_with(xmp_segment(XMP.replace(b't:Orientation="6"', namespace + name)))
    assert probe(photo, limits=Limits()).orientation == orientation
    assert read_metadata(photo).orientation == orientation
    assert tagged_orientation(read_header(photo).payloads) == orientation


def test_the_reference_to_an_extension_is_read_and_removed() -> None:
    assert extension_digest(REFERRING) == b"0123ABC"
    assert extension_digest(without_extension(REFERRING)) is None
    assert b"HasExtendedXMP" not in without_extension(REFERRING)


@given(st.binary(max_size=60), st.integers(0, len(XMP)))
def test_damaged_packets_are_errors_or_stay_well_formed(noise: bytes, at: int) -> None:
    damaged = XMP[:at] + noise + XMP[at + len(noise) :]
    try:
        packet = check_xmp(damaged)
    except XmpError:
        return
    check_xmp(correct_xmp(packet, UPRIGHT))
