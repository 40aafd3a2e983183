"""Mutation fuzzing of the engines: damaged image files of every format are restored or refused, nothing else.

    python tests/fuzz/fuzz_engine.py --seconds 3600
    python tests/fuzz/fuzz_engine.py --file fuzz-input.bin      # one input again

Each input is written to `--keep` before it is decoded, so that it is there after a crash of the process. An exception
that is not `ItemRefused`, an output that is no JPEG of the right size, an input that takes more than two minutes, or
memory beyond `--megabytes` ends the run with status 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import resource
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from PIL import Image

from smarty_async.local.engine import BasicEngine, Engine, ItemRefused, best_engine, in_process_engine
from smarty_async.local.engine.decoding import decode, pixel_count

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import pictures

WHOLE = 400_000
"""Pixels beyond which an input is only decoded: a mutated size must not take minutes."""
MOST = 30_000_000
"""Pixels beyond which only the header is read; the service refuses at a number that depends on the memory."""
FACTORS = ((2, "photo"), (4, "photo"), (2, "art"))
HANG = 120
"""Seconds after which an input that is not finished counts as a hang."""

INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    15,
    16,
    32,
    63,
    64,
    127,
    128,
    254,
    255,
    256,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
)


def seeds() -> Iterator[bytes]:
    """Small files of every format and of many of their variants."""
    scene = pictures.scene(48, 36)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = scene.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(scene.size))
    deep = scene.convert("I").point(lambda value: value * 257).convert("I;16")
    yield pictures.encoded(scene, exif=exif.tobytes())
    yield pictures.encoded(scene, progressive=True, quality=30)
    yield pictures.encoded(scene.convert("L"))
    yield pictures.encoded(scene.convert("CMYK"))
    for image in (scene, scene.convert("L"), scene.convert("P"), scene.convert("1"), clear, deep):
        yield pictures.encoded(image, "PNG")
    yield pictures.encoded(scene.convert("P"), "PNG", transparency=3)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield pictures.encoded(scene, "TIFF", compression=compression)
    yield pictures.encoded(scene.convert("1"), "TIFF", compression="group4")
    yield pictures.encoded(deep, "TIFF")
    yield pictures.encoded(scene.convert("CMYK"), "TIFF")
    yield pictures.encoded(scene, "TIFF", save_all=True, append_images=[scene.convert("L")])
    for options in ({"quality": 60}, {"lossless": True}):
        yield pictures.encoded(scene, "WEBP", **options)
        yield pictures.encoded(clear, "WEBP", **options)
    yield pictures.encoded(scene, "WEBP", save_all=True, append_images=[pictures.scene(48, 36, seed=1)])
    yield pictures.encoded(scene.convert("P"), "GIF", transparency=5)
    yield pictures.encoded(scene, "BMP")


def mutated(dice: Random, corpus: list[bytes]) -> bytes:
    """A file of the corpus with one to six changes; PNG checksums are right again in half of the cases."""
    data = bytearray(dice.choice(corpus))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        _mutate(dice, data, corpus)
    if data.startswith(b"\x89PNG") and dice.random() < 0.5:
        _repair_png(data)
    return bytes(data)


def _mutate(dice: Random, data: bytearray, corpus: list[bytes]) -> None:
    if not data:
        return
    # Headers decide more than pixels do.
    at = dice.randrange(min(len(data), 200) if dice.random() < 0.3 else len(data))
    kind = dice.randrange(7)
    if kind == 0:
        data[at] ^= 1 << dice.randrange(8)
    elif kind == 1:
        data[at] = dice.randrange(256)
    elif kind == 2:
        size = dice.choice((1, 2, 4))
        value = dice.choice(INTERESTING) & (256**size - 1)
        data[at : at + size] = value.to_bytes(size, dice.choice(("little", "big")))
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        del data[at : at + dice.randrange(1, 40)]
    elif kind == 5:
        data[at:at] = data[at : at + dice.randrange(1, 40)]
    else:
        other = dice.choice(corpus)
        start = dice.randrange(len(other))
        data[at : at + 60] = other[start : start + dice.randrange(1, 60)]


def _repair_png(data: bytearray) -> None:
    position = 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4


def check(engine: Engine, data: bytes) -> str:
    """What became of the input: `large`, `decoded`, `refused 1`, `refused 2` or `made`.

    Raises:
        Exception: whatever else the engine raises; AssertionError for a wrong output.
    """
    try:
        count = pixel_count(data)
        if count > MOST:
            return "large"
        if count > WHOLE:
            decode(data)
            return "decoded"
        made = engine.improve(data)
        for output in (made.improved, made.colorized_improved, made.colorized):
            if output is not None:
                _check_jpeg(output, count)
        if count <= WHOLE // 16:
            factor, rtype = FACTORS[len(data) % len(FACTORS)]
            _check_jpeg(engine.enlarge(data, factor=factor, rtype=rtype), factor**2 * count)
    except ItemRefused as refused:
        return f"refused {refused.status}"
    return "made"


def _check_jpeg(output: bytes, pixels: int) -> None:
    with Image.open(io.BytesIO(output), formats=("JPEG",)) as image:
        image.load()
        assert image.width * image.height == pixels


def engines() -> list[Engine]:
    """Those that are installed."""
    found: list[Engine] = [BasicEngine()]
    if best_engine() == "restore":
        found.append(in_process_engine("restore"))
    return found


def fuzz(seconds: float, seed: int, keep: Path, megabytes: int) -> int:
    """Fuzz all engines in turn; the exit status."""
    dice, corpus, tried = Random(seed), list(seeds()), Counter[str]()  # noqa: S311 - bytes, not secrets
    makers, end = engines(), time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(dice, corpus)
        keep.write_bytes(data)
        for engine in makers:
            faulthandler.dump_traceback_later(HANG, exit=True)
            try:
                tried[f"{engine.name}: {check(engine, data)}"] += 1
            except Exception:  # noqa: BLE001 - this is what is looked for
                traceback.print_exc()
                print(f"{engine.name} failed; the input is in {keep}")
                return 1
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if used > megabytes:
            print(f"{used} MB in memory; the input is in {keep}")
            return 1
    faulthandler.cancel_dump_traceback_later()
    keep.unlink()
    print(f"seed {seed}, {used} MB at most;", ", ".join(f"{name} {count}" for name, count in sorted(tried.items())))
    return 0


def main() -> int:
    """Fuzz, or try one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-input.bin"))
    parser.add_argument("--megabytes", type=int, default=1500)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    faulthandler.enable()
    if options.file is None:
        return fuzz(options.seconds, options.seed, options.keep, options.megabytes)
    for engine in engines():
        print(engine.name, check(engine, options.file.read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
