from __future__ import annotations

import errno
import io
import os
import struct
import threading
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import CountingStream, encoded, heavy, jpeg, opened, png, scene, tiff

from smarty_async.archive.photos import convert
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.photos.reader import PhotoData, WholeFile
from smarty_async.errors import DiskError, PhotoRejected
from smarty_async.options import Limits

LIMITS = Limits()

Image.init()

OTHERS = ["BMP", "GIF", "WEBP", "JPEG2000", "PPM", "PCX", "SGI"]


class FailingFile(io.RawIOBase):
    """A file on a disk that fails past `limit` bytes."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._data = io.BytesIO(data)
        self._limit = limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._data.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        if self._data.tell() + len(buffer) > self._limit:
            raise OSError(5, "Input/output error")
        return self._data.readinto(buffer)


def rejected(photo: PhotoData, *, fit: bool = False, **limits: Any) -> PhotoRejected:
    with pytest.raises(PhotoRejected) as caught:
        probe(photo, limits=Limits(**limits), fit=fit)
    return caught.value


def read_until_rejected(data: bytes) -> int:
    """How many bytes were read of a file that is too large before it was rejected."""
    stream = CountingStream(data)
    assert rejected(lambda: stream).type == "too_large"
    return stream.count


def as_it_is(data: bytes, kind: str, *, width: int = 64, height: int = 48) -> Probed:
    """What the probe says of a whole file that is sent as it is."""
    return Probed(
        content_type=f"image/{kind}",
        size=len(data),
        width=width,
        height=height,
        file_size=len(data),
    )


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Nothing makes this smaller."""
    return Image.effect_noise((width, height), 200).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims these dimensions, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff_of(layout: tuple[int | None, ...]) -> bytes:
    """A gray TIFF of 16×16 pixels at its end; `layout`: the tags of their width, height, place and length."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1}
    place = 8 + 2 + 12 * (len(tags) + sum(tag is not None for tag in layout)) + 4
    tags |= {tag: value for tag, value in zip(layout, (16, 16, place, 256), strict=True) if tag is not None}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + struct.pack("<L", 0) + bytes(range(256))


class TestSentAsItIs:
    @pytest.mark.parametrize(("data", "kind"), [(jpeg(), "jpeg"), (png(), "png"), (tiff(), "tiff")])
    def test_formats_of_the_service(self, data: bytes, kind: str, tmp_path: Path) -> None:
        expected = as_it_is(data, kind)
        probed = probe(data, limits=LIMITS)
        assert (probed.header is not None) == (kind == "jpeg")
        assert msgspec.structs.replace(probed, header=None) == expected
        path = tmp_path / "misnamed.txt"
        path.write_bytes(data)
        probed = probe(str(path), limits=LIMITS)
        assert probed.whole == WholeFile(data, str(path.stat().st_mtime_ns))
        assert msgspec.structs.replace(probed, whole=None, header=None) == expected

    def test_a_file_of_several_pictures(self) -> None:
        data = encoded(scene(), "MPO", save_all=True, append_images=[scene(400, 300, seed=1)])
        probed = probe(data, limits=LIMITS)
        assert probed.converted is None
        assert probed.size < len(data) == probed.file_size
        assert opened(data[: probed.size]).tobytes() == opened(data).tobytes()

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_kinds_of_tiff(self, compression: str | None, mode: str) -> None:
        data = encoded(scene().convert(mode), "TIFF", compression=compression)
        assert probe(data, limits=LIMITS).content_type == "image/tiff"

    @pytest.mark.parametrize(("layout", "name"), [((322, 323, 324, 325), "tiles"), ((None, 278, 273, 279), "strips")])
    def test_where_a_tiff_has_its_data(self, layout: tuple[int | None, ...], name: str) -> None:
        data = tiff_of(layout)
        probed = probe(data, limits=LIMITS)
        assert (probed.width, probed.converted is None) == (16, name == "strips")
        error = rejected(data[:-1])
        assert error.type == "truncated", name

    def test_a_tiff_that_does_not_say_how_long_its_data_is(self) -> None:
        data = tiff_of((None, 278, 273, None))
        probed = probe(data, limits=LIMITS)
        assert opened(probed.converted or b"").tobytes() == bytes(range(256))
        assert rejected(data[:-1]).type == "truncated"

    @pytest.mark.parametrize(("offsets", "lengths"), [(3, 3), (3, 2), (2, 2), (2, 3)])
    def test_a_tiff_that_does_not_say_where_all_its_strips_are(self, offsets: int, lengths: int) -> None:
        data = encoded(scene(64, 48), "TIFF", tiffinfo={278: 16})
        for tag, count in ((273, offsets), (279, lengths)):
            data = data.replace(struct.pack("<HHL", tag, 4, 3), struct.pack("<HHL", tag, 4, count))
        assert (probe(data, limits=LIMITS).converted is None) == (offsets == lengths == 3)

    @pytest.mark.parametrize("data", [jpeg(), png()])
    def test_data_behind_the_end_do_no_harm(self, data: bytes) -> None:
        for trailer in (bytes(1000) + b"maker's notes", bytes(100_000)):
            probed = probe(data + trailer, limits=LIMITS)
            assert probed.converted is None
            sent = len(data) + len(trailer) if len(trailer) < 4096 else len(data)
            assert (probed.size, probed.file_size) == (sent, len(data) + len(trailer))

    @pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
    def test_odd_names(self, tmp_path: Path) -> None:
        for name in (b"\xd1\x84 \n.jpg", b"x" * 251 + b".jpg"):
            path = tmp_path / os.fsdecode(name)
            path.write_bytes(jpeg())
            assert probe(str(path), limits=LIMITS).size == len(jpeg())

    def test_broken_exif_is_no_harm(self) -> None:
        data = encoded(scene(), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\x00garbage", quality=90)
        start = data.index(b"\xff\xe0")
        length = int.from_bytes(data[start + 2 : start + 4])
        data = data[:start] + data[start + 2 + length :]  # without JFIF's resolution, Pillow asks EXIF for one
        assert probe(data, limits=LIMITS).converted is None
        assert probe(data, limits=Limits(max_image_bytes=1000), fit=True).size <= 1000

    @pytest.mark.parametrize(("width", "height"), [(4, 50), (3841, 10), (10, 3841), (2161, 2161)])
    def test_dimensions_are_warned_about(self, width: int, height: int) -> None:
        probed = probe(encoded(Image.new("L", (width, height))), limits=LIMITS)
        assert probed.warning is not None
        assert f"{width}×{height}" in probed.warning
        assert ("--fit" in probed.warning) == (width > 4)

    @pytest.mark.parametrize(("width", "height"), [(5, 5), (3840, 2160), (2160, 3840)])
    def test_dimensions_at_their_limits_are_fine(self, width: int, height: int) -> None:
        assert probe(encoded(Image.new("L", (width, height))), limits=LIMITS).warning is None

    def test_nothing_is_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
        for data in (jpeg(), png(), tiff(), encoded(scene(), "TIFF", compression="tiff_lzw")):
            probe(data, limits=LIMITS)


class TestRejected:
    def test_unreadable(self, tmp_path: Path) -> None:
        assert rejected(str(tmp_path / "gone")).type == "unreadable"
        assert "No such file" in str(rejected(str(tmp_path / "gone")))
        assert rejected(str(tmp_path)).type == "unreadable"
        assert rejected("nul\0.jpg").type == "unreadable"

    @pytest.mark.skipif(os.name == "nt", reason="there are no such pipes")
    def test_a_pipe_does_not_keep_us_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert rejected(str(tmp_path / "pipe")).type == "unreadable"

    @pytest.mark.parametrize("limit", [200, 4_000, 100_000])
    def test_a_disk_that_fails_is_no_fault_of_the_photo(self, limit: int) -> None:
        data = encoded(noise(400, 400), quality=95)
        assert len(data) > 150_000
        error = rejected(lambda: io.BufferedReader(FailingFile(data, limit)))
        assert (error.type, str(error)) == ("unreadable", "it cannot be read: Input/output error")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").touch()
        assert rejected(str(tmp_path / "a.jpg")).type == "empty"
        assert rejected(b"").type == "empty"

    @pytest.mark.parametrize(
        "data",
        [
            b"x",
            b"just a text, no picture",
            b"<svg/>",
            b"%PDF-1.7",
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            b"BMW is a car" * 9,
        ],
    )
    def test_not_an_image(self, data: bytes) -> None:
        assert rejected(data).type == "not_an_image"

    def test_what_is_no_image_is_so_at_any_size(self) -> None:
        assert rejected(b"text" * 1000, max_image_bytes=100).type == "not_an_image"

    def test_a_damaged_header(self) -> None:
        data = bytearray(png())
        data[12:16] = b"JUNK"
        assert rejected(bytes(data)).type == "not_an_image"

    @pytest.mark.parametrize("data", [jpeg(), png(), tiff(), encoded(scene(), "TIFF", compression="tiff_lzw")])
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
    def test_truncated(self, data: bytes, part: float) -> None:
        assert rejected(data[: int(len(data) * part)]).type == "truncated"
        assert rejected(data[: int(len(data) * part)], fit=True).type == "truncated"

    def test_the_end_of_a_thumbnail_is_not_the_end(self) -> None:
        exif = b"Exif\0\0" + jpeg(32, 24)
        data = encoded(scene(200, 200), exif=exif, quality=90)
        assert probe(data, limits=LIMITS).converted is None
        assert rejected(data[:-500]).type == "truncated"

    @pytest.mark.parametrize("kind", ["BMP", "GIF", "PPM", "WEBP"])
    def test_truncated_where_it_had_to_be_converted(self, kind: str) -> None:
        data = encoded(scene(), kind)
        assert rejected(data[: len(data) // 2]).type == "truncated"

    def test_too_large_says_how_and_what_helps(self) -> None:
        error = rejected(jpeg(), max_image_bytes=1000)
        assert error.type == "too_large"
        for part in (f"{len(jpeg()):,} bytes", "1,000 bytes", "--fit"):
            assert part in str(error)
        assert probe(jpeg(), limits=Limits(max_image_bytes=len(jpeg()))).size == len(jpeg())

    def test_the_published_limit(self) -> None:
        assert probe(heavy(7_999_999), limits=LIMITS).size <= 8_000_000
        assert rejected(heavy(8_000_001)).type == "too_large"

    def test_too_large_even_converted(self) -> None:
        error = rejected(encoded(noise(200, 200), "BMP"), max_image_bytes=5000)
        assert error.type == "too_large"
        assert "--fit" in str(error)

    def test_files_too_large_to_be_converted_are_not_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("smarty_async.archive.photos.probe.LARGEST_DECODED", 100)
        for data in (
            encoded(scene(), "BMP"),
            encoded(scene(), "WEBP"),
            encoded(scene(), "JPEG2000"),
            encoded(scene(), "TIFF", compression="jpeg"),
            encoded(scene(), "TIFF", save_all=True, append_images=[scene()]),
            b"FUJIFILMCCD-RAW " + bytes(10_000),
        ):
            assert read_until_rejected(data) < 1000

    def test_pictures_too_large_to_be_decoded_are_not_looked_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("smarty_async.archive.photos.identify._MOST_PIXELS", 5_000)
        for data in (encoded(scene(300, 200), "BMP"), encoded(scene(300, 200).convert("CMYK"), "TIFF")):
            assert read_until_rejected(data) < len(data) // 4

    def test_too_large_to_be_made_to_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("smarty_async.archive.photos.probe.LARGEST_DECODED", 100)
        assert rejected(jpeg(), fit=True, max_image_bytes=1000).type == "too_large"
        assert rejected(jpeg(), fit=True, max_image_bytes=20).type == "too_large"

    @pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000)])
    @pytest.mark.parametrize("action", ["error", "default"])
    def test_decompression_bombs(self, width: int, height: int, action: Any) -> None:
        before = Image.MAX_IMAGE_PIXELS
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter(action)
            error = rejected(png_header(width, height))
        assert error.type == "too_large"
        assert f"{width}×{height}" in str(error)
        assert not seen
        assert before == Image.MAX_IMAGE_PIXELS

    def test_a_gif_that_swells(self) -> None:
        data = bytearray(encoded(scene().convert("P"), "GIF"))
        frame = data.index(b",\0\0\0\0")
        data[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
        assert rejected(bytes(data)).type == "too_large"

    def test_memory_that_runs_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
        assert rejected(encoded(scene(), "BMP")).type == "too_large"

    def test_colours_that_cannot_be_converted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def flat(_: object) -> None:
            raise ValueError("conversion not supported")

        monkeypatch.setattr(convert, "flattened", flat)
        assert rejected(encoded(scene(), "BMP")).type == "unsupported"


class TestConverted:
    @pytest.mark.parametrize("kind", [*OTHERS, "AVIF"])
    def test_every_other_format_becomes_png(self, kind: str, tmp_path: Path) -> None:
        if kind not in Image.SAVE:
            pytest.skip(f"this Pillow cannot write {kind}")
        path = tmp_path / "a.jpg"
        path.write_bytes(encoded(scene(), kind))
        probed = probe(str(path), limits=LIMITS)
        assert probed.content_type == "image/png"
        assert probed.converted is not None
        assert probed.size == len(probed.converted)
        picture = opened(probed.converted)
        assert (picture.format, picture.size, picture.mode) == ("PNG", (64, 48), "RGB")
        assert (probed.width, probed.height) == (64, 48)

    def test_pixels_stay_what_they_were(self) -> None:
        converted = probe(encoded(scene(), "BMP"), limits=LIMITS).converted
        assert converted is not None
        assert opened(converted).tobytes() == scene().tobytes()

    def test_jpeg_when_png_is_over_the_limit(self) -> None:
        probed = probe(encoded(noise(300, 300), "BMP"), limits=Limits(max_image_bytes=120_000))
        assert probed.content_type == "image/jpeg"
        assert probed.size <= 120_000
        assert (probed.width, probed.height) == (300, 300)

    def test_transparency_on_white(self) -> None:
        glass = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
        for data in (encoded(glass, "WEBP", lossless=True), encoded(glass, "GIF")):
            converted = probe(data, limits=LIMITS).converted
            assert converted is not None
            assert opened(converted).getpixel((5, 5)) == (255, 255, 255)

    def test_turned_as_exif_says(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        left_red = Image.new("RGB", (40, 20), "blue")
        left_red.paste("red", (0, 0, 20, 20))
        probed = probe(encoded(left_red, "WEBP", lossless=True, exif=exif.tobytes()), limits=LIMITS)
        assert probed.converted is not None
        picture = opened(probed.converted)
        assert picture.size == (probed.width, probed.height) == (20, 40)
        assert picture.getpixel((10, 5)) == (255, 0, 0)
        assert 0x0112 not in picture.getexif()

    def test_black_and_white_and_sixteen_bits(self) -> None:
        for data in (b"P5 2 1 65535\n\x80\x80\xff\xff", encoded(Image.new("1", (2, 1), 1), "PPM")):
            converted = probe(data, limits=LIMITS).converted
            assert converted is not None
            picture = opened(converted)
            assert picture.mode == "L"
            assert picture.getpixel((1, 0)) == 255
            assert picture.getpixel((0, 0)) in (128, 255)

    def test_colour_profiles_are_kept_where_they_fit(self) -> None:
        profile = bytes(16) + b"RGB " + bytes(108)
        data = encoded(scene(), "WEBP", icc_profile=profile)
        converted = probe(data, limits=LIMITS).converted
        assert converted is not None
        assert opened(converted).info["icc_profile"] == profile
        cmyk = encoded(Image.new("CMYK", (4000, 10)), icc_profile=bytes(16) + b"CMYK" + bytes(108))
        converted = probe(cmyk, limits=LIMITS, fit=True).converted
        assert converted is not None
        assert "icc_profile" not in opened(converted).info

    def test_what_no_format_holds(self) -> None:
        data = encoded(noise(70_000, 2, "L"), "BMP")
        assert rejected(data, max_image_bytes=10_000).type == "too_large"

    def test_many_at_once(self) -> None:
        photos = [encoded(scene(seed=seed), kind) for seed, kind in enumerate(["BMP", "WEBP", "GIF", "JPEG"] * 4)]
        probed: list[Probed] = []
        threads = [threading.Thread(target=lambda p=p: probed.append(probe(p, limits=LIMITS))) for p in photos]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(probed) == 16


class TestFit:
    def test_what_fits_is_left_alone(self) -> None:
        assert probe(jpeg(), limits=LIMITS, fit=True).converted is None

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("size", "expected"),
        [((4000, 1000), (3840, 960)), ((1000, 4000), (960, 3840)), ((3000, 3000), (2160, 2160))],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
    def test_dimensions(self, size: tuple[int, int], expected: tuple[int, int], kind: str) -> None:
        probed = probe(encoded(Image.new("L", size, 99), kind), limits=LIMITS, fit=True)
        assert probed.converted is not None
        assert (probed.width, probed.height) == opened(probed.converted).size == expected
        assert probed.warning is None
        assert probed.content_type == ("image/jpeg" if kind == "JPEG" else "image/png")

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_dimensions_of_what_must_be_turned(self, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        probed = probe(encoded(Image.new("L", (4000, 1000)), kind, exif=exif), limits=LIMITS, fit=True)
        assert (probed.width, probed.height) == (960, 3840)

    @pytest.mark.parametrize("limit", [200_000, 60_000, 20_000, 3000])
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
    def test_bytes(self, limit: int, kind: str) -> None:
        probed = probe(encoded(noise(400, 300), kind), limits=Limits(max_image_bytes=limit), fit=True)
        assert probed.size <= limit
        if probed.converted is not None:
            assert len(probed.converted) == probed.size
            assert opened(probed.converted).size == (probed.width, probed.height)

    def test_a_limit_that_nothing_fits(self) -> None:
        error = rejected(jpeg(), fit=True, max_image_bytes=10)
        assert error.type == "too_large"
        assert "cannot be made smaller" in str(error)

    @pytest.mark.parametrize("size", [(4, 4), (50_000, 6)])
    def test_what_cannot_be_fitted_is_warned_about(self, size: tuple[int, int]) -> None:
        probed = probe(encoded(Image.new("L", size)), limits=LIMITS, fit=True)
        assert probed.converted is None
        assert probed.warning is not None
        assert "--fit" not in probed.warning

    def test_scale(self) -> None:
        assert convert.scale_to_fit(3840, 2160, LIMITS) == 1
        assert convert.scale_to_fit(7680, 10, LIMITS) == 0.5
        assert convert.scale_to_fit(7680, 8, LIMITS) == 1
        assert convert.scale_to_fit(7680, 4320, Limits(max_dimensions=None)) == 1
        assert convert.scale_to_fit(16_000, 16_000, Limits(max_dimensions=None)) == 0.5

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
    @pytest.mark.parametrize("size", [(400, 300), (2003, 1502)])  # a JPEG of the second size is decoded at a quarter
    def test_pixels_over_the_limit(self, size: tuple[int, int], kind: str) -> None:
        limits = Limits(max_pixels=115_000, max_dimensions=None)
        probed = probe(encoded(Image.new("L", size, 99), kind), limits=limits, fit=True)
        assert opened(probed.converted or b"").size == (probed.width, probed.height)
        assert 0.99 * 115_000 < probed.width * probed.height <= 115_000

    @given(
        size=st.tuples(st.integers(5, 100_000), st.integers(5, 100_000)),
        max_pixels=st.integers(25, 200_000_000),
        max_dimensions=st.none() | st.tuples(st.integers(5, 20_000), st.integers(5, 20_000)),
    )
    def test_a_fitted_size_is_within_the_limits(
        self, size: tuple[int, int], max_pixels: int, max_dimensions: tuple[int, int] | None
    ) -> None:
        limits = Limits(max_pixels=max_pixels, max_dimensions=max_dimensions)
        scale = convert.scale_to_fit(*size, limits)
        width, height = convert.fitted_size(*size, limits)
        if scale == 1:
            assert (width, height) == size
            return
        assert width * height <= max_pixels
        assert max(width, height) <= max(max_dimensions or size)
        assert 5 <= min(width, height) <= min(max_dimensions or size)
        assert width > size[0] * scale - 1
        assert height > size[1] * scale - 1


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=2 * settings().max_examples)
@given(
    data=st.sampled_from([jpeg(16, 12), png(16, 12), tiff(16, 12), *(encoded(scene(16, 12), kind) for kind in OTHERS)]),
    spots=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 2000),
    fit=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_is_broken_is_rejected_or_sent(
    data: bytes, spots: list[tuple[int, int]], cut: int, *, fit: bool
) -> None:
    broken = bytearray(data)
    for place, value in spots:
        broken[place % len(broken)] = value
    with suppress(PhotoRejected):
        probe(bytes(broken[: cut or None]), limits=LIMITS, fit=fit)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_no_photo_s_fault(number: int) -> None:
    def refused() -> io.BytesIO:
        raise OSError(number, "Too many open files")

    with pytest.raises(DiskError, match="no more photos can be opened: Too many open files") as caught:
        probe(refused, limits=LIMITS)
    assert caught.value.errno == number


def test_a_tiff_that_becomes_shorter_is_truncated() -> None:
    class Shrinking(io.BytesIO):
        """Ends where it is read for the third time: behind its header."""

        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 2:
                self.truncate(9)
            return super().read(size)

    with pytest.raises(PhotoRejected, match="copy it again") as caught:
        probe(lambda: Shrinking(tiff()), limits=LIMITS)
    assert caught.value.type == "truncated"
