"""How much better than Lanczos exported networks enlarge photographs, for several ways of making them smaller.

    python -m training.enlarging.evaluate --nets work --photos kodak --side 480

PyTorch is not needed: the networks run as they do in the engine, with ncnn.
"""

from __future__ import annotations

import argparse
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["enlarged", "gains"]

_MARGIN = 20
"""Pixels of the small picture, mirrored around it: the reach of `x4` is 18."""

_KINDS: dict[str, tuple[Image.Resampling, int | None]] = {
    "bicubic": (Image.Resampling.BICUBIC, None),
    "lanczos": (Image.Resampling.LANCZOS, None),
    "box": (Image.Resampling.BOX, None),
    "JPEG 95": (Image.Resampling.BICUBIC, 95),
    "JPEG 75": (Image.Resampling.BICUBIC, 75),
}

_Pixels = NDArray[np.uint8]


def loaded(path: Path) -> Any:
    """The network in `path`, without its ending, for one thread."""
    ncnn = import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    if net.load_param(f"{path}.param") or net.load_model(f"{path}.bin"):
        raise FileNotFoundError(path)
    return net


def enlarged(net: Any, picture: _Pixels, *, factor: int, level: float) -> _Pixels:
    """The whole picture through the network; `level` is that of its JPEG damage."""
    ncnn = import_module("ncnn")
    wide = np.pad(picture, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), "reflect")
    planes = np.full((4, *wide.shape[:2]), level, np.float32)
    planes[:3] = wide.transpose(2, 0, 1) / np.float32(255)
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(planes).clone())
    _, made = extractor.extract("out0")
    cut = slice(_MARGIN * factor, -_MARGIN * factor)
    result = np.array(made)[:, cut, cut].transpose(1, 2, 0)
    return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)


def gains(net: Any, original: _Pixels, *, factor: int) -> dict[str, float]:
    """The gain over Lanczos in dB for each way of making `original` smaller; its sides are multiples of `factor`."""
    image, found = Image.fromarray(original), {}
    for kind, (method, quality) in _KINDS.items():
        small = image.resize((image.width // factor, image.height // factor), method)
        if quality is not None:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality)
            small = Image.open(buffer)
        lanczos = np.asarray(small.resize(image.size, Image.Resampling.LANCZOS))
        level = 0.0 if quality is None else (100 - quality) / 100
        made = enlarged(net, np.asarray(small), factor=factor, level=level)
        found[kind] = _psnr(made, original) - _psnr(lanczos, original)
    return found


def _psnr(one: _Pixels, other: _Pixels) -> float:
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def _photo(path: Path, side: int | None) -> _Pixels:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if side is not None and side < max(image.size):
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[: pixels.shape[0] // 8 * 8, : pixels.shape[1] // 8 * 8])


def main() -> None:
    """Print the mean and the least gain of each network in the folder."""
    parser = argparse.ArgumentParser(prog="python -m training.enlarging.evaluate", description=__doc__)
    parser.add_argument("--nets", type=Path, required=True, help="the folder of enlarge_NAME.param and .bin")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs that training did not see")
    parser.add_argument("--side", type=int, help="reduce the longer side to so many pixels first")
    parser.add_argument("--most", type=int, help="use only so many photographs")
    options = parser.parse_args()
    files = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    photos = [_photo(path, options.side) for path in files[: options.most]]
    for param in sorted(options.nets.glob("enlarge_*.param")):
        factor = int(param.stem.removeprefix("enlarge_x")[0])
        net = loaded(param.with_suffix(""))
        all_gains = [gains(net, photo, factor=factor) for photo in photos]
        cells = [f"{kind} {np.mean(of := [g[kind] for g in all_gains]):+.2f} ({min(of):+.2f})" for kind in _KINDS]
        print(f"{param.stem}, {len(photos)} photographs: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
