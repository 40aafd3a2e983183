"""Coverage-guided fuzzing of the probe: whatever a file holds, it is sent or rejected, and nothing else is raised.

    python tests/fuzz/fuzz_probe.py -max_total_time=600 CORPUS   # libFuzzer's options
    python tests/fuzz/fuzz_probe.py --seeds CORPUS               # write small files to begin with

A failure stops it and leaves the input in a file; give that file as the only argument to see it again.
"""

from __future__ import annotations

import io
import random
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["smarty_async.archive.photos"]):
    from smarty_async.archive.photos.probe import probe
    from smarty_async.errors import PhotoRejected
    from smarty_async.options import Limits

from PIL import Image

LIMITS = Limits(max_pixels=1_000_000)
KINDS = ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "PCX", "SGI", "JPEG2000", "AVIF")

warnings.simplefilter("error")  # a library's warning must not get out of the probe


def check(data: bytes) -> None:
    """Probe the bytes, with and without `fit`."""
    for fit in (False, True):
        try:
            probed = probe(data, limits=LIMITS, fit=fit)
        except PhotoRejected:
            continue
        assert probed.size == (len(probed.converted) if probed.converted else min(probed.size, len(data)))
        assert min(probed.width, probed.height) > 0


def write_seeds(folder: Path) -> None:
    """Small files of every format."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.effect_noise((16, 12), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in KINDS:
        for number, options in enumerate(
            ({}, {"exif": exif.tobytes()}, {"save_all": True, "append_images": [picture]})
        ):
            buffer = io.BytesIO()
            try:
                picture.save(buffer, kind, **options)  # type: ignore[arg-type]
            except (OSError, ValueError, KeyError):
                continue
            (folder / f"{kind.lower()}-{number}").write_bytes(buffer.getvalue())
    for mode in ("1", "L", "P", "CMYK", "LAB", "I;16", "F"):
        for compression in (None, "tiff_lzw", "group4"):
            buffer = io.BytesIO()
            try:
                picture.convert("1" if compression == "group4" else "L").convert(mode).save(
                    buffer, "TIFF", compression=compression
                )
            except (OSError, ValueError):
                continue
            (folder / f"tiff-{mode.replace(';', '')}-{compression}").write_bytes(buffer.getvalue())


def mutate(data: bytes, size: int, seed: int) -> bytes:
    """libFuzzer's mutations, and zeros over a part of the file, which it seldom makes."""
    dice = random.Random(seed)  # noqa: S311 - inputs, not secrets
    if data and dice.random() < 0.1:
        start = dice.randrange(len(data))
        return data[:start] + bytes(len(data) - start)
    mutated: bytes = atheris.Mutate(data, size)
    return mutated


def main() -> None:
    """Fuzz, or write the seeds."""
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
        return
    atheris.Setup(sys.argv, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
