"""Scans of prints: faded colours, margins around the picture, scratches on a faded print."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw, ImageOps
from support import pictures

if TYPE_CHECKING:
    import numpy as np

    from smarty_async.local.engine import diagnosing, margins
else:
    extra = 'the extra `local` is not installed: pip install "smarty_async[local]"'
    np = pytest.importorskip("numpy", reason=extra)
    pytest.importorskip("cv2", reason=extra)
    pytest.importorskip("ncnn", reason=extra)
    from smarty_async.local.engine import diagnosing, margins

from numpy.typing import NDArray

from smarty_async.local.engine import Improved, in_process_engine

BLACK, WHITE, PAPER = (3, 3, 4), (252, 251, 250), (236, 224, 196)


def array(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"), np.uint8)


def with_contrast(image: Image.Image, contrast: float, *, gray: int = 130) -> Image.Image:
    return image.point(lambda value: round(gray + (value - 128) * contrast))


def with_margin(image: Image.Image, colour: tuple[int, int, int], *sizes: int) -> Image.Image:
    """The picture in a margin of so many pixels at the left, top, right and bottom."""
    return ImageOps.expand(image, sizes, colour)


def improved(image: Image.Image, kind: str = "JPEG") -> tuple[Improved, Image.Image]:
    data = pictures.encoded(image, kind)
    made = in_process_engine("restore").improve(data)
    return made, pictures.opened(made.improved) if made.improved is not None else pictures.opened(data)


def psnr(one: Image.Image, other: Image.Image) -> float:
    difference = array(one).astype(float) - array(other)
    return 10 * math.log10(255**2 / max(1e-9, float((difference**2).mean())))


def chroma(image: Image.Image) -> float:
    """The mean distance from gray, as the greatest difference of a pixel's channels."""
    return float(np.ptp(array(image).astype(int), axis=2).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("contrast", [0.35, 0.4, 0.5, 0.6])
def test_a_faded_colour_photo_keeps_its_colour_and_gets_its_contrast_back(contrast: float, seed: int) -> None:
    scene = pictures.scene(300, 200, seed=seed)
    faded = with_contrast(scene, contrast)
    made, result = improved(faded)
    assert not made.bw
    assert made.colorized is None
    assert psnr(result, scene) > psnr(faded, scene) + 8
    assert chroma(result) == pytest.approx(chroma(scene), rel=0.2)


@pytest.mark.parametrize("contrast", [0.4, 0.6, 1.0])
def test_a_yellowed_print_is_black_and_white_however_faded(contrast: float) -> None:
    gray = with_contrast(pictures.scene(300, 200).convert("L"), contrast)
    yellowed = ImageOps.colorize(gray, black=(60, 50, 30), white=(240, 222, 170))
    assert diagnosing.is_bw(array(yellowed))


def noisy(image: Image.Image, deviation: float) -> Image.Image:
    """With noise of its own in each channel, which is a little blurred, as scanners leave it."""
    drawn = np.random.default_rng(1).normal(0, deviation / 2, array(image).shape)
    drawn = drawn + np.roll(drawn, 1, axis=0)
    drawn = drawn + np.roll(drawn, 1, axis=1)
    return Image.fromarray(np.rint(np.clip(array(image) + drawn, 0, 255)).astype(np.uint8))


@pytest.mark.parametrize("seed", [0, 4, 5])
def test_a_toned_print_is_black_and_white_also_with_noise(seed: int) -> None:
    gray = ImageOps.autocontrast(pictures.scene(300, 200, seed=seed).convert("L"))
    toned = ImageOps.colorize(gray, (80, 70, 55), (222, 200, 165), (150, 118, 88))
    assert diagnosing.is_bw(array(toned))
    assert diagnosing.is_bw(array(noisy(toned, 8)))


@pytest.mark.parametrize("cast", [((72, 60, 40), (225, 205, 150)), ((66, 40, 44), (238, 196, 180))])
def test_a_cast_of_faded_dyes_is_removed(cast: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
    scene = pictures.scene(300, 200, seed=2)
    low, high = np.array(cast[0]), np.array(cast[1])
    faded = Image.fromarray(np.rint(low + array(scene) * ((high - low) / 255)).astype(np.uint8))
    _, result = improved(faded)
    assert psnr(result, scene) > psnr(faded, scene) + 6


def between(image: Image.Image, black: tuple[int, int, int], white: tuple[int, int, int]) -> Image.Image:
    """The picture with these colours in place of black and white."""
    low, high = np.array(black), np.array(white)
    return Image.fromarray(np.rint(low + array(image) * ((high - low) / 255)).astype(np.uint8))


@pytest.mark.parametrize(
    ("black", "white"),
    [
        pytest.param((92, 48, 34), (252, 204, 122), id="a hazy sunset"),
        pytest.param((10, 60, 72), (84, 190, 220), id="under water"),
        pytest.param((60, 40, 5), (240, 215, 185), id="warm light, and blue still has its black"),
        pytest.param((60, 68, 92), (250, 196, 225), id="black and white have different colours"),
    ],
)
def test_the_colour_of_the_light_is_no_cast_of_faded_dyes(
    black: tuple[int, int, int], white: tuple[int, int, int]
) -> None:
    scene = between(pictures.scene(300, 200, seed=2), black, white)
    assert len(set(diagnosing.levels(array(scene)))) == 1


def test_a_gray_road_before_a_red_wall_stays_gray() -> None:
    dice = np.random.default_rng(0)
    wall = np.kron(dice.uniform(0, 1, (14, 20, 1)), np.ones((10, 15, 1))) * (70, 45, 45) + (148, 64, 58)
    road = np.linspace(104, 168, 300)[None, :, None].repeat(60, axis=0).repeat(3, axis=2)
    _, result = improved(Image.fromarray(np.rint(np.concatenate([wall, road])).astype(np.uint8)), "PNG")
    assert chroma(result.crop((0, 145, 300, 200))) < 8


def test_leaves_stay_green() -> None:
    light = np.hypot(*np.mgrid[0.0:1.0:200j, 0.0:1.0:300j])[..., None] / 2**0.5
    leaves = Image.fromarray(np.rint((40, 108, 2) + light * (117, 120, 30)).astype(np.uint8))
    _, result = improved(leaves, "PNG")
    red, green, blue = (array(result)[..., channel].astype(int) for channel in range(3))
    assert np.mean((green > red + 20) & (green > blue + 20)) > 0.95


@pytest.mark.parametrize(
    "colours", [((118, 88, 66), (196, 172, 146)), ((125, 93, 72), (200, 178, 152))], ids=["sand", "cloth"]
)
def test_a_scene_of_beige_things_stays_beige(colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
    gray = ImageOps.autocontrast(pictures.scene(300, 200, seed=2).convert("L"))
    beige = ImageOps.colorize(gray, *colours)
    assert diagnosing.is_bw(array(beige))
    _, result = improved(beige, "PNG")
    assert chroma(result) > 0.8 * chroma(beige)


@pytest.mark.parametrize("colours", [((90, 20, 30), (225, 220, 205)), ((50, 70, 110), (210, 222, 228))])
def test_a_print_in_coloured_ink_keeps_its_colour(colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
    gray = pictures.scene(300, 200, seed=2).convert("L")
    print_ = ImageOps.colorize(ImageOps.autocontrast(gray), *colours)
    _, result = improved(print_, "PNG")
    assert chroma(result) > 0.8 * chroma(print_)


@pytest.mark.parametrize(
    "tones",
    [
        pytest.param(((18, 12, 8), (141, 112, 82), (255, 244, 224)), id="sepia"),
        pytest.param(((70, 48, 36), (150, 118, 88), (222, 200, 165)), id="sepia on yellowed paper"),
        pytest.param(((25, 18, 24), (128, 112, 122), (245, 240, 240)), id="selenium"),
        pytest.param(((14, 18, 30), (108, 118, 138), (240, 244, 250)), id="blue toning"),
        pytest.param(((18, 26, 20), (112, 128, 112), (240, 246, 236)), id="green toning"),
    ],
)
def test_a_faded_toned_print_keeps_its_tone(tones: tuple[tuple[int, int, int], ...]) -> None:
    black, middle, white = tones
    gray = pictures.scene(300, 200, seed=2).convert("L")
    print_ = with_contrast(ImageOps.colorize(ImageOps.autocontrast(gray), black, white, mid=middle), 0.65)
    made, result = improved(print_, "PNG")
    assert made.bw
    assert made.improved is not None
    assert chroma(result) > 0.9 * chroma(print_)


@pytest.mark.parametrize(
    "paper", [((72, 60, 40), (225, 205, 150)), ((66, 40, 44), (238, 196, 180)), ((60, 55, 50), (225, 218, 205))]
)
@pytest.mark.parametrize("quality", [None, 95, 85, 75])
def test_the_paper_of_a_faded_print_comes_back_gray(
    paper: tuple[tuple[int, int, int], tuple[int, int, int]], quality: int | None
) -> None:
    gray = ImageOps.autocontrast(pictures.scene(300, 200, seed=2).convert("L"))
    print_ = ImageOps.colorize(gray, *paper)
    if quality is not None:
        print_ = pictures.opened(pictures.encoded(print_, quality=quality))
    _, result = improved(print_, "PNG")
    assert chroma(result) < 1


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_a_toned_print_gets_no_stronger_tone_with_its_contrast(seed: int) -> None:
    gray = ImageOps.autocontrast(pictures.scene(300, 200, seed=seed).convert("L"))
    print_ = ImageOps.colorize(gray, (80, 66, 52), (214, 192, 158), (150, 118, 88))
    _, result = improved(print_, "PNG")
    assert np.ptp(array(result.convert("L"))) > 1.3 * np.ptp(array(print_.convert("L")))
    assert 0.8 * chroma(print_) < chroma(result) < 1.25 * chroma(print_)


def test_what_was_coloured_by_hand_keeps_its_colour() -> None:
    print_ = with_contrast(pictures.scene(300, 200, seed=2).convert("L"), 0.55).convert("RGB")
    print_.paste((150, 80, 85), (120, 90, 142, 112))
    made, result = improved(print_, "PNG")
    assert made.bw
    assert chroma(result.crop((124, 94, 138, 108))) > 60


def test_a_dark_photo_that_still_has_its_black_has_not_faded() -> None:
    night = pictures.scene(300, 200, seed=2).point(lambda value: round((value / 255) ** 2 * 100))
    assert diagnosing.ends(diagnosing.light_of(array(night))).low < 20
    assert not diagnosing.is_faded(array(night))
    assert improved(night, "PNG")[0].improved is None


@pytest.mark.parametrize("size", [(1, 2), (3, 3), (8, 8), (2000, 4)])
def test_a_few_pixels_have_not_faded(size: tuple[int, int]) -> None:
    few = Image.new("RGB", size, (90, 110, 130))
    few.paste((160, 150, 140), (0, 0, size[0], size[1] // 2))
    assert improved(few, "PNG")[0].improved is None


@pytest.mark.parametrize(
    ("black", "white"),
    [
        pytest.param((4, 60, 48), (100, 190, 220), id="under water"),
        pytest.param((120, 8, 6), (240, 150, 140), id="a red flower"),
        pytest.param((40, 80, 2), (160, 225, 40), id="a meadow"),
    ],
)
def test_a_scene_of_one_colour_that_has_its_black_in_a_channel_has_not_faded(
    black: tuple[int, int, int], white: tuple[int, int, int]
) -> None:
    scene = between(pictures.scene(300, 200, seed=2).convert("L").convert("RGB"), black, white)
    assert not diagnosing.is_faded(array(scene))
    assert improved(scene, "PNG")[0].improved is None


def notebook() -> Image.Image:
    """A ruled page: the network takes the upright red line for a scratch."""
    page = Image.new("RGB", (700, 900), (240, 240, 236))
    draw = ImageDraw.Draw(page)
    for y in range(60, 880, 32):
        draw.line((0, y, 700, y), fill=(150, 180, 215))
        draw.text((100, y + 8), "The old house by the river was sold", fill=(30, 40, 110), font_size=16)
    draw.line((90, 0, 90, 900), fill=(220, 120, 120))
    return page


def night_sky() -> Image.Image:
    """Stars, which the network takes for dust."""
    sky, dice = Image.new("RGB", (640, 480), (8, 10, 22)), np.random.default_rng(0)
    draw = ImageDraw.Draw(sky)
    for x, y, size, light in dice.uniform((0, 0, 0, 120), (640, 480, 2.5, 255), (700, 4)):
        draw.ellipse((x, y, x + round(size), y + round(size)), fill=(round(light),) * 3)
    return sky


def small_text() -> Image.Image:
    """Text in black and white alone, which has the measures of noise."""
    page = Image.new("1", (700, 900), 1)
    for y in range(20, 880, 11):
        ImageDraw.Draw(page).text((30, y), "the old house by the river was sold in autumn " * 2, fill=0, font_size=9)
    return page


@pytest.mark.parametrize("drawn", [notebook, night_sky, small_text])
def test_lines_on_paper_and_stars_are_left_alone(drawn: Callable[[], Image.Image]) -> None:
    made, _ = improved(drawn(), "PNG")
    assert made.improved is None


def screenshot() -> Image.Image:
    """Panels with text, which has the measures of noise."""
    screen = Image.new("RGB", (640, 400), (245, 245, 245))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 640, 28), fill=(40, 60, 90))
    draw.rectangle((0, 28, 140, 400), fill=(225, 228, 232))
    for y in range(40, 390, 18):
        draw.text((10, y), "Menu entry", fill=(60, 60, 60))
        draw.text((160, y), "The quick brown fox jumps over the lazy dog 0123456789", fill=(30, 30, 30))
    return screen


def test_text_in_a_screenshot_is_no_noise() -> None:
    assert improved(screenshot())[0].improved is None


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [2, 4, 12, 24, 40])
@pytest.mark.parametrize("colour", [BLACK, WHITE, PAPER])
def test_a_margin_hides_no_fading_and_stays_as_it_is(colour: tuple[int, int, int], pixels: int) -> None:
    scene = pictures.scene(300, 200)
    faded = with_contrast(scene, 0.5)
    _, alone = improved(faded)
    scan = with_margin(faded, colour, pixels, pixels, pixels, pixels)
    made, result = improved(scan, "PNG")
    inside = ImageOps.crop(result, pixels)
    assert not made.bw
    assert psnr(inside, scene) > psnr(alone, scene) - 3
    assert np.abs(array(result)[: pixels - 1].astype(int) - colour).max() < 30


@pytest.mark.parametrize("colour", [BLACK, WHITE])
@pytest.mark.parametrize("side", range(4))
def test_a_margin_at_one_side_is_found(side: int, colour: tuple[int, int, int]) -> None:
    sizes = [0, 0, 0, 0]
    sizes[side] = 9
    scan = with_margin(with_contrast(pictures.scene(300, 200), 0.6), colour, *sizes)
    box = margins.picture_box(array(scan))
    found = [box.left, box.top, scan.width - box.right, scan.height - box.bottom]
    assert found == sizes


def test_margins_within_each_other_are_found() -> None:
    scan = with_margin(with_contrast(pictures.scene(300, 200), 0.6), WHITE, 12, 12, 12, 12)
    scan = with_margin(scan, BLACK, 5, 7, 5, 7)
    assert margins.picture_box(array(scan)) == margins.Box(19, 17, 219, 317)


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_without_a_margin_has_none(seed: int) -> None:
    assert margins.picture_box(array(pictures.scene(300, 200, seed=seed))) == margins.Box(0, 0, 200, 300)


def test_a_plain_sky_above_hills_is_no_margin() -> None:
    image = Image.new("RGB", (300, 200), (240, 243, 246))
    hills = [(x, 60 + round(25 * math.sin(x / 40))) for x in range(301)]
    ImageDraw.Draw(image).polygon([*hills, (300, 200), (0, 200)], fill=(60, 90, 50))
    assert margins.picture_box(array(image)) == margins.Box(0, 0, 200, 300)


def test_the_paper_of_an_instant_photo_comes_back_in_one_colour() -> None:
    paper = Image.new("RGB", (330, 400), (238, 236, 228))
    paper.paste(with_contrast(pictures.scene(270, 270, seed=2), 0.55), (30, 30))
    ImageDraw.Draw(paper).text((80, 340), "Anna, 1978", fill=(50, 50, 90))
    _, result = improved(paper, "PNG")
    top, left = (np.median(array(result.crop(box)), axis=(0, 1)) for box in ((0, 0, 330, 28), (0, 30, 28, 400)))
    assert np.abs(top - left).max() < 3


@pytest.mark.parametrize("margin", [0, 1, 6])
@pytest.mark.parametrize("size", [(1, 1), (8, 300), (40, 40), (70, 65)])
def test_small_and_plain_pictures_have_no_margin(size: tuple[int, int], margin: int) -> None:
    plain = Image.new("RGB", size, BLACK)
    scan = with_margin(plain, BLACK, margin, margin, margin, margin)
    assert margins.picture_box(array(scan)) == margins.Box(0, 0, scan.height, scan.width)


@pytest.mark.slow
@pytest.mark.parametrize("scratches", [0, 3, 6])
@pytest.mark.parametrize(("pixels", "colour"), [(0, BLACK), (4, BLACK), (12, BLACK), (6, WHITE), (24, WHITE)])
def test_no_faded_print_comes_back_worse(pixels: int, colour: tuple[int, int, int], scratches: int) -> None:
    scene = pictures.scene(600, 400, seed=4)
    print_ = with_contrast(scene, 0.5, gray=140)
    draw, dice = ImageDraw.Draw(print_), np.random.default_rng(scratches)
    for _ in range(scratches):
        top, bottom = dice.integers(20, 580, 2)
        draw.line([(int(top), 0), (int(bottom), 400)], fill=(235, 232, 225), width=2)
    made, result = improved(with_margin(print_, colour, pixels, pixels, pixels, pixels))
    assert made.improved is not None
    assert psnr(ImageOps.crop(result, pixels), scene) > psnr(print_, scene) + 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 3, 6])
def test_scratches_do_not_hide_that_a_print_has_faded(count: int) -> None:
    dice = np.random.default_rng(3)
    scene = pictures.scene(600, 400, seed=1)
    clean, scratched = with_contrast(scene, 0.45, gray=140), with_contrast(scene, 0.45, gray=140)
    draw = ImageDraw.Draw(scratched)
    for _ in range(count):
        x = int(dice.integers(40, 560))
        middle, end = x + int(dice.integers(-30, 30)), x + int(dice.integers(-60, 60))
        draw.line([(x, 0), (middle, 200), (end, 400)], fill=(235, 232, 225), width=2)
    made, result = improved(scratched)
    _, best = improved(clean)
    assert not made.bw
    assert psnr(result, scene) > psnr(best, scene) - 3
    data = io.BytesIO()
    result.save(data, "PNG")
    assert in_process_engine("restore").improve(data.getvalue()).bw is False
