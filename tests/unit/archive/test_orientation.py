from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageOps
from support.metadata_samples import scene
from support.pictures import encoded

from smarty_async.archive.outputs.metadata.orientation import find_orientation
from smarty_async.archive.photos.convert import upright

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored under each orientation."""

ALL = range(1, 9)


def stored(image: Image.Image, orientation: int) -> Image.Image:
    how = STORED[orientation]
    return image.copy() if how is None else image.transpose(how)


def faded(image: Image.Image) -> Image.Image:
    """A gray and yellowed print of it."""
    gray = ImageOps.grayscale(image).point([int(150 + (level - 128) * 0.3) for level in range(256)])
    return ImageOps.colorize(gray, (20, 10, 0), (255, 240, 200))


def restored(image: Image.Image) -> Image.Image:
    """Sharper, more contrast, other colours, twice as large."""
    enlarged = image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS)
    return ImageEnhance.Contrast(ImageEnhance.Color(enlarged).enhance(1.6)).enhance(1.4)


@pytest.mark.parametrize("orientation", ALL)
def test_upright_does_what_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = stored(scene(), orientation)
    lying.info["exif"] = exif.tobytes()
    assert upright(lying, orientation).tobytes() == scene().tobytes() == ImageOps.exif_transpose(lying).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 200), (240, 240), (250, 240), (600, 60)], ids=str)
@pytest.mark.parametrize("source", ALL)
def test_each_orientation_is_found_for_each_of_the_source(size: tuple[int, int], source: int) -> None:
    photo, answer = stored(faded(scene(*size)), source), restored(scene(*size))
    found = [find_orientation(photo, stored(answer, output), source_orientation=source) for output in ALL]
    assert found == list(ALL)


@pytest.mark.parametrize("output", ALL)
def test_a_wrong_orientation_tag_of_the_output_is_not_used(output: int) -> None:
    answer = stored(restored(scene()), output)
    assert {find_orientation(scene(), answer, output_orientation=claimed) for claimed in ALL} == {output}


@pytest.mark.parametrize(("source", "claimed", "found"), [(1, 1, 1), (6, 1, 1), (6, 6, 6), (3, 1, 1), (3, 3, 3)])
@pytest.mark.parametrize(
    "picture",
    [Image.new("RGB", (200, 200), (90, 80, 70)), Image.radial_gradient("L"), Image.new("1", (64, 64))],
    ids=["uniform", "symmetric", "black"],
)
def test_ambiguous_pictures_have_the_orientation_of_their_tag(
    picture: Image.Image, source: int, claimed: int, found: int
) -> None:
    assert find_orientation(picture, picture, source_orientation=source, output_orientation=claimed) == found


def test_the_shape_decides_where_the_pixels_do_not() -> None:
    lying = Image.new("L", (300, 200), 128)
    assert find_orientation(lying, lying, source_orientation=6) == 6
    assert find_orientation(lying, lying.transpose(Image.Transpose.ROTATE_90), source_orientation=6) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_sources_of_all_modes(mode: str) -> None:
    deep = scene().convert("L").convert("I").point(lambda level: level * 257)
    source = deep.convert(mode) if mode in ("I;16", "I", "F") else scene().convert(mode)
    assert find_orientation(source, stored(scene(), 6), source_orientation=1) == 6


def test_paths_and_bytes_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "source.png"
    path.write_bytes(encoded(stored(scene(), 8), "PNG"))
    output = encoded(stored(scene(1200, 800), 6))
    for source in (path, str(path), path.read_bytes()):
        assert find_orientation(source, output, source_orientation=8) == 6


@pytest.mark.slow
@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size", [(300, 200), (240, 240)], ids=str)
def test_files_that_hold_their_orientation(source: int, image_format: str, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = source
    photo = encoded(stored(scene(*size), source), image_format, exif=exif)
    for output in (1, source, 7):
        answer = encoded(stored(restored(scene(*size)), output), exif=exif)
        assert find_orientation(photo, answer, source_orientation=source) == output


def test_large_pictures_are_compared_up_to_the_pixels_that_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, answer = encoded(stored(scene(), 6), "PNG"), encoded(stored(restored(scene()), 6))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert find_orientation(photo, answer, source_orientation=6) == 6
    monkeypatch.setattr("smarty_async.archive.photos.identify._MOST_PIXELS", 1000)
    assert find_orientation(photo, answer, source_orientation=6, output_orientation=3) == 3


def test_undecodable_outputs_have_the_orientation_of_their_tag(tmp_path: Path) -> None:
    assert find_orientation(scene(), b"\xff\xd8 no JPEG", output_orientation=6) == 6
    assert find_orientation(b"nothing", encoded(scene()), source_orientation=6) == 1
    with pytest.raises(FileNotFoundError):
        find_orientation(tmp_path / "gone.jpg", scene())
