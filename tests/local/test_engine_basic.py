"""The engines: what `basic` measures and mends, what every engine takes and refuses."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageCms, ImageFile, ImageStat
from support import pictures
from support.metadata_samples import icc_profile

from smarty_async.local.engine import BasicEngine, EchoEngine, Engine, Improved, ItemRefused, basic
from smarty_async.local.engine.basic import TONED, measure, percentile
from smarty_async.local.engine.decoding import decode, pixel_count
from smarty_async.local.engine.echo import stamp, unstamp

SEEDS = range(4)


def outputs(improved: Improved) -> set[str]:
    names = ("improved", "colorized_improved", "colorized")
    return {name for name in names if getattr(improved, name) is not None}


def picture(data: bytes | None) -> Image.Image:
    assert data is not None
    image = pictures.opened(data)
    assert image.format == "JPEG"
    return image


def span(image: Image.Image) -> int:
    low, high = image.convert("L").getextrema()
    assert isinstance(low, int)
    assert isinstance(high, int)
    return high - low


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(ImageStat.Stat(ImageChops.difference(one.convert("L"), other.convert("L"))).mean[0])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_a_good_photo_is_left_alone(seed: int, size: tuple[int, int]) -> None:
    assert BasicEngine().improve(pictures.jpeg(*size, seed=seed)) == Improved()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_faded_photo_is_stretched(seed: int) -> None:
    faded = pictures.faded(320, 240, seed=seed)
    mended = BasicEngine().improve(faded)
    assert (outputs(mended), mended.bw) == ({"improved"}, False)
    assert span(pictures.opened(faded)) < 110
    assert span(picture(mended.improved)) > 230
    scene = pictures.scene(320, 240, seed=seed)
    assert difference(picture(mended.improved), scene) < difference(pictures.opened(faded), scene) / 2


def test_stretching_is_bounded_and_a_blank_is_no_faded_photo() -> None:
    pale = pictures.scene(320, 240).point(lambda value: 120 + value * 20 // 255)
    mended = BasicEngine().improve(pictures.encoded(pale))
    assert 60 < span(picture(mended.improved)) < 130
    for colour in ("#808080", "white", "black", "#f04020"):
        assert BasicEngine().improve(pictures.encoded(Image.new("RGB", (64, 48), colour))).improved is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_noisy_photo_is_denoised(seed: int) -> None:
    noisy = pictures.noisy(320, 240, seed=seed)
    mended = BasicEngine().improve(noisy)
    assert outputs(mended) == {"improved"}
    scene = pictures.scene(320, 240, seed=seed)
    assert difference(picture(mended.improved), scene) < 0.6 * difference(pictures.opened(noisy), scene)


def test_noise_is_measured_in_gray_levels() -> None:
    flat = Image.new("RGB", (320, 240), (128, 128, 128))
    for amplitude in (10, 30):
        # Even noise of ± a has a deviation of a / √3; gray is made of three channels, weighted.
        expected = amplitude / 3**0.5 * (0.299**2 + 0.587**2 + 0.114**2) ** 0.5
        measured = measure(pictures.with_noise(flat, amplitude=amplitude)).noise
        assert measured == pytest.approx(expected, rel=0.2)


def test_specks_and_thin_scratches_are_taken_out() -> None:
    scene = pictures.scene(320, 240)
    scratched = scene.copy()
    for x in range(10, 320, 40):
        scratched.paste((255, 255, 255), (x, 0, x + 1, 240))
    mended = BasicEngine().improve(pictures.encoded(scratched, quality=98, subsampling=0))
    assert difference(picture(mended.improved), scene) < difference(scratched, scene) / 3


def test_fine_texture_is_no_scratch() -> None:
    scene = pictures.scene(320, 240)
    for y in range(0, 80, 2):  # tiles on a roof
        scene.paste((250, 120, 60), (0, y, 320, y + 1))
        scene.paste((40, 10, 10), (0, y + 1, 320, y + 2))
    assert BasicEngine().improve(pictures.encoded(scene)).improved is None


def test_a_good_black_and_white_photo_is_only_toned() -> None:
    gray = pictures.gray(320, 240)
    mended = BasicEngine().improve(gray)
    assert (outputs(mended), mended.bw) == ({"colorized"}, True)
    toned = picture(mended.colorized)
    assert toned.info["comment"] == TONED.encode()
    red, _, blue = ImageStat.Stat(toned).mean
    assert red > blue + 10


def test_a_faded_black_and_white_photo_gets_all_three() -> None:
    faded = pictures.opened(pictures.faded(320, 240)).convert("L")
    mended = BasicEngine().improve(pictures.encoded(faded))
    assert (outputs(mended), mended.bw) == ({"improved", "colorized_improved", "colorized"}, True)
    assert picture(mended.improved).mode == "L"
    assert span(picture(mended.colorized_improved)) > 200 > span(picture(mended.colorized))
    assert picture(mended.colorized_improved).info["comment"] == TONED.encode()
    assert "comment" not in picture(mended.improved).info


def test_yellowed_paper_is_still_black_and_white() -> None:
    gray = pictures.scene(320, 240).convert("L")
    yellowed = Image.merge("RGB", (gray, gray.point(lambda v: v * 31 // 32), gray.point(lambda v: v * 15 // 16)))
    assert BasicEngine().improve(pictures.encoded(yellowed)).bw
    assert not BasicEngine().improve(pictures.jpeg(320, 240)).bw


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("rtype", ["art", "photo"])
def test_enlarging(factor: int, rtype: str) -> None:
    large = picture(BasicEngine().enlarge(pictures.jpeg(40, 30), factor=factor, rtype=rtype))
    assert large.size == (40 * factor, 30 * factor)
    assert difference(large.resize((40, 30), Image.Resampling.BOX), pictures.scene(40, 30)) < 6


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("L", "JPEG"),
        ("1", "PNG"),
        ("1", "TIFF"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("RGBA", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "WEBP"),
        ("I;16", "PNG"),
        ("I;16", "TIFF"),
    ],
)
def test_every_usual_format(mode: str, kind: str) -> None:
    scene = pictures.scene(64, 48)
    if mode == "I;16":
        image = scene.convert("I").point(lambda value: value * 257).convert("I;16")
    else:
        image = scene.convert(mode)
    data = pictures.encoded(image, kind)
    assert difference(decode(data), image.convert("RGB") if mode != "I;16" else scene) < 8
    for engine in (BasicEngine(), EchoEngine()):
        engine.improve(data)
        assert picture(engine.enlarge(data, factor=2, rtype="art"))


def test_transparency_shows_white_paper() -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    palette = Image.new("P", (32, 32))
    for data in (pictures.encoded(clear, "PNG"), pictures.encoded(palette, "PNG", transparency=0)):
        assert decode(data).getextrema() == ((255, 255),) * 3


def test_orientation_is_honoured() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter: what is wide in the file is tall on the wall
    data = pictures.encoded(pictures.scene(64, 48), exif=exif.tobytes())
    large = picture(BasicEngine().enlarge(data, factor=2, rtype="photo"))
    assert (large.size, large.getexif().get(0x0112)) == ((96, 128), None)


def test_the_colour_profile_stays_with_its_picture() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    scene = pictures.opened(pictures.faded(320, 240))
    mended = BasicEngine().improve(pictures.encoded(scene, icc_profile=profile))
    assert picture(mended.improved).info["icc_profile"] == profile
    mended = BasicEngine().improve(pictures.encoded(scene.convert("CMYK"), icc_profile=profile))
    assert "icc_profile" not in picture(mended.improved).info


@pytest.mark.parametrize("mode", ["L", "I;16", "1", "P", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("space", ["GRAY", "RGB ", "CMYK"])
def test_a_colour_profile_stays_where_it_describes_the_pixels_that_are_sent_back(mode: str, space: str) -> None:
    scene = pictures.scene(64, 48)
    sent = Image.new(mode, (64, 48)) if mode == "I;16" else scene.convert(mode)
    profile = icc_profile(space=space.encode())
    plain = decode(pictures.encoded(sent, "TIFF" if mode == "CMYK" else "PNG", icc_profile=profile))
    kept = {"GRAY": ("L", "I;16", "1"), "RGB ": ("P", "RGBA", "LA"), "CMYK": ()}[space]
    assert plain.info.get("icc_profile") == (profile if mode in kept else None)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (5, 5)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    data = pictures.encoded(Image.new("RGB", size, "#4080c0"))
    BasicEngine().improve(data)
    assert picture(BasicEngine().enlarge(data, factor=4, rtype="photo")).width == size[0] * 4


@pytest.mark.parametrize("engine", [BasicEngine(), EchoEngine()])
@pytest.mark.parametrize(
    "data", [b"", b"x", b"no picture at all", pictures.cut(pictures.png()), pictures.cut(pictures.tiff())]
)
def test_what_cannot_be_decoded(engine: Engine, data: bytes) -> None:
    with pytest.raises(ItemRefused, match=r"^unable decode input image$") as refused:
        engine.improve(data)
    assert refused.value.status == 2


def test_a_cut_jpeg_is_refused_and_nothing_global_is_changed() -> None:
    with pytest.raises(ItemRefused, match="unable decode input image"):
        BasicEngine().improve(pictures.cut(pictures.jpeg(320, 240)))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("size", [(60_000, 50_000), (60_000, 60_000)])
@pytest.mark.parametrize("engine", [BasicEngine(), EchoEngine()])
def test_a_bomb_is_refused_for_good(engine: Engine, size: tuple[int, int]) -> None:
    with pytest.raises(ItemRefused, match="too large") as refused:
        engine.improve(pictures.huge(*size))
    assert refused.value.status == 1


@pytest.mark.parametrize("size", [(4000, 4000), (20_000, 2)])
def test_what_would_become_too_large_is_refused_for_good(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basic, "largest_output", lambda: 3840 * 2160 * 16)
    data = pictures.encoded(Image.new("L", size), "PNG")
    with pytest.raises(ItemRefused, match="too large") as refused:
        BasicEngine().enlarge(data, factor=4, rtype="photo")
    assert refused.value.status == 1


def test_what_no_jpeg_can_hold_is_refused_for_good() -> None:
    with pytest.raises(ItemRefused, match="too large") as refused:
        BasicEngine().improve(pictures.encoded(Image.new("L", (65_501, 1)), "PNG"))
    assert refused.value.status == 1


def test_a_photo_that_the_memory_bears_is_decoded_whatever_pillow_thinks_of_its_size() -> None:
    large = pictures.encoded(Image.new("1", (14_000, 13_000)), "PNG")
    assert pixel_count(large, max_pixels=182_000_000) == 182_000_000
    with pytest.raises(ItemRefused, match="too large"):
        pixel_count(large, max_pixels=181_999_999)


def test_percentiles() -> None:
    assert [percentile([1, 0, 1, 2], share) for share in (0, 0.25, 0.26, 0.5, 0.9, 1)] == [0, 0, 2, 2, 3, 3]
    assert percentile([0, 0], 0.5) == 1


def test_a_stamp_changes_nothing_but_the_comment() -> None:
    photo = pictures.jpeg()
    stamped = stamp(photo, "improved")
    assert pictures.opened(stamped).info["comment"] == b"smarty-async echo improved"
    assert pictures.opened(stamped).tobytes() == pictures.opened(photo).tobytes()
    assert unstamp(stamped) == ("improved", photo)
    with pytest.raises(ValueError, match="not a stamped JPEG"):
        unstamp(photo)


def test_echo_makes_a_jpeg_of_what_is_none() -> None:
    improved = EchoEngine().improve(pictures.png())
    assert outputs(improved) == {"improved", "colorized_improved", "colorized"}
    assert picture(improved.improved).info["comment"] == b"smarty-async echo improved"
    assert difference(picture(improved.colorized), pictures.scene()) < 3
