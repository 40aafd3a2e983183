"""A container is not a picture: raw files, HEIC, animations, motion photos, PNGs with long texts."""

from __future__ import annotations

import io
import logging
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps
from support.metadata_samples import srgb_profile
from support.pictures import encoded, heic, jpeg, opened, png, scene, with_noise

from smarty_async.archive.outputs.metadata.read import read_metadata
from smarty_async.archive.photos import identify
from smarty_async.archive.photos.identify import silenced
from smarty_async.archive.photos.jpegxl import check_colors, decoded_size
from smarty_async.archive.photos.memory_budget import DECODING, MemoryBudget
from smarty_async.archive.photos.named_colors import named_profile
from smarty_async.archive.photos.probe import probe
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

LIMITS = Limits()


def rejected(data: str | bytes, *, limits: Limits = LIMITS, fit: bool = False) -> PhotoRejected:
    with pytest.raises(PhotoRejected) as caught:
        probe(data, limits=limits, fit=fit)
    return caught.value


def mean_difference(image: Image.Image, expected: Image.Image) -> float:
    assert image.size == expected.size
    gray = ImageChops.difference(image.convert("RGB"), expected.convert("RGB")).convert("L")
    return sum(level * count for level, count in enumerate(gray.histogram())) / (image.width * image.height)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def directory(entries: list[tuple[int, int, int, int]], at: int) -> bytes:
    """An IFD of a little-endian TIFF at the offset `at`, the last one."""
    del at
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + packed + bytes(4)


def raw_tiff(*, make: bytes, extra: tuple[tuple[int, int, int, int], ...] = (), photometric: int = 32803) -> bytes:
    """A TIFF as cameras write them: a small picture first, the data of the sensor in a directory of its own."""
    preview, sensor = scene(32, 24).tobytes(), bytes(range(256)) * 96
    make = make + b"\0"
    first: list[tuple[int, int, int, int]] = [(254, 4, 1, 1), (256, 3, 1, 32), (257, 3, 1, 24), (258, 3, 1, 8)]
    first += [(259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3), (279, 4, 1, len(preview)), *extra]
    second = [(254, 4, 1, 0), (256, 3, 1, 128), (257, 3, 1, 96), (258, 3, 1, 16), (259, 3, 1, 1), (277, 3, 1, 1)]
    second += [(262, 3, 1, photometric), (279, 4, 1, len(sensor))]
    at_second = 8 + 2 + 12 * (len(first) + 3) + 4
    at_make = at_second + 2 + 12 * (len(second) + 1) + 4
    at_preview = at_make + len(make)
    first += [(271, 2, len(make), at_make), (273, 4, 1, at_preview), (330, 4, 1, at_second)]
    second.append((273, 4, 1, at_preview + len(preview)))
    head = b"II*\0" + struct.pack("<L", 8) + directory(first, 8) + directory(second, at_second)
    return head + make + preview + sensor


class TestRaw:
    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (raw_tiff(make=b"ACME", extra=((50706, 1, 4, 0x401),)), "a DNG raw file"),
            (raw_tiff(make=b"ACME", extra=((50706, 1, 4, 0x401),), photometric=34892), "a DNG raw file"),
            (raw_tiff(make=b"NIKON CORPORATION"), "an NEF raw file"),
            (raw_tiff(make=b"SONY"), "an ARW raw file"),
            (raw_tiff(make=b"SAMSUNG"), "an SRW raw file"),
            (raw_tiff(make=b"Pentax"), "a PEF raw file"),
            (raw_tiff(make=b"Hasselblad"), "a 3FR raw file"),
            (raw_tiff(make=b"Nobody"), "a camera raw file"),
            (b"II*\0\x10\0\0\0CR\x02\0" + bytes(500), "a CR2 raw file"),
            (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(500), "a CR3 raw file"),
            (b"FUJIFILMCCD-RAW 0201FF383501" + bytes(500), "an RAF raw file"),
            (b"IIRO\x08\0\0\0" + bytes(500), "an ORF raw file"),
            (b"IIRS\x08\0\0\0" + bytes(500), "an ORF raw file"),
            (b"MMOR\0\0\0\x08" + bytes(500), "an ORF raw file"),
            (b"IIU\0\x18\0\0\0" + bytes(500), "an RW2 raw file"),
            (b"FOVb" + bytes(500), "an X3F raw file"),
            (b"\0MRM" + bytes(500), "an MRW raw file"),
            (b"II\x1a\0\0\0HEAPCCDR" + bytes(500), "a CRW raw file"),
            (b"II*\0\x08\0\0\0IIII" + bytes(500), "an IIQ raw file"),
        ],
    )
    def test_without_the_extra(self, data: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "rawpy", None)
        error = rejected(data)
        assert error.type == "raw"
        assert name in str(error)
        assert "pip install 'smarty_async[formats]'" in str(error)

    @pytest.mark.parametrize("make", [b"ACME", b"NIKON CORPORATION"])
    def test_the_preview_is_never_sent(self, make: bytes) -> None:
        pytest.importorskip("rawpy")
        dng = ((50706, 1, 4, 0x401),) if make == b"ACME" else ()
        try:
            probed = probe(raw_tiff(make=make, extra=dng), limits=LIMITS)
        except PhotoRejected as error:
            assert error.type in ("raw", "truncated")  # noqa: PT017 - LibRaw may know that this camera wrote no such file
        else:
            assert (probed.width, probed.height) == (128, 96)

    def test_developed_at_the_size_of_the_sensor(self) -> None:
        pytest.importorskip("rawpy")
        probed = probe(dng(), limits=LIMITS)
        assert (probed.width, probed.height) == (600, 400)
        assert (probed.orientation, probed.content_type) == (1, "image/png")
        picture = opened(probed.converted or b"").convert("L")
        assert picture.getpixel((10, 200)) < picture.getpixel((590, 200))  # type: ignore[operator]

    def test_fitted(self) -> None:
        pytest.importorskip("rawpy")
        probed = probe(dng(), limits=Limits(max_dimensions=(300, 200)), fit=True)
        assert (probed.width, probed.height) == (300, 200)

    def test_rows_that_are_missing(self) -> None:
        pytest.importorskip("rawpy")
        data = dng()
        assert rejected(data[: len(data) // 2] + bytes(len(data) // 2)).type == "damaged"
        assert rejected(data[: len(data) // 2]).type in ("truncated", "raw")


def dng() -> bytes:
    """A raw file of 600×400 pixels, brighter to the right, with a preview of 32×24 before them."""
    preview = scene(32, 24).tobytes()
    row = b"".join(struct.pack("<H", 500 + 5 * column) for column in range(600))
    sensor = row * 400
    first: list[tuple[int, int, int, int]] = [(254, 4, 1, 1), (256, 3, 1, 32), (257, 3, 1, 24), (259, 3, 1, 1)]
    first += [(262, 3, 1, 2), (277, 3, 1, 3), (278, 3, 1, 24), (279, 4, 1, len(preview)), (50706, 1, 4, 0x401)]
    second = [(254, 4, 1, 0), (256, 3, 1, 600), (257, 3, 1, 400), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 32803)]
    second += [(277, 3, 1, 1), (278, 3, 1, 400), (279, 4, 1, len(sensor))]
    at_second = 8 + 2 + 12 * (len(first) + 3) + 4
    at_bits = at_second + 2 + 12 * (len(second) + 1) + 4
    first += [(258, 3, 3, at_bits), (273, 4, 1, at_bits + 6), (330, 4, 1, at_second)]
    second.append((273, 4, 1, at_bits + 6 + len(preview)))
    head = b"II*\0" + struct.pack("<L", 8) + directory(first, 8) + directory(second, at_second)
    return head + struct.pack("<3H", 8, 8, 8) + preview + sensor


def with_named_colors(kind: str, primaries: int, tones: int, *, color: tuple[int, int, int] = (90, 120, 150)) -> bytes:
    """A HEIF or AVIF file of one colour, whose box ``colr`` names the primaries and the transfer characteristics."""
    image = Image.new("RGB", (64, 48), color)
    if kind == "AVIF":
        Image.init()
        if "AVIF" not in Image.SAVE:
            pytest.skip("this Pillow cannot write AVIF")
    data = heic(image, color_primaries=1) if kind == "HEIF" else encoded(image, "AVIF", quality=95)
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, tones) + data[at + 4 :]


class TestHeif:
    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = heic(scene())
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        error = rejected(data)
        assert error.type == "heic"
        assert "HEIC" in str(error)
        assert "pip install 'smarty_async[formats]'" in str(error)

    def test_converted_and_nothing_registered(self) -> None:
        before = dict(Image.OPEN)
        probed = probe(heic(scene(200, 150)), limits=LIMITS)
        assert before == Image.OPEN
        assert (probed.width, probed.height, probed.orientation) == (200, 150, 1)
        assert mean_difference(opened(probed.converted or b""), scene(200, 150)) < 4

    @pytest.mark.slow
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_turned_once(self, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
        pillow_heif = pytest.importorskip("pillow_heif")
        Image.init()
        for registry in ("OPEN", "SAVE", "SAVE_ALL", "MIME", "EXTENSION"):
            monkeypatch.setattr(Image, registry, dict(getattr(Image, registry)))
        monkeypatch.setattr(Image, "ID", list(Image.ID))
        pillow_heif.register_heif_opener()
        exif, reference = Image.Exif(), scene(200, 150)
        exif[0x0112] = reference.getexif()[0x0112] = orientation
        data = encoded(scene(200, 150), "HEIF", quality=90, exif=exif.tobytes())  # with both EXIF and a box "irot"
        assert (b"irot" in data or b"imir" in data) == (orientation != 1)
        probed = probe(data, limits=LIMITS)
        assert probed.orientation == 1
        assert mean_difference(opened(probed.converted or b""), ImageOps.exif_transpose(reference)) < 4

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_avif(self, orientation: int) -> None:
        Image.init()
        if "AVIF" not in Image.SAVE:
            pytest.skip("this Pillow cannot write AVIF")
        stored, exif, reference = scene(200, 150), Image.Exif(), scene(200, 150)
        exif[0x0112] = reference.getexif()[0x0112] = orientation
        probed = probe(encoded(stored, "AVIF", exif=exif, quality=90), limits=LIMITS)
        assert mean_difference(opened(probed.converted or b""), ImageOps.exif_transpose(reference)) < 4

    @pytest.mark.slow
    @pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
    def test_damaged(self, part: float) -> None:
        data = heic(Image.effect_noise((300, 200), 60).convert("RGB"))
        kept = int(len(data) * part)
        assert rejected(data[:kept]).type == "truncated"
        assert rejected(data[:kept] + bytes(len(data) - kept)).type == "damaged"
        assert probe(data + bytes(3000), limits=LIMITS).width == 300

    @pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
    def test_colours_that_are_named_and_not_srgb(self, kind: str) -> None:
        photo = with_named_colors(kind, 12, 13, color=(234, 51, 35))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(read_metadata(photo).icc or b""))
        assert "Display P3" in (ImageCms.getProfileDescription(profile) or "")
        sent = opened(probe(photo, limits=LIMITS).converted or b"")
        assert sent.info["icc_profile"] == read_metadata(photo).icc
        srgb = ImageCms.profileToProfile(sent, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert srgb is not None
        assert mean_difference(srgb, Image.new("RGB", srgb.size, (255, 0, 0))) < 8

    @pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
    @pytest.mark.parametrize(("primaries", "tones"), [(1, 13), (1, 1), (2, 2), (6, 6), (5, 4)])
    def test_colours_that_are_named_and_about_srgb(self, kind: str, primaries: int, tones: int) -> None:
        photo = with_named_colors(kind, primaries, tones)
        assert read_metadata(photo).icc is None
        assert probe(photo, limits=LIMITS).converted

    @pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
    @pytest.mark.parametrize(("primaries", "tones", "said"), [(9, 16, "PQ"), (9, 14, "BT.2020"), (12, 18, "HLG")])
    def test_colours_that_are_not_converted(self, kind: str, primaries: int, tones: int, said: str) -> None:
        error = rejected(with_named_colors(kind, primaries, tones))
        assert (error.type, said in str(error)) == ("unsupported", True)

    def test_a_profile_counts_more_than_named_colours(self) -> None:
        photo = heic(scene(), icc_profile=srgb_profile(), color_primaries=9, transfer_characteristics=16)
        assert read_metadata(photo).icc == srgb_profile()

    @pytest.mark.parametrize("part", [b"pitm", b"ipma", b"ipco", b"iprp", b"colr"])
    def test_colours_in_a_layout_that_is_not_understood(self, part: bytes) -> None:
        stream = io.BytesIO(with_named_colors("HEIF", 12, 13).replace(part, b"free"))
        assert named_profile(stream) is None

    def test_a_sequence(self) -> None:
        data = bytearray(heic(scene()))
        data[8:12] = b"msf1"
        assert rejected(bytes(data)).type == "animation"

    @pytest.mark.parametrize("brand", [b"qt  ", b"mp42", b"isom"])
    def test_videos(self, brand: bytes) -> None:
        assert rejected(b"\0\0\0\x18ftyp" + brand + bytes(2000)).type == "not_an_image"


class TestAnimations:
    @pytest.mark.parametrize(
        ("kind", "options"), [("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("AVIF", {})]
    )
    def test_rejected_as_such(self, kind: str, options: dict[str, Any]) -> None:
        Image.init()
        if kind not in Image.SAVE_ALL:
            pytest.skip(f"this Pillow cannot write {kind}")
        frames = [scene(seed=seed) for seed in (1, 2, 3)]
        error = rejected(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert error.type == "animation"
        assert kind in str(error)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_a_single_frame_is_a_photo(self, kind: str) -> None:
        probed = probe(encoded(scene(), kind, save_all=True), limits=LIMITS)
        assert (probed.width, probed.height) == (64, 48)

    def test_a_gif_that_loops_over_one_frame(self) -> None:
        data = encoded(scene(), "GIF", loop=0, duration=100)
        assert probe(data, limits=LIMITS).width == 64


class TestMotionPhoto:
    def test_the_picture_without_its_video(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x010F], exif[0x0112] = "ACME", 6
        photo = encoded(scene(), exif=exif)
        path = tmp_path / "PXL.MP.jpg"
        path.write_bytes(photo + b"\0\0\0\x18ftypmp42" + bytes(9_000_000))
        probed = probe(str(path), limits=LIMITS)
        assert probed.converted is None
        assert (probed.size, probed.file_size) == (len(photo), path.stat().st_size)
        assert (probed.orientation, probed.content_type) == (6, "image/jpeg")

    def test_a_trailer_of_a_png(self) -> None:
        probed = probe(png() + bytes(range(1, 256)) * 100, limits=LIMITS)
        assert (probed.size, probed.converted) == (len(png()), None)


class TestPng:
    TEXT = zlib.compress(b"x" * 1_500_000)

    @pytest.mark.parametrize("where", [33, -12])
    @pytest.mark.parametrize(
        "text",
        [
            chunk(b"zTXt", b"prompt\0\0" + TEXT),
            chunk(b"iTXt", b"prompt\0\1\0\0\0" + TEXT),
            chunk(b"tEXt", b"prompt\0" + b"x" * 1_500_000),
            chunk(b"zTXt", b"a\0\0" + zlib.compress(b"y" * 500_000)) * 3,
        ],
        ids=["zTXt", "iTXt", "tEXt", "several"],
    )
    def test_long_texts(self, where: int, text: bytes) -> None:
        data = png()[:where] + text + png()[where:]
        for fit in (False, True):
            probed = probe(data, limits=LIMITS, fit=fit)
            assert (probed.content_type, probed.converted) == ("image/png", png())
        fitted = probe(data, limits=Limits(max_dimensions=(32, 24)), fit=True)
        assert (fitted.width, fitted.height) == (32, 24)

    @pytest.mark.parametrize(
        "text",
        [
            chunk(b"zTXt", b"a\0\0" + zlib.compress(b"y" * 1000)),
            chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"y" * 1000)),
            chunk(b"iTXt", b"a\0\1\0en\0b\0" + zlib.compress(b"y\0y" * 1000)),
            chunk(b"iTXt", b"a\0\0\0\0\0y"),
        ],
    )
    def test_short_texts_are_left_in_place(self, text: bytes) -> None:
        data = png()[:33] + text + png()[33:]
        assert probe(data, limits=LIMITS).converted is None

    @pytest.mark.parametrize(
        "note",
        [
            pytest.param(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_200_000))), id="large profile"),
            pytest.param(chunk(b"iCCP", b"x\0\1" + zlib.compress(srgb_profile())), id="packed in another way"),
            pytest.param(chunk(b"iCCP", b""), id="no profile"),
            pytest.param(chunk(b"pHYs", b"abc"), id="pHYs"),
            pytest.param(chunk(b"gAMA", b"ab"), id="gAMA"),
            pytest.param(chunk(b"cHRM", b"abcde"), id="cHRM"),
            pytest.param(chunk(b"sRGB", b""), id="sRGB"),
            pytest.param(chunk(b"tRNS", b"ab"), id="tRNS"),
            pytest.param(chunk(b"fdAT", bytes(2)), id="fdAT"),
            pytest.param(chunk(b"acTL", b"abc"), id="acTL"),
        ],
    )
    def test_a_note_that_others_pass_over(self, note: bytes) -> None:
        exif = chunk(b"eXIf", exif_of(6).tobytes().removeprefix(b"Exif\0\0"))
        whole = png()[:33] + chunk(b"sRGB", b"\0") + exif + png()[33:]
        probed = probe(whole[:33] + note + whole[33:], limits=LIMITS)
        assert (probed.content_type, probed.converted, probed.orientation) == ("image/png", whole, 6)

    def test_pixels_that_cannot_be_opened_without_their_notes_either(self) -> None:
        data = bytearray(png())
        data[24] = 3  # bits of a sample
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        assert rejected(bytes(data)).type == "not_an_image"

    def test_a_file_that_is_too_large_is_not_rewritten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = png()[:33] + chunk(b"pHYs", b"abc") + png()[33:]
        monkeypatch.setattr("smarty_async.archive.photos.probe.LARGEST_DECODED", len(data) - 1)
        assert rejected(data).type == "too_large"
        assert probe(png(), limits=LIMITS).converted is None

    def test_a_wrong_checksum(self) -> None:
        data = bytearray(png())
        data[data.index(b"IDAT") + 100] ^= 0x40
        error = rejected(bytes(data))
        assert error.type == "damaged"
        assert "checksum" in str(error)
        assert "copy it again" in str(error)

    @pytest.mark.parametrize("kind", [b"IDAT", b"PLTE"])
    def test_without_its_pixels_or_their_palette(self, kind: bytes) -> None:
        data = encoded(scene().quantize(16), "PNG")
        start = data.index(kind) - 4
        end = start + 12 + int.from_bytes(data[start : start + 4])
        for left in (b"", chunk(kind, b"")):
            assert rejected(data[:start] + left + data[end:]).type == "damaged"

    def test_a_wrong_checksum_of_a_note(self) -> None:
        note = bytearray(chunk(b"tEXt", b"a\0note"))
        note[-1] ^= 1
        probed = probe(png()[:33] + bytes(note) + png()[33:], limits=LIMITS)
        assert probed.converted == png()

    def test_the_second_half_is_zeros(self) -> None:
        noise = encoded(Image.effect_noise((300, 200), 60), "PNG")
        half = len(noise) // 2
        assert rejected(noise[:half] + bytes(len(noise) - half)).type == "damaged"

    @pytest.mark.parametrize("cut", [1, 2, 4, 8, 12])
    def test_the_last_bytes_may_be_missing(self, cut: int) -> None:
        probed = probe(png()[:-cut], limits=LIMITS)
        assert opened(probed.converted or b"").tobytes() == scene().tobytes()

    def test_an_orientation_behind_the_pixels(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 8
        block = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        data = png()[:-12] + block + png()[-12:]
        assert probe(data, limits=LIMITS).orientation == 8

    def test_sixteen_bits_of_gray(self) -> None:
        gray = scene().convert("L")
        wide = b"".join(bytes((value, value)) for value in gray.tobytes())
        rows = b"".join(b"\0" + wide[at : at + 128] for at in range(0, len(wide), 128))
        header = struct.pack(">IIBBBBB", 64, 48, 16, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        probed = probe(data, limits=LIMITS)
        assert opened(probed.converted or b"").tobytes() == gray.tobytes()

    def test_transparency(self) -> None:
        glass = scene().convert("RGBA")
        assert probe(encoded(glass, "PNG"), limits=LIMITS).converted is None  # opaque
        glass.putalpha(Image.linear_gradient("L").resize(glass.size))
        picture = opened(probe(encoded(glass, "PNG"), limits=LIMITS).converted or b"")
        assert picture.mode == "RGB"
        assert min(picture.crop((0, 0, 64, 1)).tobytes()) > 250

    def test_apples_variant(self) -> None:
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + png()[8:]
        assert "Apple" in str(rejected(data))

    @pytest.mark.parametrize(
        "chunks",
        [
            [chunk(b"gAMA", struct.pack(">I", 45455))],
            [chunk(b"gAMA", struct.pack(">I", 0))],
            [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\0")],
            [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200)))],
        ],
        ids=["sRGB's gamma", "no gamma", "sRGB", "a profile"],
    )
    def test_sent_as_it_is_where_no_gamma_changes_its_tones(self, chunks: list[bytes]) -> None:
        data = png()
        probed = probe(b"".join((data[:33], *chunks, data[33:])), limits=LIMITS)
        assert (probed.content_type, probed.converted) == ("image/png", None)


class TestLimits:
    @pytest.mark.slow
    def test_no_limits_for_the_embedded_service(self) -> None:
        limits = Limits(max_image_bytes=None, max_dimensions=None)
        large = encoded(Image.effect_noise((4032, 3024), 50), "TIFF")
        assert len(large) > 8_000_000
        probed = probe(large, limits=limits)
        assert (probed.converted, probed.warning) == (None, None)
        assert probe(encoded(Image.effect_noise((800, 600), 90), "BMP"), limits=limits).content_type == "image/png"

    def test_a_phone_s_photo_is_warned_of(self) -> None:
        probed = probe(encoded(Image.new("L", (4032, 3024))), limits=LIMITS)
        assert "4032×3024" in (probed.warning or "")
        assert "--fit" in (probed.warning or "")

    @pytest.mark.slow
    def test_a_hundred_megapixels(self) -> None:
        data = encoded(Image.new("L", (20_000, 5000), 99), quality=60)
        error = rejected(data)
        assert error.type == "too_large"
        assert "20000×5000" in str(error)
        assert "add --fit" in str(error)
        probed = probe(data, limits=LIMITS, fit=True)
        assert (probed.width, probed.height) == (3840, 960)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP"])
    @pytest.mark.parametrize("max_dimensions", [None, (600, 600)])
    def test_too_many_pixels(self, kind: str, max_dimensions: tuple[int, int] | None) -> None:
        data = encoded(scene(1000, 500), kind)
        limits = Limits(max_pixels=200_000, max_dimensions=max_dimensions)
        assert "1000×500" in str(rejected(data, limits=limits))
        probed = probe(data, limits=limits, fit=True)
        assert probed.width * probed.height <= 201_000
        assert probed.width == (600 if max_dimensions else 632)

    def test_fit_is_never_advised_when_it_was_given(self) -> None:
        assert "--fit" not in str(rejected(jpeg(), limits=Limits(max_image_bytes=10), fit=True))
        narrow = encoded(Image.new("L", (50_000, 6)), "PNG")
        error = rejected(narrow, limits=Limits(max_pixels=1000), fit=True)
        assert "cannot be made smaller" in str(error)
        assert "--fit" not in str(error)

    def test_the_digest_of_what_is_converted(self) -> None:
        import hashlib  # noqa: PLC0415

        data = encoded(scene(), "BMP")
        assert probe(data, limits=LIMITS).digest == hashlib.sha256(data).digest()
        assert probe(jpeg(), limits=LIMITS).digest is None


def read_whole(kind: str) -> bytes:
    """A picture of a kind whose decoder reads the file whole."""
    if kind == "JXL":
        imagecodecs, np = pytest.importorskip("imagecodecs"), pytest.importorskip("numpy")
        return bytes(imagecodecs.jpegxl_encode(np.asarray(scene()), usecontainer=True))
    if kind == "raw":
        pytest.importorskip("rawpy")
        return dng()
    return heic(scene()) if kind == "HEIF" else encoded(scene(), kind)


LARGE_BYTES = 20_000_000


def large(kind: str) -> bytes:
    """A file of `LARGE_BYTES` that is not sent or decoded as it is."""
    trailer = b"\x01" * LARGE_BYTES + bytes(100)
    if kind == "PNG with a long text":
        pixels = encoded(Image.effect_noise((4000, LARGE_BYTES // 4000), 90), "PNG", compress_level=0)
        return pixels[:33] + chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(1_500_000))) + pixels[33:]
    if kind == "JPEG without its end":
        return jpeg()[:-2] + b"\x55" * LARGE_BYTES
    if kind == "progressive JPEG with zeros":
        data = encoded(scene(), progressive=True)
        second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
        return data[:second] + b"\x01" + bytes(LARGE_BYTES) + b"\x01" + data[second:]
    return encoded(scene(), kind.partition(",")[0]) + trailer


@pytest.mark.parametrize(
    "kind",
    [
        "PNG with a long text",
        "JPEG without its end",
        "progressive JPEG with zeros",
        "GIF, zeros behind it",
        "JPEG2000, zeros behind it",
    ],
)
def test_a_large_file_is_not_held_in_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(large(kind))
    with suppress(PhotoRejected):
        probe(str(path), limits=LIMITS)  # what is imported, and kept for all photos
    tracemalloc.start()
    try:
        with suppress(PhotoRejected):
            probe(str(path), limits=LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < LARGE_BYTES // 4


class TestBudget:
    def test_large_ones_wait_for_each_other(self) -> None:
        budget, active, most = MemoryBudget(1000), 0, 0
        lock = threading.Lock()

        def work() -> None:
            nonlocal active, most
            with budget.acquire(400):
                with lock:
                    active += 1
                    most = max(most, active)
                barrier.wait()
                with lock:
                    active -= 1

        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 2

    def test_one_alone_may_be_larger_than_all(self) -> None:
        budget = MemoryBudget(10)
        with budget.acquire(4000):
            pass
        with budget.acquire(10):
            pass

    def test_given_back_after_an_error(self) -> None:
        budget = MemoryBudget(10)
        with pytest.raises(ValueError, match="broken"), budget.acquire(10):
            raise ValueError("broken")
        with budget.acquire(10):
            pass

    @pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JXL", "WEBP", "raw"])
    def test_holds_the_file_that_a_decoder_reads_whole(self, kind: str) -> None:
        held = list[int]()

        class Stream(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                data = super().read(size)
                if len(data) > len(self.getvalue()) // 2:
                    held.append(DECODING._limit - DECODING._free)
                return data

        data = read_whole(kind) + struct.pack(">L4s", 3_000_000, b"free") + bytes(2_999_991) + b"x"
        assert probe(lambda: Stream(data), limits=LIMITS).converted
        assert held
        assert min(held) >= 2 * len(data)
        assert DECODING._free == DECODING._limit


class TestSilence:
    def test_warnings_of_libraries_become_no_errors(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            before = list(warnings.filters)
            with silenced():
                warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
                with pytest.raises(UserWarning):
                    warnings.warn_explicit("mine", UserWarning, "app.py", 1, module="app")
            assert list(warnings.filters) == before
            with pytest.raises(UserWarning):
                warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")

    def test_logs_of_libraries_go_nowhere(self, caplog: pytest.LogCaptureFixture) -> None:
        with silenced():
            logging.getLogger("tifffile").error("odd tag")
        assert not caplog.records
        logging.getLogger("tifffile").error("somebody else's")
        assert len(caplog.records) == 1


class TestNames:
    """What is not read is rejected under its own name."""

    @pytest.mark.parametrize(
        ("data", "words", "kind"),
        [
            (b"v/1\x01" + bytes(500), "an OpenEXR picture", "unsupported"),
            (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "a Radiance HDR picture", "unsupported"),
            (b"II\xbc\x01" + bytes(500), "a JPEG XR picture", "unsupported"),
            (b"8BPS\0\x02" + bytes(500), "a large Photoshop document", "unsupported"),
            (b"P7\nWIDTH 3\nHEIGHT 2\n", "a PAM picture", "unsupported"),
            (b"\0\0\x01\0\x01\0" + bytes(500), "an icon", "unsupported"),
            (b"%PDF-1.4\n%%EOF\n", "a PDF document", "not_an_image"),
            (b"\n<!DOCTYPE html><title>404</title>", "a web page", "not_an_image"),
            (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an XML document", "not_an_image"),
            (b"\0\0\0\x18ftypmp42" + bytes(500), "a video", "not_an_image"),
            (b"PK\x03\x04" + bytes(500), "an archive", "not_an_image"),
            (b"1987, the lake", "not an image in a format", "not_an_image"),
            (bytes(5000), "begins with zeros: copy it again", "damaged"),
        ],
    )
    def test_rejected(self, data: bytes, words: str, kind: str) -> None:
        error = rejected(data)
        assert words in str(error)
        assert error.type == kind


class TestTarga:
    @pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
    @pytest.mark.parametrize("compression", [None, "tga_rle"])
    @pytest.mark.parametrize("direction", [1, -1])
    def test_restored(self, mode: str, compression: str | None, direction: int) -> None:
        image = scene().convert(mode)
        probed = probe(encoded(image, "TGA", compression=compression, orientation=direction), limits=LIMITS)
        assert mean_difference(opened(probed.converted or b""), image.convert("RGB")) == 0

    @pytest.mark.parametrize("zeros", [True, False])
    def test_broken(self, *, zeros: bool) -> None:
        data = encoded(scene(300, 200).point(lambda value: 60 + value // 2), "TGA")
        rest = bytes(len(data) - 90_001) if zeros else b""
        assert rejected(data[:90_001] + rest).type in ("damaged", "truncated")

    def test_noise_is_none(self) -> None:
        dice = Random(1)  # noqa: S311 - not secrets
        assert {rejected(dice.randbytes(2000)).type for _ in range(200)} == {"not_an_image"}


def test_gray_of_sixteen_bits_with_a_transparent_shade() -> None:
    gray = Image.frombytes("I;16", (64, 48), struct.pack("<64H", *[1000] * 32, *[40_092] * 32) * 48)
    data = encoded(gray, "PNG")
    data = data[:33] + chunk(b"tRNS", struct.pack(">H", 1000)) + data[33:]
    picture = opened(probe(data, limits=LIMITS).converted or b"")
    assert picture.mode == "L"
    assert (picture.getpixel((3, 3)), picture.getpixel((60, 3))) == (255, 156)


def test_a_jpeg_xl_that_breaks_off() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    np = pytest.importorskip("numpy")
    data = imagecodecs.jpegxl_encode(np.asarray(scene(200, 150)))
    assert probe(data, limits=LIMITS).converted
    assert rejected(data[: len(data) // 2]).type == "truncated"


@pytest.mark.parametrize("made_of_a_jpeg", [False, True])
def test_a_jpeg_xl_with_zeros_for_data(made_of_a_jpeg: bool) -> None:  # noqa: FBT001 - a parameter
    imagecodecs = pytest.importorskip("imagecodecs")
    np = pytest.importorskip("numpy")
    picture = with_noise(scene(200, 150))
    data = (
        imagecodecs.jpegxl_encode_jpeg(encoded(picture), usecontainer=True)
        if made_of_a_jpeg
        else imagecodecs.jpegxl_encode(np.asarray(picture))
    )
    half = len(data) // 2
    assert probe(data, limits=LIMITS).converted
    for broken in (data[:half] + bytes(len(data) - half), data[:half] + bytes(1024) + data[half + 1024 :]):
        error = rejected(broken)
        assert error.type == "damaged"
        assert "zeros" in str(error)


JPEG_XL_HEADS = [
    pytest.param("d002760c0012880200dc065de5120000152aa38c", None, id="sRGB"),
    pytest.param("d0027680a4b811001288020084035de512000015", None, id="gray"),
    pytest.param("d00276809d0048802800d4075de5120000152aa3", None, id="with transparency"),
    pytest.param("d0027680844c6e040012880200d8065de5120000", "another colour space", id="Display P3"),
    pytest.param("d0027680843c7a040012880200f0085de5120000", "another colour space", id="PQ"),
    pytest.param("d002768084a2450012880200a4055de512000015", "another colour space", id="linear"),
    pytest.param("d0027680840ab4c414010012880200a4065de512", "another colour space", id="gamma"),
    pytest.param("31410a6f0d0312e601d0d2584ab2b14cdd7607f0", "a colour profile", id="profile"),
    pytest.param("3141", None, id="breaks off"),
]


JPEG_XL_SIZES = [
    pytest.param("3141525c080012080100c040", (300, 200), id="ratio"),
    pytest.param("312d901497040012080100c0", (200, 300), id="ratio, turned"),
    pytest.param("0300488a0b010012080100b4", (8, 16), id="small"),
    pytest.param("03800592e2920012080100b4", (16, 8), id="small, turned"),
    pytest.param("30800e27488a0b0100120801", (5000, 7), id="large"),
    pytest.param("30800ea70592e29200120801", (7, 5000), id="large, turned"),
]


class TestJpegXl:
    """The heads of codestreams are those of files that cjxl wrote."""

    def test_made_of_a_jpeg(self) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        original = encoded(scene(60, 90), exif=exif_of(6), icc_profile=srgb_profile())
        probed = probe(imagecodecs.jpegxl_encode_jpeg(original, usecontainer=True), limits=LIMITS)
        assert (probed.content_type, probed.orientation, probed.converted) == ("image/jpeg", 6, original)

    def test_made_of_a_jpeg_and_not_decoded_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        data = imagecodecs.jpegxl_encode_jpeg(jpeg(), usecontainer=True)
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
        error = rejected(data)
        assert error.type == "unsupported"
        assert "pip install 'smarty_async[formats]'" in str(error)

    def test_one_that_is_too_large_is_not_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        np = pytest.importorskip("numpy")
        data = imagecodecs.jpegxl_encode(np.zeros((300, 200, 3), np.uint8))
        made_of_a_jpeg = imagecodecs.jpegxl_encode_jpeg(jpeg(200, 300), usecontainer=True)
        monkeypatch.setattr(imagecodecs, "jpegxl_decode", None)
        assert "200×300 pixels" in str(rejected(data, limits=Limits(max_pixels=50_000)))
        monkeypatch.setattr(identify, "_MOST_PIXELS", 50_000)
        monkeypatch.setattr(imagecodecs, "jpegxl_decode_jpeg", None)
        for photo in (data, made_of_a_jpeg):
            assert rejected(photo).type == "too_large"

    def test_an_animation(self) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        np = pytest.importorskip("numpy")
        assert rejected(imagecodecs.jpegxl_encode(np.zeros((3, 30, 20, 3), np.uint8))).type == "animation"

    @pytest.mark.parametrize(("head", "size"), JPEG_XL_SIZES)
    def test_sizes(self, head: str, size: tuple[int, int]) -> None:
        assert decoded_size(io.BytesIO(b"\xff\x0a" + bytes.fromhex(head))) == size

    def test_a_header_that_breaks_off(self) -> None:
        assert rejected(b"\xff\x0a\x31").type == "truncated"

    @pytest.mark.parametrize(
        "size", [(256, 256), (120, 100), (160, 120), (30, 20), (160, 90), (250, 200), (20, 10), (9, 1000), (1000, 9)]
    )
    def test_sizes_are_those_of_the_decoder(self, size: tuple[int, int]) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        np = pytest.importorskip("numpy")
        data = imagecodecs.jpegxl_encode(np.asarray(scene(*size)))
        assert decoded_size(io.BytesIO(data)) == opened(probe(data, limits=LIMITS).converted or b"").size == size

    def test_made_of_a_jpeg_whose_metadata_were_edited_since(self) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        data = imagecodecs.jpegxl_encode_jpeg(encoded(scene(60, 90), exif=exif_of(6)), usecontainer=True)
        at = data.index(b"Exif")
        edited = data[: at + 8] + bytes(8) + data[at + 16 :]
        probed = probe(edited, limits=LIMITS)
        assert (probed.width, probed.height, probed.orientation) == (90, 60, 1)

    @pytest.mark.parametrize(("head", "said"), JPEG_XL_HEADS)
    def test_colours_that_the_decoder_does_not_tell(self, head: str, said: str | None) -> None:
        stream = io.BytesIO(b"\xff\x0a" + bytes.fromhex(head))
        if said is None:
            check_colors(stream)
            return
        with pytest.raises(PhotoRejected, match=said) as caught:
            check_colors(stream)
        assert caught.value.type == "unsupported"
