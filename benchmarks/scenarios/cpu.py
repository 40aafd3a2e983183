"""Client CPU seconds per GB of photos: up, three outputs each down, decoded, written.

Outputs are as large as the photo, so a GB of photos is 1 GB up and 4 GB of base64 down. In memory (tmpfs) where there
is one, so that a shared disk does not blur it; once more on the disk, as shipped.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.photos import archive
from benchmarks.running import check_outputs, run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import certificate, service

__all__ = ["compare", "measure"]

_CASES = {  # photos at full scale, bytes of each, in memory, TLS
    "100 KB": (10_000, 100_000, True, False),
    "2 MB": (1_000, 2_000_000, True, False),
    "2 MB, TLS": (1_000, 2_000_000, True, True),
    "100 KB, on disk": (10_000, 100_000, False, False),
    "2 MB, on disk": (1_000, 2_000_000, False, False),
}
_CPU, _WALL, _SERVER = "CPU s/GB", "wall s/GB", "server CPU s/GB"


def measure(lab: Lab) -> Iterator[Row]:
    """Every contestant in turn, in every case."""
    for case, (photos, size, in_memory, tls) in _CASES.items():
        count = lab.count(photos, least=64)
        photos_folder = archive(lab.archives, count=count, size=size)
        chain, trusted = certificate(lab.folder) if tls else (None, None)
        names = ("floor", "ours, no fsync", "aiohttp", "httpx", "requests") if in_memory else ("floor", "ours")
        with service(output_bytes=size, tls=chain) as server:
            for name in lab.turns(*names):
                with lab.out(in_memory=in_memory) as out:
                    took = run_contestant(name, photos=photos_folder, out=out, url=server.url, trusted=trusted)
                    check_outputs(out, photos=count, output_bytes=size)
                gigabytes = count * size / 1e9
                yield Row(case, name, _CPU, took["cpu"] / gigabytes)
                yield Row(case, name, _WALL, took["wall"] / gigabytes)
                yield Row(case, name, _SERVER, server.stats()["cpu"] / gigabytes)


def compare(medians: Medians) -> Iterator[Ratio]:
    """Ours to the others'."""
    for case, (_, _, in_memory, _) in _CASES.items():
        ours = "ours, no fsync" if in_memory else "ours"
        mine = medians.get((case, ours, _CPU))
        for other, goal in {
            "floor": "≤1.5" if in_memory else "≤2",
            "aiohttp": "≤0.5",
            "httpx": "≤0.25",
            "requests": "",
        }.items():
            theirs = medians.get((case, other, _CPU))
            if mine and theirs:
                yield Ratio(case, f"{ours} / {other}, CPU", mine / theirs, goal)
        server, wall = medians.get((case, "floor", _SERVER)), medians.get((case, "floor", _WALL))
        if server and wall:
            yield Ratio(
                case,
                "server's CPU / floor's wall time: how near the server is to being the bottleneck",
                server / wall,
                "<1",
            )
