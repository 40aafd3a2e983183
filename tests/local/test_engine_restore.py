"""The learned engine: what it measures, what it mends, and what it leaves alone."""

from __future__ import annotations

import io
import json
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter, ImageStat
from support import pictures

from smarty_async.errors import MissingExtra
from smarty_async.local import engine as engines
from smarty_async.local.engine import (
    Engine,
    Improved,
    ItemRefused,
    best_engine,
    engine_named,
    in_process_engine,
)
from smarty_async.local.engine.basic import TONED
from smarty_async.local.engine.decoding import PixelBudget, decode, quality_of
from smarty_async.local.engine.protocol import Abandoned, wanted_until
from smarty_async.local.server import make_app, serving

pytestmark = pytest.mark.slow

if TYPE_CHECKING or best_engine() == "restore":
    import numpy as np

    from smarty_async.local.engine import diagnosing, enlarging, nets, scratches, tiles
    from smarty_async.local.engine.restore import RestoreEngine, _enlarged

learned = pytest.mark.skipif(
    best_engine() != "restore", reason='the extra `local` is not installed: pip install "smarty_async[local]"'
)

SIZE = (160, 120)
GRAY = (0.299, 0.587, 0.114)


def restoring() -> Engine:
    return in_process_engine("restore")


def pixels(image: Image.Image) -> tiles.Pixels:
    return np.asarray(image.convert("RGB"), np.uint8)


def as_file(image: Image.Image, quality: int | None) -> bytes:
    """A JPEG of this quality, or a PNG."""
    return pictures.encoded(image, "PNG") if quality is None else pictures.encoded(image, quality=quality)


def light(image: Image.Image) -> tiles.Pixels:
    return np.asarray(image.convert("L"), np.uint8)


def picture(data: bytes | None) -> Image.Image:
    assert data is not None
    image = pictures.opened(data)
    assert image.format == "JPEG"
    return image


def outputs(improved: Improved) -> set[str]:
    names = ("improved", "colorized_improved", "colorized")
    return {name for name in names if getattr(improved, name) is not None}


def error(one: Image.Image, other: Image.Image) -> float:
    """The mean of the squared differences; 10 dB less is a tenth of it."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return sum(value**2 for value in ImageStat.Stat(difference).rms) / 3


def scratched(scene: Image.Image, *, count: int = 4) -> Image.Image:
    image = scene.copy()
    for number in range(count):
        x = scene.width * (number + 1) // (count + 1)
        image.paste((250, 248, 240), (x, 10, x + 2, scene.height - 30))
    return image


def blurred(scene: Image.Image, radius: float) -> Image.Image:
    return scene.filter(ImageFilter.GaussianBlur(radius))


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "cv2" else object())
    with pytest.raises(MissingExtra, match=r'restore.*pip install "smarty_async\[local\]"') as reported:
        engine_named("restore")
    assert reported.value.extra == "local"


def test_the_best_engine_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: object())
    assert best_engine() == "restore"
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "ncnn" else object())
    assert best_engine() == "basic"


@learned
def test_it_has_a_name() -> None:
    assert engine_named("restore").name == "restore"


@learned
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(64, 48), (320, 240), (640, 480)])
def test_a_good_photo_is_left_alone(seed: int, size: tuple[int, int]) -> None:
    assert restoring().improve(pictures.jpeg(*size, seed=seed)) == Improved()
    assert restoring().improve(pictures.png(*size, seed=seed)) == Improved()


@learned
@pytest.mark.parametrize("seed", range(3))
def test_a_faded_photo_is_stretched(seed: int) -> None:
    faded = pictures.faded(*SIZE, seed=seed)
    mended = restoring().improve(faded)
    scene = pictures.scene(*SIZE, seed=seed)
    assert (outputs(mended), mended.bw) == ({"improved"}, False)
    assert error(picture(mended.improved), scene) < error(pictures.opened(faded), scene) / 10


@learned
@pytest.mark.parametrize("amplitude", [25, 60])
def test_a_noisy_photo_is_denoised(amplitude: int) -> None:
    scene = pictures.scene(*SIZE)
    noisy = pictures.with_noise(scene, amplitude=amplitude)
    mended = restoring().improve(pictures.encoded(noisy, "PNG"))
    assert outputs(mended) == {"improved"}
    assert error(picture(mended.improved), scene) < error(noisy, scene) / 6


@learned
@pytest.mark.parametrize("quality", [10, 30, 60])
def test_a_photo_spoilt_by_jpeg_is_cleaned(quality: int) -> None:
    scene = pictures.scene(*SIZE)
    spoilt = pictures.encoded(scene, quality=quality)
    mended = restoring().improve(spoilt)
    assert outputs(mended) == {"improved"}
    assert error(picture(mended.improved), scene) < 0.7 * error(pictures.opened(spoilt), scene)


@learned
def test_traces_of_an_earlier_jpeg_are_removed_from_a_lossless_file() -> None:
    scene = pictures.scene(320, 240)
    spoilt = pictures.opened(pictures.encoded(scene, quality=8))
    mended = restoring().improve(pictures.encoded(spoilt, "PNG"))
    assert error(picture(mended.improved), scene) < 0.7 * error(spoilt, scene)


@learned
def test_noise_and_jpeg_damage_are_removed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, int | None]] = []

    def clean(photo: tiles.Pixels, *, noise: float = 0.0, quality: int | None = None) -> tiles.Pixels:
        asked.append((noise, quality))
        return nets.clean(photo, noise=noise, quality=quality)

    monkeypatch.setattr("smarty_async.local.engine.restore.clean", clean)
    scene = pictures.scene(320, 240)
    spoilt = pictures.encoded(pictures.with_noise(scene, amplitude=60), quality=60)
    mended = restoring().improve(spoilt)
    ((noise, quality),) = asked
    assert noise > 0
    assert quality == pytest.approx(60, abs=1)
    assert error(picture(mended.improved), scene) < error(pictures.opened(spoilt), scene) / 5


@learned
@pytest.mark.parametrize("size", [(320, 240), (333, 251)])
def test_scratches_are_filled(size: tuple[int, int]) -> None:
    scene = pictures.scene(*size)
    damaged = scratched(scene)
    mended = restoring().improve(pictures.encoded(damaged, "PNG"))
    assert outputs(mended) == {"improved"}
    assert error(picture(mended.improved), scene) < error(damaged, scene) / 4


@learned
def test_scratches_are_found_at_any_angle_and_where_they_cross() -> None:
    scene = pictures.scene(320, 240)
    damaged = scene.copy()
    lines = [((20, 10), (300, 120)), ((10, 230), (240, 20)), ((180, 5), (200, 235)), ((30, 200), (310, 215))]
    for line in lines:
        ImageDraw.Draw(damaged).line(line, fill=(250, 248, 240), width=2)
    mended = restoring().improve(pictures.encoded(damaged, "PNG"))
    assert error(picture(mended.improved), scene) < error(damaged, scene) / 3


@learned
def test_lines_of_the_scene_are_no_scratches() -> None:
    scene = pictures.scene(320, 240)
    for x in range(0, 320, 6):
        scene.paste((250, 120, 60), (x, 0, x + 2, 240))
    assert scratches.damage_mask(pixels(scene)) is None


@learned
def test_a_band_that_is_too_thick_for_a_fold_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = pictures.scene(320, 240)
    for x in (40, 120, 200, 280):
        ImageDraw.Draw(damaged).line([(x, 5), (x + 12, 150)], fill=(250, 248, 240), width=2)
    found = scratches.likelihood(pixels(damaged))
    found[180:216, 60:300] = 0.99
    monkeypatch.setattr(scratches, "likelihood", lambda _: found)
    mask = scratches.damage_mask(pixels(damaged))
    assert mask is not None
    assert mask[20:140].any(axis=1).all()
    assert not mask[180:216, 60:300].any()
    found[190:216] = 0
    narrow = scratches.damage_mask(pixels(damaged))
    assert narrow is not None
    assert narrow[180:190, 60:300].mean() > 0.9


@learned
def test_a_large_photo_is_searched_at_a_smaller_size_and_filled_at_its_own() -> None:
    scene = pictures.scene(2000, 1500, seed=1)
    damaged = scene.copy()
    for x in (300, 700, 1100, 1600):
        ImageDraw.Draw(damaged).line([(x, 100), (x + 60, 1400)], fill=(250, 248, 240), width=5)
    repaired = scratches.repaired(pixels(damaged))
    assert repaired.shape == (1500, 2000, 3)
    assert error(Image.fromarray(repaired), scene) < error(damaged, scene) / 3
    untouched = (repaired == pixels(damaged)).all(axis=2)
    assert untouched.mean() > 0.9


@learned
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (47, 400), (48, 48), (49, 65)])
def test_small_pictures_are_searched_or_left_alone(size: tuple[int, int]) -> None:
    plain = pixels(Image.new("RGB", size, (120, 100, 80)))
    assert scratches.repaired(plain) is plain


@learned
def test_filling_changes_nothing_beside_the_mask() -> None:
    photo = pixels(pictures.scene(100, 70))
    mask = np.zeros((70, 100), np.bool_)
    mask[20:23, 10:90] = True
    filled = scratches.fill(photo, mask)
    changed = (filled != photo).any(axis=2)
    assert changed[20:23, 10:90].any()
    changed[19:24, 9:91] = False
    assert not changed.any()


@learned
def test_a_wall_without_black_and_white_has_not_faded() -> None:
    dice = np.random.default_rng(4)
    bricks = dice.integers(80, 190, (60, 80)).astype(np.uint8).repeat(6, 0).repeat(6, 1)
    assert not diagnosing.is_faded(pixels(Image.fromarray(bricks)))
    assert restoring().improve(pictures.encoded(Image.fromarray(bricks), "PNG")).improved is None
    assert diagnosing.is_faded(pixels(pictures.opened(pictures.faded(320, 240))))


@learned
def test_scratches_do_not_hide_that_a_print_is_black_and_white() -> None:
    gray = pictures.scene(320, 240).convert("L")
    sepia = Image.merge("RGB", [gray.point(lambda v, part=part: v * part // 255) for part in (200, 180, 130)])
    dice = np.random.default_rng(1)
    for x in dice.uniform(10, 310, 10):
        line = [(x, dice.uniform(0, 60)), (x + dice.uniform(-50, 50), dice.uniform(170, 240))]
        ImageDraw.Draw(sepia).line(line, fill=(247, 242, 232), width=2)
    assert not diagnosing.is_bw(pixels(sepia))
    assert restoring().improve(pictures.encoded(sepia, "PNG")).bw


@learned
def test_a_mask_covers_what_is_damaged_and_little_else() -> None:
    scene = pictures.scene(320, 240)
    damaged = scratched(scene)
    mask = scratches.damage_mask(pixels(damaged))
    assert mask is not None
    true = light(damaged) != light(scene)
    assert (mask & true).sum() > 0.8 * true.sum()
    assert (mask & true).sum() > 0.5 * mask.sum()


@learned
def test_a_blurred_photo_is_sharpened() -> None:
    scene = pictures.scene(320, 240)
    soft = blurred(scene, 1.5)
    mended = restoring().improve(pictures.encoded(soft, "PNG"))
    assert outputs(mended) == {"improved"}
    assert error(picture(mended.improved), scene) < error(soft, scene)


@learned
@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0])
def test_blur_is_measured_in_pixels(radius: float) -> None:
    image = Image.new("L", (320, 240))
    for x in range(0, 320, 80):
        image.paste(220, (x, 0, x + 40, 240))
    # The measuring filter blurs a little itself.
    assert diagnosing.blur(light(blurred(image, radius))) == pytest.approx(radius + 0.25, abs=0.1)


@learned
@pytest.mark.parametrize("deviation", [6, 20])
@pytest.mark.parametrize("grain", [False, True])
def test_noise_is_measured_in_gray_levels(deviation: int, grain: bool) -> None:  # noqa: FBT001 - a parameter
    shape = (240, 320, 1 if grain else 3)
    noise = np.random.default_rng(2).normal(128, deviation, shape)
    flat = np.broadcast_to(np.rint(noise), (240, 320, 3)).astype(np.uint8)
    assert diagnosing.noise_level(flat) == pytest.approx(deviation * (3**0.5 if grain else 1), rel=0.1)


@learned
def test_texture_and_a_little_noise_are_no_noise() -> None:
    coarse = np.random.default_rng(3).normal(128, 25, (120, 160, 1))
    texture = np.clip(coarse.repeat(2, 0).repeat(2, 1), 0, 255).astype(np.uint8).repeat(3, 2)
    assert diagnosing.noise_level(texture) == 0
    assert diagnosing.noise_level(pixels(pictures.with_noise(pictures.scene(320, 240), amplitude=5))) == 0


@learned
def test_traces_of_jpeg_are_seen_in_a_lossless_file() -> None:
    scene = pictures.scene(320, 240)
    spoilt = pictures.opened(pictures.encoded(scene, quality=8))
    assert diagnosing.blockiness(light(scene)) < 1.6
    assert diagnosing.blockiness(light(spoilt)) > 2.5


@pytest.mark.parametrize("quality", [30, 50, 75, 92, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    data = pictures.encoded(pictures.scene(), quality=quality)
    assert quality_of(decode(data)) == pytest.approx(quality, abs=1)


def test_other_formats_have_no_quality() -> None:
    assert quality_of(decode(pictures.png())) is None


@learned
def test_a_good_black_and_white_photo_is_only_toned() -> None:
    mended = restoring().improve(pictures.gray(320, 240))
    assert (outputs(mended), mended.bw) == ({"colorized"}, True)
    toned = picture(mended.colorized)
    assert toned.info["comment"] == TONED.encode()
    red, _, blue = ImageStat.Stat(toned).mean
    assert red > blue + 10


@learned
def test_a_faded_black_and_white_photo_gets_all_three() -> None:
    faded = pictures.opened(pictures.faded(320, 240)).convert("L")
    mended = restoring().improve(pictures.encoded(faded))
    assert (outputs(mended), mended.bw) == ({"improved", "colorized_improved", "colorized"}, True)
    assert picture(mended.improved).mode == "L"
    assert "comment" not in picture(mended.improved).info
    assert picture(mended.colorized_improved).info["comment"] == TONED.encode()


@learned
def test_dark_photos_are_toned_cold() -> None:
    dark = pictures.scene(320, 240).convert("L").point(lambda value: value // 4)
    red, _, blue = ImageStat.Stat(picture(restoring().improve(pictures.encoded(dark)).colorized)).mean
    assert blue > red


@learned
def test_yellowed_paper_is_black_and_white_and_a_red_sheet_is_not() -> None:
    gray = pictures.scene(320, 240).convert("L")
    yellowed = Image.merge("RGB", (gray, gray.point(lambda v: v * 29 // 32), gray.point(lambda v: v * 11 // 16)))
    assert diagnosing.is_bw(pixels(yellowed))
    assert not diagnosing.is_bw(pixels(pictures.scene(320, 240)))
    assert not diagnosing.is_bw(pixels(Image.new("RGB", (64, 48), "#f04020")))


class Painter:
    comment = "painted by hand"

    def __call__(self, picture: tiles.Pixels, /) -> tiles.Pixels:
        return np.full_like(picture, 77)


@learned
def test_another_colourist_may_take_the_toners_place() -> None:
    painted = picture(RestoreEngine(colourist=Painter()).improve(pictures.gray()).colorized)
    assert painted.info["comment"] == b"painted by hand"
    assert ImageStat.Stat(painted).mean == pytest.approx([77, 77, 77], abs=2)


@learned
@pytest.mark.parametrize("rtype", ["art", "photo"])
@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_beats_lanczos(rtype: str, factor: int) -> None:
    scene = pictures.scene(768, 576, seed=1).resize((192, 144))
    small = scene.resize((192 // factor, 144 // factor), Image.Resampling.BICUBIC)
    data = pictures.encoded(small, "PNG")
    large = picture(restoring().enlarge(data, factor=factor, rtype=rtype))
    assert large.size == scene.size
    assert error(large, scene) < 0.8 * error(small.resize(scene.size, Image.Resampling.LANCZOS), scene)


@learned
@pytest.mark.parametrize("largest", [40, 56])
def test_tiles_of_networks_fit_together(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = pixels(pictures.scene(98, 73))
    monkeypatch.setattr(enlarging, "_SMALL", 0)

    def made() -> tuple[tiles.Pixels, ...]:
        return (
            enlarging.waifu2x(photo),
            nets.clean(photo, noise=10),
            enlarging.enlarge_photo(photo, factor=2, quality=None),
            enlarging.enlarge_photo(photo, factor=2, quality=85),
            enlarging.enlarge_photo(photo, factor=4, quality=40),
        )

    whole = made()
    for module, name in ((enlarging, "_WAIFU2X"), (enlarging, "_FAST"), (enlarging, "_FINE"), (nets, "_CLEAN")):
        monkeypatch.setattr(module, name, msgspec.structs.replace(getattr(module, name), largest=largest))
    furthest = [int(np.abs(one.astype(int) - other).max()) for one, other in zip(whole, made(), strict=True)]
    assert furthest[0] <= 12  # weighs by a tile's mean, hence blended
    assert max(furthest[1:]) <= 1


@learned
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("small", [0, 400_000], ids=["large", "small"])
@pytest.mark.parametrize("quality", [None, 95, 80, 50, 20])
@pytest.mark.parametrize(
    "kind",
    [
        (0.0, Image.Resampling.BICUBIC),
        (0.0, Image.Resampling.BOX),
        (0.0, Image.Resampling.LANCZOS),
        (0.5, Image.Resampling.BICUBIC),
        (0.8, Image.Resampling.BICUBIC),
        (1.0, Image.Resampling.BOX),
    ],
    ids=["bicubic", "box", "lanczos", "slightly soft", "soft", "softer"],
)
def test_no_kind_of_photo_is_enlarged_worse_than_by_lanczos(
    kind: tuple[float, Image.Resampling],
    quality: int | None,
    small: int,
    factor: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blur, method = kind
    monkeypatch.setattr(enlarging, "_SMALL", small)
    scene = pictures.scene(768, 576, seed=1).resize((192, 144)).filter(ImageFilter.GaussianBlur(blur * factor))
    reduced = scene.resize((192 // factor, 144 // factor), method)
    sent = pictures.opened(as_file(reduced, quality))
    made = Image.fromarray(_enlarged(pixels(sent), quality, factor, "photo"))
    lanczos = error(sent.resize(scene.size, Image.Resampling.LANCZOS), scene)
    # An error below 1, more than 48 dB, is less than that of the JPEG in which the picture is sent back.
    assert error(made, scene) <= max(lanczos, 1)


@learned
@pytest.mark.parametrize("blur", [0.0, 2.0, 4.0])
def test_which_photos_are_soft(blur: float) -> None:
    texture = _texture().filter(ImageFilter.GaussianBlur(blur))
    assert diagnosing.is_soft(light(texture.resize((192, 144), Image.Resampling.BICUBIC))) == (blur > 1)


def _texture() -> Image.Image:
    """Noise of all sizes, the coarser the stronger, as in photographs."""
    generator = np.random.default_rng(4)
    made = np.zeros((288, 384))
    for size in (1, 2, 4, 8, 16, 32):
        noise = Image.fromarray(generator.normal(0, 8 * size**0.5, (288 // size, 384 // size)))
        made += np.asarray(noise.resize((384, 288), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(made + 128, 0, 255).astype(np.uint8)).convert("RGB")


@learned
@pytest.mark.parametrize("largest", [128, 40], ids=["one tile", "tiles"])
@pytest.mark.parametrize("small", [0, 400_000], ids=["large", "small"])
@pytest.mark.parametrize("blur", [0.0, 0.5, 1.0, 1.6])
def test_a_photo_is_enlarged_better_than_by_lanczos_also_at_its_edges(
    blur: float, small: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "_SMALL", small)
    for name in ("_FAST", "_FINE"):
        monkeypatch.setattr(enlarging, name, msgspec.structs.replace(getattr(enlarging, name), largest=largest))
    scene = pictures.scene(768, 576, seed=1).resize((192, 144)).filter(ImageFilter.GaussianBlur(blur))
    sent = scene.resize((96, 72), Image.Resampling.BICUBIC)
    lanczos = pixels(sent.resize(scene.size, Image.Resampling.LANCZOS))
    made = enlarging.enlarge_photo(pixels(sent), factor=2, quality=None)
    assert _edge_error(made, scene) < _edge_error(lanczos, scene)


def _edge_error(made: tiles.Pixels, scene: Image.Image) -> float:
    """The mean squared error of the outermost two pixels on each side."""
    squares = (made.astype(float) - pixels(scene)) ** 2
    edges = np.ones(squares.shape[:2], bool)
    edges[2:-2, 2:-2] = False
    return float(squares[edges].mean())


@learned
@pytest.mark.parametrize("small", [0, 400_000], ids=["large", "small"])
@pytest.mark.parametrize(("quality", "tint"), [(None, 2), (85, 2), (20, 4)])
def test_the_networks_for_photos_keep_gray_and_flat_pictures(
    quality: int | None, tint: int, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "_SMALL", small)
    scene = pixels(pictures.scene(60, 40).convert("L"))
    gray = enlarging.enlarge_photo(scene, factor=2, quality=quality).astype(int)
    assert np.abs(gray - gray.mean(axis=2, keepdims=True)).max() <= tint
    for colour in (0, 128, 255):
        flat = np.full((20, 30, 3), colour, np.uint8)
        made = enlarging.enlarge_photo(flat, factor=4, quality=quality).astype(int)
        assert made.shape == (80, 120, 3)
        assert np.abs(made - colour).max() <= 2


_DRAWINGS = "models/WAIFU2X_CUNET_UP2X"


@learned
@pytest.mark.parametrize(
    ("quality", "factor", "small", "blur", "expected"),
    [
        (None, 2, 0, 0, ["x2 out0"]),
        (None, 4, 0, 0, ["fine out1"]),
        (None, 2, 400_000, 0, ["fine out0", _DRAWINGS]),
        (None, 4, 400_000, 0, ["fine out0", _DRAWINGS, "x2 out0"]),
        (None, 2, 400_000, 2, ["fine out0"]),
        (None, 4, 400_000, 2, ["fine out1"]),
        (85, 2, 0, 0, ["x2jpeg out0"]),
        (40, 2, 0, 0, ["x2jpeg out0"]),
        (85, 2, 400_000, 0, ["fine out0"]),
        (40, 4, 0, 0, ["fine out1"]),
        (40, 4, 400_000, 0, ["fine out1"]),
    ],
)
def test_which_networks_enlarge_a_photo(
    *, quality: int | None, factor: int, small: int, blur: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "_SMALL", small)
    used: list[tuple[str, float]] = []

    class Noted(nets.Net, frozen=True):
        def __call__(self, planes: Any) -> Any:
            name = self.file if self.file == _DRAWINGS else f"{self.file.removeprefix('enlarge_')} {self.end}"
            used.append((name, round(float(planes[-1, 0, 0]), 2)))
            return super().__call__(planes)

    monkeypatch.setattr(enlarging, "Net", Noted)
    sent = (
        _texture().filter(ImageFilter.GaussianBlur(blur)).resize((48, 36), Image.Resampling.BICUBIC, box=(0, 0, 96, 72))
    )
    made = enlarging.enlarge_photo(pixels(sent), factor=factor, quality=quality)
    assert made.shape == (36 * factor, 48 * factor, 3)
    assert list(dict.fromkeys(name for name, _ in used)) == expected
    levels = [level for name, level in used if name not in {_DRAWINGS, "x2 out0"}]
    assert levels == [0 if quality is None else (100 - quality) / 100] * len(levels)


@learned
@pytest.mark.parametrize("small", [0, 400_000], ids=["large", "small"])
@pytest.mark.parametrize("known", [12, 0], ids=["JPEG", "saved again"])
def test_a_coarse_jpeg_is_enlarged_better_than_by_lanczos(
    known: int, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "_SMALL", small)
    scene = pictures.scene(768, 576, seed=1).resize((192, 144))
    sent = pictures.opened(as_file(scene.resize((96, 72)), 12))
    made = Image.fromarray(enlarging.enlarge_photo(pixels(sent), factor=2, quality=known))
    assert error(made, scene) < 0.9 * error(sent.resize(scene.size, Image.Resampling.LANCZOS), scene)


@learned
@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("1", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("L", "TIFF")]
)
def test_every_usual_format(mode: str, kind: str) -> None:
    data = pictures.encoded(pictures.scene(48, 36).convert(mode), kind)
    restoring().improve(data)
    assert picture(restoring().enlarge(data, factor=2, rtype="photo")).size == (96, 72)


@learned
def test_sixteen_bits_orientation_and_transparency() -> None:
    deep = pictures.scene(48, 36).convert("I").point(lambda value: value * 257).convert("I;16")
    exif = Image.Exif()
    exif[0x0112] = 6
    for data, size in (
        (pictures.encoded(deep, "PNG"), (96, 72)),
        (pictures.encoded(pictures.scene(48, 36), exif=exif.tobytes()), (72, 96)),
        (pictures.encoded(Image.new("RGBA", (48, 36)), "PNG"), (96, 72)),
    ):
        restoring().improve(data)
        assert picture(restoring().enlarge(data, factor=2, rtype="photo")).size == size


@learned
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 5), (33, 2), (2000, 1)])
def test_tiny_and_odd_pictures(size: tuple[int, int]) -> None:
    data = pictures.encoded(Image.new("RGB", size, "#4080c0"))
    assert restoring().improve(data).improved is None
    for rtype in ("photo", "art"):
        assert picture(restoring().enlarge(data, factor=2, rtype=rtype)).size == (
            size[0] * 2,
            size[1] * 2,
        )


@learned
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 2),
        (pictures.cut(pictures.png()), 2),
        (pictures.cut(pictures.jpeg(320, 240)), 2),
        (pictures.huge(60_000, 60_000), 1),
    ],
)
def test_what_is_refused(data: bytes, status: int) -> None:
    for work in (
        restoring().improve,
        lambda image: restoring().enlarge(image, factor=2, rtype="art"),
    ):
        with pytest.raises(ItemRefused) as refused:
            work(data)
        assert refused.value.status == status


@learned
def test_what_would_become_too_large_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smarty_async.local.engine.restore.largest_output", lambda: 3840 * 2160 * 16)
    for size in ((4000, 4000), (60_000, 1)):
        with pytest.raises(ItemRefused, match="too large"):
            restoring().enlarge(pictures.encoded(Image.new("L", size), "PNG"), factor=4, rtype="photo")


@learned
async def test_poison_among_good_ones_over_http() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "good": pictures.jpeg(),
        "faded": pictures.faded(),
        "cut": pictures.cut(pictures.jpeg(320, 240)),
        "bomb": pictures.huge(),
        "thread": pictures.encoded(Image.new("L", (20_000, 1)), "PNG"),
        "long": pictures.encoded(Image.new("L", (60_000, 1)), "PNG"),
        "print": pictures.encoded(pictures.scene().convert("CMYK")),
        "deep": pictures.encoded(Image.new("I;16", SIZE, 30_000), "PNG"),
        "few": pictures.encoded(pictures.scene().convert("P"), "GIF"),
        "clear": pictures.encoded(Image.new("RGBA", SIZE), "PNG"),
        "turned": pictures.encoded(pictures.scene(), exif=exif.tobytes()),
    }
    data = aiohttp.FormData()
    for name, content in files.items():
        data.add_field(name, io.BytesIO(content), filename=name)
    asked = {"mode": ["improve", "resolution"], "rfactor": 4, "rtype": "photo"}
    data.add_field("meta", json.dumps(asked | {"images": [{"name": name} for name in files]}))
    app = make_app(engine=engine_named("restore"), workers=2)
    async with serving(app) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/api/v1/photo/improve?oauth_provider=mcs&oauth_token=bait"
        async with session.post(url, data=data) as response:
            body = (await response.json())["body"]
    statuses = [{item["name"]: item["status"] for item in body[mode]} for mode in ("improve", "resolution")]
    assert statuses[0] == dict.fromkeys(files, 0) | {"cut": 2, "bomb": 1}
    assert statuses[1] == dict.fromkeys(files, 0) | {"cut": 2, "bomb": 1, "thread": 1, "long": 1}
    items = {item["name"]: item for item in body["improve"]}
    assert "improved" in items["faded"]
    assert "improved" not in items["good"]


@learned
def test_the_colour_profile_stays_with_its_picture() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    faded = pictures.opened(pictures.faded(*SIZE))
    mended = restoring().improve(pictures.encoded(faded, icc_profile=profile))
    assert picture(mended.improved).info["icc_profile"] == profile


@learned
def test_work_ends_after_cancellation() -> None:
    left = Event()
    left.set()
    with wanted_until(left), pytest.raises(Abandoned):
        restoring().enlarge(pictures.jpeg(), factor=2, rtype="photo")


def test_there_is_room_for_small_ones_and_a_large_one_waits() -> None:
    budget = PixelBudget(100)
    entered = Event()

    def large() -> None:
        with budget.reserved(1_000_000):
            entered.set()

    with budget.reserved(60), budget.reserved(40):
        waiting = Thread(target=large)
        waiting.start()
        assert not entered.wait(0.01)
    waiting.join(30)
    assert entered.is_set()


def test_one_who_waits_for_room_leaves_with_its_client() -> None:
    budget, left = PixelBudget(10), Event()
    left.set()
    with budget.reserved(10), wanted_until(left), pytest.raises(Abandoned), budget.reserved(1):
        pytest.fail("there was no room")


@learned
def test_sharpening_does_not_bring_out_the_noise_of_a_blurred_photo() -> None:
    scene = pictures.scene(400, 300, seed=3)
    soft = np.asarray(scene.filter(ImageFilter.GaussianBlur(2)), np.float64)
    noisy = soft + np.random.default_rng(0).normal(0, 3, soft.shape)
    sent = Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))
    made = picture(restoring().improve(as_file(sent, None)).improved)
    plain = np.abs(np.gradient(soft, axis=1)).max(axis=2) < 1
    before, after = (np.std((pixels(image) - soft)[plain]) for image in (sent, made))
    assert after < before
