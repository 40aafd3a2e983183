"""The estimate of the time left, held to recorded runs: the progress of simulated services and engines."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator

import msgspec
import pytest

from smarty_async.report.estimate import Estimator, Unit, amount
from smarty_async.results import InFlight, Progress

LOOK_EVERY = 0.5
WINDOW = 64
"""Photos that are probed before they are sent."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Photo(msgspec.Struct, frozen=True):
    """A photo of a recorded run; `sent` is False for one that earlier runs have finished."""

    size: int
    pixels: int
    sent: bool = True


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is recorded with.

    Attributes:
        permits: requests open at once.
        images: photos in one request.
        seconds: how long a request takes, by its photos.
        streams: whether photos are answered one after the other, as the embedded engine does, or all at the end.
    """

    permits: int
    images: int
    seconds: Callable[[list[Photo]], float]
    streams: bool = False


def recorded(  # noqa: C901 - a simulation
    photos: list[Photo], run: Service
) -> Iterator[tuple[float, Progress, list[InFlight]]]:
    """The progress of a run every `LOOK_EVERY` seconds; the last one is its end."""
    to_send = [photo for photo in photos if photo.sent]
    queue = [to_send[start : start + run.images] for start in range(0, len(to_send), run.images)]
    progress = Progress(found=len(photos), scanning=False, outcomes={"skipped": len(photos) - len(to_send)})
    progress.work.bytes = sum(photo.size for photo in to_send)
    events: list[tuple[float, int, list[Photo], float]] = []  # time, number, photos answered, seconds of the request
    in_flight: dict[int, Photo] = {}
    number, now, look_at = 0, 0.0, 0.0
    open_requests = 0
    unprobed = list(reversed(to_send))

    def probe() -> None:
        if unprobed:
            photo = unprobed.pop()
            progress.work.add_probed(photo.size, photo.pixels)

    def send() -> None:
        nonlocal number, open_requests
        while queue and open_requests < run.permits:
            chunk, took = queue.pop(0), 0.0
            took = run.seconds(chunk)
            open_requests += 1
            progress.requests += 1
            for index, photo in enumerate(chunk):
                number += 1
                in_flight[id(photo)] = photo
                last = index + 1 == len(chunk)
                at = now + (took * (index + 1) / len(chunk) if run.streams else took)
                heapq.heappush(events, (at, number, [photo], took if last else 0.0))

    for _ in range(WINDOW):
        probe()
    send()
    while events:
        at, _, answered, took = events[0]
        if look_at <= at:
            yield look_at, progress, [InFlight("", photo.size, photo.pixels) for photo in in_flight.values()]
            look_at += LOOK_EVERY
            continue
        heapq.heappop(events)
        now = at
        for photo in answered:
            probe()
            del in_flight[id(photo)]
            progress.work.end(photo.size, photo.pixels, sent=True)
            progress.outcomes["restored"] = progress.outcomes.get("restored", 0) + 1
        if took:
            progress.latencies.add(took)
            open_requests -= 1
            send()
    yield now, progress, []


def mixed(count: int, *, seed: int = 1) -> list[Photo]:
    """Photos from phones, scanners and old cameras, in the order of a folder tree: alike ones lie together."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    photos: list[Photo] = []
    while len(photos) < count:
        megapixels, bytes_a_pixel = chance.choice([(0.5, 0.5), (2, 0.4), (12, 0.25), (8, 0.6)])
        for _ in range(chance.randint(1, 12)):
            pixels = int(megapixels * 1e6 * chance.uniform(0.7, 1.3))
            photos.append(Photo(int(pixels * bytes_a_pixel * chance.uniform(0.7, 1.3)), pixels))
    return photos[:count]


def by_pixels(chance: random.Random) -> Callable[[list[Photo]], float]:
    return lambda photos: sum(photo.pixels * 1.1e-6 * chance.uniform(0.8, 1.3) for photo in photos)


def by_bytes(chance: random.Random, *, latency: float) -> Callable[[list[Photo]], float]:
    return lambda photos: latency * chance.uniform(0.7, 1.4) + sum(photo.size * 2e-7 for photo in photos)


def runs() -> dict[str, tuple[list[Photo], Service, Unit]]:
    chance = random.Random(7)  # noqa: S311 - a simulation
    uniform = [Photo(900_000, 3_000_000) for _ in range(2000)]
    skipped = [Photo(2_000_000, 8_000_000, sent=False) for _ in range(3000)]
    engine = Service(permits=2, images=2, seconds=by_pixels(chance), streams=True)
    return {
        "uniform, engine": (uniform[:200], engine, "pixels"),
        "mixed, engine": (mixed(300), engine, "pixels"),
        "mixed, engine, one at a time": (mixed(120, seed=5), msgspec.structs.replace(engine, permits=1), "pixels"),
        "skipped first, engine": (skipped + mixed(150, seed=2), engine, "pixels"),
        "uniform, service": (
            uniform,
            Service(permits=8, images=20, seconds=by_bytes(chance, latency=4.0)),
            "bytes",
        ),
        "mixed, service": (
            mixed(2000, seed=3),
            Service(permits=4, images=12, seconds=by_bytes(chance, latency=6.0)),
            "bytes",
        ),
        "few requests, service": (
            uniform[:200],
            Service(permits=2, images=20, seconds=by_bytes(chance, latency=8.0)),
            "bytes",
        ),
        "skipped first, service": (
            skipped + mixed(1500, seed=4),
            Service(permits=8, images=16, seconds=by_bytes(chance, latency=9.0)),
            "bytes",
        ),
    }


@pytest.mark.parametrize("name", list(runs()))
def test_from_a_fifth_of_the_job_on_the_estimate_is_within_a_factor_of_1_5(name: str) -> None:
    photos, service, unit = runs()[name]
    clock = Clock()
    estimator = Estimator(unit=unit, clock=clock)
    estimates: list[tuple[float, float, float | None]] = []
    end = 0.0
    for end, progress, in_flight in recorded(photos, service):
        clock.now = end
        estimator.look(progress, in_flight)
        done, total = amount(progress, unit=unit)
        estimates.append((end, done / total, estimator.seconds_left))
    wrong: list[str] = []
    for now, share, seconds in estimates:
        left = end - now
        if share < 0.2:
            continue
        # At the end a factor means little: a twentieth of the job is close enough.
        close = seconds is not None and (left / 1.5 <= seconds <= left * 1.5 or abs(seconds - left) <= end / 20)
        if not close:
            wrong.append(f"at {now:.1f} s ({share:.0%}): {seconds} s instead of {left:.1f} s")
    assert wrong == []
    assert any(share >= 0.2 for _, share, _ in estimates[:-1])


def test_nothing_is_made_up() -> None:
    clock = Clock()
    estimator = Estimator(unit="pixels", clock=clock)
    progress = Progress(found=10)
    estimator.look(progress)
    clock.now = 60.0
    progress.outcomes = {"skipped": 4, "rejected": 3}
    estimator.look(progress)
    assert (estimator.pace, estimator.seconds_left, estimator.seconds_a_photo, estimator.seconds_to_drain) == (
        None,
        None,
        None,
        None,
    )


def test_the_pace_of_earlier_runs_counts_until_there_is_one() -> None:
    clock = Clock()
    estimator = Estimator(unit="bytes", known_pace=2.0, clock=clock)
    progress = Progress(found=10, scanning=False)
    progress.work.bytes = 10_000_000
    estimator.look(progress)
    assert estimator.seconds_left == pytest.approx(20.0)
    assert estimator.measured_pace is None
    progress.requests = 1
    estimator.look(progress)
    for clock.now in range(1, 61):
        progress.work.bytes_done += 100_000
        estimator.look(progress)
    assert estimator.measured_pace == pytest.approx(10.0)
    assert estimator.pace == pytest.approx(10.0, rel=0.35)


def test_open_work_takes_its_share_of_the_pace() -> None:
    clock = Clock()
    estimator = Estimator(unit="pixels", known_pace=3.0, clock=clock)
    estimator.look(Progress(found=2), [InFlight("a.jpg", 1, 2_000_000), InFlight("b.jpg", 1, 1_000_000)])
    assert estimator.seconds_to_drain == pytest.approx(9.0)


def test_memory_is_the_same_for_a_long_run() -> None:
    clock = Clock()
    estimator = Estimator(unit="bytes", clock=clock)
    progress = Progress(found=1, requests=1)
    for _ in range(50_000):
        clock.now += 0.5
        progress.work.bytes_done += 1000
        estimator.look(progress)
    assert len(estimator._samples) < 1000
