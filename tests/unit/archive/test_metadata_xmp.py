from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metadata_samples import XMP

from smarty_async.archive.outputs.metadata.exif import Geometry
from smarty_async.archive.outputs.metadata.xmp import (
    XmpError,
    check_xmp,
    correct_xmp,
    extension_digest,
    read_xmp_orientation,
    without_extension,
)

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
    ],
)
def test_what_is_malformed_or_declares_entities_is_an_error(packet: bytes) -> None:
    with pytest.raises(XmpError):
        check_xmp(packet)


@pytest.mark.parametrize(("value", "orientation"), [(b"6", 6), (b"0", None), (b"9", None), (b"top", None), (b"", None)])
def test_the_orientation_is_read(value: bytes, orientation: int | None) -> None:
    assert read_xmp_orientation(XMP.replace(b't:Orientation="6"', b't:Orientation="' + value + b'"')) == orientation
    element = XMP.replace(b't:Orientation="6"', b"").replace(
        b"<t:X", b"<t:Orientation>" + value + b"</t:Orientation><t:X"
    )
    assert read_xmp_orientation(element) == orientation


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
