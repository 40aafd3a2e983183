"""Back-projection: nearer to what was sent, only where that was made smaller by the filter it assumes."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageFilter
from support import pictures

if TYPE_CHECKING:
    import numpy as np

    from smarty_async.local.engine import backprojecting
else:
    extra = 'the extra `local` is not installed: pip install "smarty_async[local]"'
    np = pytest.importorskip("numpy", reason=extra)
    pytest.importorskip("cv2", reason=extra)
    from smarty_async.local.engine import backprojecting

from smarty_async.local.engine.protocol import Abandoned, wanted_until

if TYPE_CHECKING:
    from smarty_async.local.engine.tiles import Pixels


def halved(scene: Image.Image) -> Pixels:
    return np.asarray(scene.resize((scene.width // 2, scene.height // 2), Image.Resampling.BICUBIC))


def projected(large: Image.Image, small: Pixels) -> Pixels:
    made = np.array(large)
    backprojecting.back_project(made, small)
    return made


def error(made: Pixels | Image.Image, scene: Image.Image) -> float:
    return float(np.mean((np.asarray(made, float) - np.asarray(scene, float)) ** 2))


@pytest.fixture
def scene() -> Image.Image:
    return pictures.scene(640, 640, seed=1).resize((160, 160))


@pytest.fixture
def guess(scene: Image.Image) -> Image.Image:
    """An enlargement that is a little too soft."""
    return scene.filter(ImageFilter.GaussianBlur(0.4))


def test_what_was_made_smaller_is_nearer_to_its_original(scene: Image.Image, guess: Image.Image) -> None:
    assert error(projected(guess, halved(scene)), scene) < 0.9 * error(guess, scene)


def test_it_is_nearer_to_what_was_sent(scene: Image.Image, guess: Image.Image) -> None:
    small = halved(scene)
    made = Image.fromarray(projected(guess, small))
    assert error(halved(made), Image.fromarray(small)) < 0.5 * error(halved(guess), Image.fromarray(small))


def test_strips_do_not_show(scene: Image.Image, guess: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = projected(guess, halved(scene))
    monkeypatch.setattr(backprojecting, "_ROWS", 7)
    assert np.array_equal(projected(guess, halved(scene)), whole)


@pytest.mark.parametrize("why", ["noisy", "sharpened"])
def test_what_is_noisy_or_sharpened_changes_nothing(why: str, scene: Image.Image) -> None:
    if why == "sharpened":
        small = np.asarray(Image.fromarray(halved(scene)).filter(ImageFilter.UnsharpMask(1, 150, 0)))
    else:
        noise = np.random.default_rng(3).normal(0, 4, (80, 80, 3))
        small = np.rint(np.clip(halved(scene) + noise, 0, 255)).astype(np.uint8)
    assert np.array_equal(projected(scene, small), np.asarray(scene))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (129, 1)])
def test_any_size(size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), 90, np.uint8)
    made = np.full((size[0] * 2, size[1] * 2, 3), 90, np.uint8)
    backprojecting.back_project(made, flat)
    assert (made == 90).all()


def test_it_ends_when_the_client_has_left(scene: Image.Image, guess: Image.Image) -> None:
    left = Event()
    left.set()
    with wanted_until(left), pytest.raises(Abandoned):
        projected(guess, halved(scene))
