"""Photos as people's bug reports describe them, from the disk to the outputs: none wrong, none lost."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from PIL import Image, ImageCms, ImageOps
from support.archives import STATE, client, fill, outcomes, restore, sent
from support.fake_service import FakeService, Request, envelope, expected
from support.field import (
    CAMERA,
    answering,
    camera_exif,
    difference,
    dng,
    enlarging,
    exact_scene,
    honouring_exif,
    ignoring_exif,
    keeping_exif,
    motion_photo,
    names_in,
    png_with_gamma,
    png_with_text,
    stored_as,
    tiff_layouts,
    twice,
    zeros_from,
)
from support.metadata_samples import XMP, icc_profile, jpeg_2000_with_profile, jpeg_with, scene, xmp_segment
from support.pictures import encoded, heic, jpeg, opened
from support.program import run

from smarty_async import plan_archive
from smarty_async.archive.outputs import folder as output_folder
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.paths import FileNameRules
from smarty_async.options import Limits
from smarty_async.results import Result

posix = pytest.mark.skipif(os.name == "nt", reason="Windows takes no such names")

ORIENTATIONS = range(1, 9)
INSTALL = "pip install 'smarty_async[formats]'"
SUMMER_1987 = 550_000_000
SUMMER_1969 = -14_000_000


def write(path: Path, data: bytes, *, modified: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if modified is not None:
        os.utime(path, (modified, modified))


async def restored(source: Path, out: Path, picture_of: Any = honouring_exif, **choices: Any) -> dict[str, Result]:
    """The results of a run against a service that answers with pictures, by photo."""
    async with FakeService() as service:
        service.default = answering(picture_of)
        return {result.photo: result for result in await restore(service, source, out, **choices)}


def output(out: Path, result: Result, kind: Any = "improved") -> Path:
    assert result.outcome == "restored", result
    return out / result.outputs[kind]


def seen(path: Path) -> Image.Image:
    """The picture as every viewer shows it."""
    return ImageOps.exif_transpose(opened(path.read_bytes())).convert("RGB")


def unchanged(image: bytes) -> bytes:
    return image


async def only_rejections(source: Path, out: Path, **choices: Any) -> dict[str, Any]:
    """The error of each photo, when none was sent."""
    async with FakeService() as service:
        results = await restore(service, source, out, **choices)
        assert not service.requests
    assert {result.outcome for result in results} == {"rejected"}
    return {result.photo: result.error for result in results}


# orientation


@pytest.mark.slow
@pytest.mark.parametrize("picture_of", [honouring_exif, ignoring_exif, keeping_exif])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
async def test_every_orientation_shows_upright(source: Path, out: Path, picture_of: Any, kind: str) -> None:
    upright = scene(90, 60)
    for orientation in ORIENTATIONS:
        stored = stored_as(upright, orientation)
        write(source / f"{orientation}.{kind.lower()}", encoded(stored, kind, exif=camera_exif(orientation)))
    results = await restored(source, out, picture_of)
    assert len(results) == len(ORIENTATIONS)
    for name, result in results.items():
        assert difference(seen(output(out, result)), upright) < 6, name


@pytest.mark.parametrize("picture_of", [honouring_exif, ignoring_exif])
@pytest.mark.parametrize(("prefix", "counts"), [(b"tiff", True), (b"t", False)])
async def test_an_orientation_in_xmp_alone_counts_where_viewers_find_it(
    source: Path, out: Path, picture_of: Any, *, prefix: bytes, counts: bool
) -> None:
    # They look for the usual prefix of its name, and do not parse the packet.
    packet = XMP.replace(b" xmlns:t=", b" xmlns:" + prefix + b"=")
    for before in (b" t:", b"<t:", b"</t:"):
        packet = packet.replace(before, before.replace(b"t", prefix))
    write(source / "a.jpg", jpeg_with(xmp_segment(packet), image=stored_as(scene(), 6) if counts else scene()))
    made = output(out, (await restored(source, out, picture_of))["a.jpg"])
    assert difference(seen(made), scene()) < 6
    lies = counts and picture_of is ignoring_exif
    assert opened(made.read_bytes()).getexif().get(0x0112, 1) == (6 if lies else 1)
    assert (b'Orientation="6"' in made.read_bytes()) == lies


@pytest.mark.parametrize("picture_of", [honouring_exif, ignoring_exif])
@pytest.mark.parametrize("fit", [False, True])
async def test_fitted_photos_show_upright(source: Path, out: Path, picture_of: Any, *, fit: bool) -> None:
    write(source / "a.jpg", encoded(stored_as(scene(), 6), exif=camera_exif(6)))
    limits = Limits(max_dimensions=(150, 100))
    result = (await restored(source, out, picture_of, limits=limits, fit=fit))["a.jpg"]
    picture = seen(output(out, result))
    assert picture.size == ((150, 100) if fit else (300, 200))
    assert difference(picture.resize((300, 200)), scene()) < 10


# metadata


def assert_camera_metadata(path: Path, *, directories: bool = True) -> None:
    exif = opened(path.read_bytes()).getexif()
    assert exif[0x010F] == CAMERA
    assert exif[0x010E] == "Summer at the lake"
    assert exif[0x013B] == "the photographer"
    assert exif[0x0132] == "1987:06:05 04:03:02"
    if directories:
        assert exif.get_ifd(0x8769)[36867] == "1987:06:05 04:03:02"
        assert exif.get_ifd(0x8825)[2] == (55.0, 45.0, 0.0)
    assert exif.get(0x0112, 1) == 1


@pytest.mark.parametrize("modified", [SUMMER_1987, SUMMER_1969])
async def test_metadata_of_every_format_is_in_the_outputs(source: Path, out: Path, modified: int) -> None:
    if os.name == "nt" and modified < 0:
        pytest.skip("Windows has no times before 1970")
    picture, exif = scene(), camera_exif()
    write(source / "a.jpg", encoded(picture, exif=exif, dpi=(600, 600)), modified=modified)
    write(source / "b.png", encoded(picture, "PNG", exif=exif, dpi=(600, 600)), modified=modified)
    write(source / "c.tif", encoded(picture, "TIFF", exif=exif, dpi=(600, 600)), modified=modified)
    write(source / "d.webp", encoded(picture, "WEBP", exif=exif), modified=modified)
    write(source / "lying.jpg", encoded(stored_as(picture, 6), exif=camera_exif(6)), modified=modified)
    results = await restored(source, out)
    assert len(results) == 5
    for name, result in results.items():
        path = output(out, result)
        assert_camera_metadata(path, directories=name != "c.tif")  # Pillow writes none into a TIFF
        assert path.stat().st_mtime == modified, name
        assert difference(seen(path), picture) < 6, name
        assert result.warnings == ()
    for name in ("a.jpg", "b.png", "c.tif"):
        dpi = opened(output(out, results[name]).read_bytes()).info["dpi"]
        assert [round(float(value)) for value in dpi] == [600, 600], name


@pytest.mark.parametrize("named_first", [False, True])
async def test_metadata_of_a_large_output_is_written_with_its_start(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *, named_first: bool
) -> None:
    copied: list[str] = []

    def copy_to(self: MetadataCopier, output: str) -> int:
        copied.append(output)
        return copy(self, output)

    copy = MetadataCopier.copy_to
    monkeypatch.setattr(MetadataCopier, "copy_to", copy_to)
    write(source / "a.jpg", encoded(scene(), exif=camera_exif()), modified=SUMMER_1987)
    picture = encoded(scene()) + bytes(3_000_000)

    async def answer(request: Request) -> web.StreamResponse:
        item = {"improved": base64.b64encode(picture).decode(), "status": 0, "name": "file_0"}
        members = reversed(item.items()) if named_first else item.items()
        return await envelope(200, {"improve": [dict(members)]})(request)

    async with FakeService() as service:
        service.default = lambda _: answer
        [result] = await restore(service, source, out)
        assert [one.outcome for one in await restore(service, source, out)] == ["skipped"]
    path = output(out, result)
    assert_camera_metadata(path)
    assert path.stat().st_mtime == SUMMER_1987
    assert path.read_bytes().endswith(picture[2_000:])
    assert bool(copied) is not named_first
    data = path.read_bytes()
    with closing(sqlite3.connect(out / STATE / "journal.sqlite")) as journal:
        [[outputs]] = journal.execute("SELECT outputs FROM answers").fetchall()
    known = json.loads(outputs)["improved"]
    assert (known["size"], known["digest"]) == (len(data), hashlib.sha256(data).hexdigest()[:24])


async def test_metadata_of_heic_is_in_the_outputs(source: Path, out: Path) -> None:
    write(source / "IMG_4711.HEIC", heic(scene(), exif=camera_exif().tobytes()), modified=SUMMER_1987)
    result = (await restored(source, out))["IMG_4711.HEIC"]
    path = output(out, result)
    assert path == out / "improved" / "IMG_4711.HEIC.jpg"
    assert_camera_metadata(path)
    assert path.stat().st_mtime == SUMMER_1987
    assert difference(seen(path), scene()) < 6


@pytest.mark.parametrize("picture_of", [honouring_exif, ignoring_exif, keeping_exif])
async def test_strip_metadata_leaves_none_and_upright(source: Path, out: Path, picture_of: Any) -> None:
    write(source / "a.jpg", encoded(scene(), exif=camera_exif(), dpi=(600, 600)), modified=SUMMER_1987)
    write(source / "b.png", encoded(scene(), "PNG", exif=camera_exif()), modified=SUMMER_1987)
    write(source / "lying.jpg", encoded(stored_as(scene(), 8), exif=camera_exif(8)), modified=SUMMER_1987)
    for result in (await restored(source, out, picture_of, strip_metadata=True)).values():
        path = output(out, result)
        assert difference(seen(path), scene()) < 6
        exif = opened(path.read_bytes()).getexif()
        assert set(exif) <= {0x0112}
        assert path.stat().st_mtime > SUMMER_1987
        assert CAMERA.encode() not in path.read_bytes()


async def test_metadata_is_not_doubled_where_the_service_keeps_it(source: Path, out: Path) -> None:
    write(source / "a.jpg", encoded(scene(), exif=camera_exif()))
    result = (await restored(source, out, unchanged))["a.jpg"]
    data = output(out, result).read_bytes()
    assert_camera_metadata(output(out, result))
    assert data.count(b"Exif\0\0") == 1


async def test_a_malformed_exif_is_left_out_and_said(source: Path, out: Path) -> None:
    write(source / "a.jpg", encoded(scene(), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(40)))
    result = (await restored(source, out))["a.jpg"]
    assert difference(seen(output(out, result)), scene()) < 6
    assert result.warnings


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
async def test_a_photo_that_replaces_another_while_a_request_is_open_lends_it_no_metadata(
    source: Path, out: Path, kind: str
) -> None:
    path = source / f"a.{kind.lower()}"
    write(path, encoded(scene(), kind, exif=camera_exif()), modified=SUMMER_1987)

    def replacing(image: bytes) -> bytes:
        write(path, encoded(scene(), kind, exif=camera_exif()))
        return honouring_exif(image)

    result = (await restored(source, out, replacing))[path.name]
    assert CAMERA.encode() not in output(out, result).read_bytes()
    assert result.warnings == ("the photo's metadata cannot be read: it changed while the run was under way",)

    async with FakeService() as service, client(service) as open_client:
        service.default = answering(replacing)
        os.utime(path, (SUMMER_1987, SUMMER_1987))
        improved = (await open_client.improve(path)).improved
    assert improved
    assert CAMERA.encode() not in improved


@pytest.mark.parametrize("factor", [2, 4])
async def test_dpi_is_kept_and_scaled_where_the_picture_was_enlarged(source: Path, out: Path, factor: int) -> None:
    write(source / "fax.tif", encoded(scene(432, 288).convert("1"), "TIFF", compression="group4", dpi=(204, 98)))
    write(source / "photo.jpg", encoded(scene(), dpi=(300, 300), exif=camera_exif()))
    results = await restored(source, out, enlarging(factor), modes=["resolution"], rfactor=factor)
    for name, dpi in {"fax.tif": (204, 98), "photo.jpg": (300, 300)}.items():
        picture = opened(output(out, results[name], "resolved").read_bytes())
        found = [round(float(value)) for value in picture.info["dpi"]]
        assert found == [factor * value for value in dpi], name
    exif = opened(output(out, results["photo.jpg"], "resolved").read_bytes()).getexif()
    assert exif[0x010F] == CAMERA
    assert exif.get_ifd(0x8769).get(0xA002, 300 * factor) == 300 * factor


async def test_a_fax_is_not_squashed(source: Path, out: Path) -> None:
    write(source / "fax.tif", encoded(scene(432, 288).convert("1"), "TIFF", compression="group4", dpi=(204, 98)))
    picture = opened(output(out, (await restored(source, out))["fax.tif"]).read_bytes())
    assert [round(float(value)) for value in picture.info["dpi"]] == [204, 98]


# formats


async def test_a_raw_file_gives_an_output_of_the_sensors_size(source: Path, out: Path) -> None:
    pytest.importorskip("rawpy")
    write(source / "IMG_1.DNG", dng())
    result = (await restored(source, out))["IMG_1.DNG"]
    assert seen(output(out, result)).size == (320, 240)


async def test_heic_and_raw_without_their_decoders(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(source / "IMG_1.DNG", dng())
    write(source / "IMG_2.HEIC", heic(scene()))
    for module in ("rawpy", "pillow_heif", "tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, module, None)
    errors = await only_rejections(source, out)
    assert {name: error.type for name, error in errors.items()} == {"IMG_1.DNG": "raw", "IMG_2.HEIC": "heic"}
    assert "RAW" in errors["IMG_1.DNG"].message.upper()
    assert "HEIC" in errors["IMG_2.HEIC"].message
    assert all(INSTALL in error.message for error in errors.values())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
async def test_an_animation_is_rejected_as_one(source: Path, out: Path, kind: str) -> None:
    write(source / "moving", twice(scene(), kind))
    error = (await only_rejections(source, out))["moving"]
    assert error.type == "animation"
    assert "animation" in error.message


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
async def test_one_picture_in_a_format_of_animations_is_a_photo(source: Path, out: Path, kind: str) -> None:
    write(source / f"still.{kind.lower()}", encoded(scene(), kind))
    result = (await restored(source, out))[f"still.{kind.lower()}"]
    assert difference(seen(output(out, result)), scene()) < 12


async def test_every_page_of_a_tiff_is_restored(source: Path, out: Path) -> None:
    pages = [scene(), ImageOps.invert(scene()), ImageOps.mirror(scene())]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    write(source / "in a folder" / "album.tif", buffer.getvalue())
    async with FakeService() as service:
        service.default = answering(honouring_exif)
        results = {result.page: result for result in await restore(service, source, out)}
        assert len(sent(service)) == 3
    assert {page: result.outputs["improved"] for page, result in results.items()} == {
        1: "improved/in a folder/album.tif.jpg",
        2: "improved/in a folder/album.tif.page-2.jpg",
        3: "improved/in a folder/album.tif.page-3.jpg",
    }
    for page, result in results.items():
        assert difference(seen(output(out, result)), pages[page - 1]) < 6


async def test_the_thumbnail_in_a_tiff_is_no_page(source: Path, out: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    numpy = pytest.importorskip("numpy")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for picture in (scene(), ImageOps.invert(scene())):
            writer.write(numpy.asarray(picture), photometric="rgb", metadata=None)
            writer.write(numpy.asarray(picture.resize((30, 20))), photometric="rgb", subfiletype=1, metadata=None)
    write(source / "scan.tif", buffer.getvalue())
    async with FakeService() as service:
        service.default = answering(honouring_exif)
        results = await restore(service, source, out)
        assert sorted(opened(image).size for image in sent(service)) == [(300, 200), (300, 200)]
    assert len(results) == 2


@pytest.mark.parametrize("orientation", [1, 6])
async def test_a_motion_photo_is_sent_without_its_video(source: Path, out: Path, orientation: int) -> None:
    photo = encoded(stored_as(scene(), orientation), exif=camera_exif(orientation))
    write(source / "PXL_1.MP.jpg", motion_photo(photo, video=9_000_000))
    async with FakeService() as service:
        service.default = answering(honouring_exif)
        (result,) = await restore(service, source, out)
        assert sent(service) == [photo]
    assert difference(seen(output(out, result)), scene()) < 6
    assert_camera_metadata(output(out, result))


def unusual_files() -> dict[str, bytes]:
    """The scene as other programs and phones write it."""
    picture, small, buffer = scene(), scene(30, 20), io.BytesIO()
    picture.save(buffer, "MPO", save_all=True, append_images=[small])
    profile = cast("Any", ImageCms).createProfile
    srgb, lab = profile("sRGB"), profile("LAB")
    in_lab = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    assert in_lab is not None
    return {
        "cmyk.jpg": encoded(picture.convert("CMYK")),
        "with a gain map.jpg": encoded(picture) + encoded(small),
        "with a depth map.jpg": buffer.getvalue(),
        "samsung motion.jpg": encoded(picture) + b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + bytes(9_000_000) + b"SEFT",
        "lab.tif": encoded(in_lab, "TIFF"),
        "jpeg in a.tif": encoded(picture, "TIFF", compression="jpeg"),
        "palette.png": encoded(picture.quantize(128), "PNG"),
        "transparent.png": encoded(picture.convert("RGBA"), "PNG"),
        "palette.gif": encoded(picture.quantize(128), "GIF"),
        "bitmap.bmp": encoded(picture, "BMP"),
        "wrong name.png": encoded(picture),
    }


@pytest.mark.slow
async def test_files_of_many_programs_show_the_same_picture(source: Path, out: Path) -> None:
    for name, data in unusual_files().items():
        write(source / name, data)
    results = await restored(source, out)
    assert set(results) == set(unusual_files())
    for name, result in results.items():
        assert difference(seen(output(out, result)), scene()) < 4, name


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "P", "RGBA"])
async def test_a_png_with_a_gamma_of_its_own_has_the_tones_that_it_means(
    source: Path, out: Path, gamma: float, mode: str
) -> None:
    picture = scene(60, 40).convert("L" if mode in ("L", "I;16") else "RGB")
    write(source / "a.png", png_with_gamma(picture, gamma, mode=mode))
    result = (await restored(source, out))["a.png"]
    assert difference(seen(output(out, result)), picture) < 6


async def test_a_jpeg_2000_keeps_the_profile_of_its_colours(source: Path, out: Path) -> None:
    write(source / "a.jp2", jpeg_2000_with_profile(scene(), icc_profile()))
    result = (await restored(source, out))["a.jp2"]
    assert opened(output(out, result).read_bytes()).info["icc_profile"] == icc_profile()


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("length", [1_500_000, 5_000_000])
async def test_a_png_with_a_long_text_is_restored(source: Path, out: Path, length: int, *, behind: bool) -> None:
    write(source / "a.png", png_with_text(encoded(scene(), "PNG"), length=length, behind=behind))
    async with FakeService() as service:
        (result,) = await restore(service, source, out)
        assert result.outcome == "restored"
        (image,) = sent(service)
        assert difference(opened(image), scene()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("extra", [True, False])
@pytest.mark.parametrize("name", tiff_layouts(exact_scene()))
async def test_a_tiff_has_its_right_pixels_or_the_true_reason(
    source: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch, *, extra: bool
) -> None:
    if extra:
        pytest.importorskip("tifffile")
    else:
        for module in ("tifffile", "imagecodecs"):
            monkeypatch.setitem(sys.modules, module, None)
    picture = exact_scene()
    right = picture.convert("L") if name.startswith(("gray", "white")) else picture
    write(source / name, tiff_layouts(picture)[name])
    async with FakeService() as service:
        (result,) = await restore(service, source, out)
        if result.outcome == "restored":
            (image,) = sent(service)
            assert difference(as_shown(image), right) < 2
            return
    assert not extra
    assert result.error is not None
    assert result.error.type == "unsupported"
    assert INSTALL in result.error.message
    assert "damaged" not in result.error.message


def as_shown(image: bytes) -> Image.Image:
    """What was sent, as an ordinary decoder shows it."""
    picture = opened(image)
    assert picture.mode in ("1", "L", "RGB", "RGBA", "LA", "P", "CMYK"), f"{picture.mode} is not shown alike everywhere"
    return picture.convert("RGB")


# damage


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.35, 0.5, 0.8])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("PNG", {}),
        ("WEBP", {}),
    ],
    ids=str,
)
async def test_a_half_copied_photo_is_rejected_as_damaged(
    source: Path, out: Path, kind: str, options: dict[str, Any], part: float
) -> None:
    noisy = Image.effect_noise((400, 300), 60).convert("RGB")
    write(source / "half", zeros_from(encoded(noisy, kind, **options), part))
    error = (await only_rejections(source, out))["half"]
    assert error.type == "damaged" or (kind, error.type) == ("WEBP", "truncated")
    assert "copy it again" in error.message


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.95])
async def test_a_photo_that_breaks_off_is_rejected(source: Path, out: Path, kind: str, part: float) -> None:
    noisy = encoded(Image.effect_noise((400, 300), 60).convert("RGB"), kind)
    write(source / "half", noisy[: int(len(noisy) * part)])
    error = (await only_rejections(source, out))["half"]
    assert error.type in ("truncated", "damaged")
    assert "copy it again" in error.message


@pytest.mark.parametrize("missing", [1, 2])
async def test_a_last_byte_or_two_missing_is_fine(source: Path, out: Path, missing: int) -> None:
    write(source / "a.jpg", encoded(scene())[:-missing])
    result = (await restored(source, out))["a.jpg"]
    assert difference(seen(output(out, result)), scene()) < 6


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
async def test_a_png_with_a_flipped_bit_is_rejected_as_damaged(source: Path, out: Path, where: float) -> None:
    data = bytearray(encoded(Image.effect_noise((200, 150), 60), "PNG"))
    data[int(len(data) * where)] ^= 0x40
    write(source / "flipped.png", bytes(data))
    assert (await only_rejections(source, out))["flipped.png"].type == "damaged"


# what is not a photo


async def test_bins_and_snapshots_are_left_alone(source: Path, out: Path) -> None:
    skipped = (
        *("#recycle", "@Recycle", "#snapshot", "lost+found", "@tmp", "@eaDir", "$RECYCLE.BIN", ".Trash-1000"),
        *("@Recently-Snapshot", ".Trashes", ".snapshot", ".zfs", "System Volume Information", ".@__thumb"),
    )
    fill(source, "p.jpg", *(f"{above}{folder}/p.jpg" for folder in skipped for above in ("", "2019/")))
    async with FakeService() as service:
        assert outcomes(await restore(service, source, out)) == {"p.jpg": "restored"}
        assert len(sent(service)) == 1


async def test_the_results_of_another_run_are_no_photos(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, source / "restored")
        shutil.copytree(source / "restored", source / "copied results")
        again = await restore(service, source, out)
        assert outcomes(again) == {"a.jpg": "restored"}
        assert len(sent(service)) == 2


@pytest.mark.slow
async def test_sidecars_are_left_alone_and_counted(source: Path, tmp_path: Path) -> None:
    fill(source, "p0.jpg", "p1.jpg")
    for number in range(2):
        write(source / f"p{number}.jpg.supplemental-metadata.json", b"{}")
        write(source / f"p{number}.MOV", b"\0\0\0\x14ftypqt  ")
        write(source / f"p{number}.AAE", b"<plist/>")
    write(source / "album.pdf", b"%PDF-1.4\n%%EOF\n")
    write(source / "notes.txt", b"1987, the lake\n")
    async with FakeService() as service:
        ended = await run("improve", source, "--out", tmp_path / "out", "--base-url", service.url, "--json")
    assert ended.status == 0, ended.err
    assert [result["outcome"] for result in ended.results] == ["restored", "restored"]
    assert ended.summary["left_alone"] == 8
    assert "8 files that are not photos" in ended.err


async def test_a_photo_under_a_strange_name_is_a_photo(source: Path, out: Path) -> None:
    fill(source, "photo.dat", "photo", "photo.jpg_original", "photo.jpg.1")
    async with FakeService() as service:
        assert set(outcomes(await restore(service, source, out)).values()) == {"restored"}


@pytest.mark.slow
async def test_a_source_that_is_the_output_folder_is_said_before_and_at_the_start(source: Path) -> None:
    fill(source, "a.jpg")
    plan = await plan_archive(source, out=source)
    assert any("is the source and the output folder" in warning for warning in plan.warnings)
    async with FakeService() as service:
        for dry in (["--dry-run"], []):
            ended = await run("improve", source, "--out", source, "--base-url", service.url, *dry)
            assert "is the source and the output folder" in ended.out + ended.err
        again = await restore(service, source, source)
    assert outcomes(again) == {"a.jpg": "skipped"}


# limits


@pytest.mark.slow
async def test_a_phones_photo_is_warned_of_before_and_at_the_start(source: Path, tmp_path: Path) -> None:
    write(source / "IMG_1.jpg", encoded(Image.new("RGB", (4032, 3024), (90, 120, 60))))
    async with FakeService() as service:
        arguments = ("improve", source, "--out", tmp_path / "out", "--base-url", service.url)
        for dry in (["--dry-run"], []):
            ended = await run(*arguments, *dry)
            assert ended.status == 0
            assert "4032×3024" in ended.out + ended.err
            assert "--fit" in ended.out + ended.err
        fitted = await run(*arguments, "--fit", "--dry-run")
        assert "4032×3024" not in fitted.out + fitted.err


@pytest.mark.parametrize("orientation", [1, 6])
async def test_fit_keeps_metadata(source: Path, out: Path, orientation: int) -> None:
    write(
        source / "a.jpg",
        encoded(stored_as(scene(), orientation), exif=camera_exif(orientation), dpi=(600, 600)),
        modified=SUMMER_1987,
    )
    limits = Limits(max_dimensions=(150, 100))
    async with FakeService() as service:
        service.default = answering(honouring_exif)
        (result,) = await restore(service, source, out, limits=limits, fit=True)
        assert {max(opened(image).size) for image in sent(service)} == {150}
    assert_camera_metadata(output(out, result))
    assert output(out, result).stat().st_mtime == SUMMER_1987


@pytest.mark.slow
async def test_a_hundred_megapixels_are_fitted_or_rejected_for_their_dimensions(source: Path, out: Path) -> None:
    write(source / "film.jpg", encoded(scene(1000, 800).resize((11_200, 8_960)), quality=60))
    error = (await only_rejections(source, out))["film.jpg"]
    assert error.type == "too_large"
    assert "11200×8960" in error.message
    async with FakeService() as service:
        assert outcomes(await restore(service, source, out, fit=True)) == {"film.jpg": "restored"}
        (image,) = sent(service)
        assert opened(image).size == (2700, 2160)


# names


@pytest.fixture
def rules(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output disk has these rules for names, as far as the program is concerned."""

    def probed(_: object) -> FileNameRules:
        return FileNameRules(**request.param)

    monkeypatch.setattr(output_folder, "probe_name_rules", probed)


SAME_WHEN_FOLDED = ("IMG_0001.jpg", "IMG_0001.JPG", "img_0001.jpg", "Sub/Dir/a.jpg", "sub/Dir/a.jpg", "Sub/dir/A.jpg")
SAME_WHEN_NORMALISED = ("\u00e9t\u00e9/caf\u00e9.jpg", "e\u0301te\u0301/caf\u00e9.jpg", "\u00e9t\u00e9/cafe\u0301.jpg")


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({"case_sensitive": False}, SAME_WHEN_FOLDED),
        ({"case_sensitive": False, "normalization_sensitive": False}, (*SAME_WHEN_FOLDED, *SAME_WHEN_NORMALISED)),
        ({}, (*SAME_WHEN_FOLDED, *SAME_WHEN_NORMALISED)),
    ],
    indirect=["rules"],
    ids=str,
)
@pytest.mark.usefixtures("rules")
async def test_colliding_names_get_an_output_each(source: Path, out: Path, names: tuple[str, ...]) -> None:
    photos = fill(source, *names)
    async with FakeService() as service:
        results = await restore(service, source, out, limits=Limits(max_images=2))
        assert_own_improved(out, results, photos)
        again = await restore(service, source, out)
        assert outcomes(again) == dict.fromkeys(photos, "skipped")
        assert_own_improved(out, again, photos)


def assert_own_improved(out: Path, results: list[Result], photos: dict[str, bytes]) -> None:
    assert {result.photo for result in results} == set(photos)
    for result in results:
        assert (out / result.outputs["improved"]).read_bytes() == expected("improved", photos[result.photo])
    paths = [result.outputs["improved"] for result in results]
    assert len({path.casefold() for path in paths}) >= len({name.casefold() for name in photos})
    assert len(set(paths)) == len(photos)


# content


def shift_times(folder: Path) -> None:
    for path in folder.iterdir():
        later = path.stat().st_mtime + 3600
        os.utime(path, (later, later))


def move(old: Path, new: Path) -> None:
    new.parent.mkdir(exist_ok=True)
    old.rename(new)


@pytest.mark.slow
async def test_photos_with_other_times_are_not_sent_again(source: Path, out: Path) -> None:
    photos = fill(source, *(f"p{number}.jpg" for number in range(5)))
    async with FakeService() as service:
        await restore(service, source, out)
        shift_times(source)
        assert outcomes(await restore(service, source, out)) == dict.fromkeys(photos, "skipped")
        renamed = source.with_name("renamed")
        move(source, renamed)
        results = await restore(service, renamed, out)
        assert Counter(result.outcome for result in results) == {"skipped": 5}
        assert {result.source for result in results} == {str(renamed)}
        assert_own_improved(out, results, photos)
        assert len(sent(service)) == 5


@pytest.mark.slow
async def test_photos_moved_between_folders_are_not_sent_again(source: Path, out: Path) -> None:
    photos = fill(source, "2019/a.jpg", "2019/b.jpg", "c.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        move(source / "2019/a.jpg", source / "2020/first.jpg")
        move(source / "c.jpg", source / "2019/c.jpg")
        results = await restore(service, source, out)
        assert len(sent(service)) == 3
    moved = {"2020/first.jpg": "2019/a.jpg", "2019/b.jpg": "2019/b.jpg", "2019/c.jpg": "c.jpg"}
    assert_own_improved(out, results, {new: photos[old] for new, old in moved.items()})


@pytest.mark.slow
async def test_a_copied_output_folder_goes_on_where_the_first_was(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b/c.png")
    async with FakeService() as service:
        await restore(service, source, out)
        copy = out.with_name("another place")
        shutil.copytree(out, copy, copy_function=shutil.copyfile)
        results = await restore(service, source, copy)
        assert outcomes(results) == dict.fromkeys(photos, "skipped")
        assert_own_improved(copy, results, photos)
        fill(source, "d.jpg")
        assert outcomes(await restore(service, source, copy))["d.jpg"] == "restored"
        assert len(sent(service)) == 3


async def test_copies_without_their_times_are_not_sent_again(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b/c.png")
    async with FakeService() as service:
        await restore(service, source, out)
        copy = source.with_name("copy")
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        shutil.rmtree(source)
        copy.rename(source)
        assert outcomes(await restore(service, source, out)) == dict.fromkeys(photos, "skipped")
        assert len(sent(service)) == 2


async def test_a_plan_of_moved_photos_costs_nothing(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b/c.png")
    async with FakeService() as service:
        await restore(service, source, out)
    (source / "b/c.png").rename(source / "d.png")
    plan = await plan_archive(source, out=out)
    assert (plan.photos, plan.cost) == (0, 0)


async def test_the_sources_stay_as_they_were(source: Path, out: Path) -> None:
    write(source / "a.jpg", jpeg(), modified=SUMMER_1987)
    before = (names_in(source), (source / "a.jpg").read_bytes(), (source / "a.jpg").stat().st_mtime)
    await restored(source, out)
    assert before == (names_in(source), (source / "a.jpg").read_bytes(), (source / "a.jpg").stat().st_mtime)
