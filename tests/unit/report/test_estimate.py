"""The estimate of the time left, held to recorded runs and to the progress of simulated services and engines."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from support.recordings import RECORDINGS, Recording

from smarty_async.progress import InFlight, Latencies, Progress, Work
from smarty_async.report.estimate import Estimator, Unit, amount

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
            progress.work.bytes_probed += photo.size
            progress.work.pixels_probed += photo.pixels

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
            progress.work.bytes_done += photo.size
            progress.work.pixels_done += photo.pixels
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


Moment = tuple[float, Progress, list[InFlight]]
"""Seconds since a run began, how far it had come, and the photos in open requests."""


def check_estimates(moments: Iterator[Moment], *, unit: Unit, known_pace: float | None = None) -> None:
    """From a fifth of the job on, every estimate is within a factor of 1.5."""
    clock = Clock()
    estimator = Estimator(unit=unit, known_pace=known_pace, clock=clock)
    estimates: list[tuple[float, float, float | None]] = []
    end, latencies = 0.0, Latencies()
    for end, progress, in_flight in moments:
        latencies = progress.latencies
        clock.now = end
        estimator.look(progress, in_flight)
        done, total = amount(progress, unit=unit)
        estimates.append((end, done / total if total else 0.0, estimator.seconds_left))
    wrong: list[str] = []
    for now, share, seconds in estimates:
        left = end - now
        if share < 0.2:
            continue
        # At the end a factor means little: a twentieth of the job, or the time of one request, is close enough.
        near = max(end / 20, latencies.seconds / max(1, latencies.count))
        close = seconds is not None and (left / 1.5 <= seconds <= left * 1.5 or abs(seconds - left) <= near)
        if not close:
            wrong.append(f"at {now:.1f} s ({share:.0%}): {seconds} s instead of {left:.1f} s")
    assert wrong == []
    assert any(share >= 0.2 for _, share, _ in estimates[:-1])


@pytest.mark.parametrize("name", list(runs()))
def test_from_a_fifth_of_a_simulated_job_on_the_estimate_is_within_a_factor_of_1_5(name: str) -> None:
    photos, service, unit = runs()[name]
    check_estimates(recorded(photos, service), unit=unit)


def moments_of(recording: Recording) -> Iterator[Moment]:
    for sample in recording.samples:
        progress = Progress(
            found=sample.found,
            scanning=sample.scanning,
            ahead=sample.ahead,
            outcomes={"restored": sample.sent, "skipped": sample.others},
            requests=sample.requests,
            work=Work(
                bytes=sample.bytes,
                bytes_ahead=sample.bytes_ahead,
                bytes_done=sample.bytes_done,
                bytes_probed=sample.bytes_probed,
                pixels_probed=sample.pixels_probed,
                pixels_done=sample.pixels_done,
            ),
        )
        progress.latencies.counts[0] = sample.answers
        progress.latencies.seconds = sample.answer_seconds
        photos = max(1, sample.open_photos)
        photo = InFlight("", sample.open_bytes // photos, sample.open_pixels // photos)
        yield sample.seconds, progress, [photo] * sample.open_photos


@pytest.mark.parametrize("times", [None, 0.1, 10.0])
@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
def test_from_a_fifth_of_a_recorded_run_on_the_estimate_is_within_a_factor_of_1_5(
    path: Path, times: float | None
) -> None:
    recording = msgspec.json.decode(path.read_bytes(), type=Recording)
    end = recording.samples[-1]
    pace = end.seconds * 1e6 / (end.pixels_done if recording.unit == "pixels" else end.bytes_done)
    # An earlier run's pace, even one that is wrong by a factor of ten, makes it no worse.
    check_estimates(moments_of(recording), unit=recording.unit, known_pace=times and times * pace)


def begun(clock: Clock) -> tuple[Estimator, Progress]:
    """A run of a hundred photos of a megabyte, at its first request."""
    estimator = Estimator(unit="bytes", clock=clock)
    progress = Progress(found=100, scanning=False, requests=1)
    progress.work.bytes = 100_000_000
    estimator.look(progress)
    return estimator, progress


def test_an_estimate_is_announced_when_it_can_be_believed() -> None:
    clock = Clock()
    estimator, progress = begun(clock)
    assert Estimator(unit="bytes", known_pace=1.0).telling
    clock.now = 2.0
    progress.outcomes["restored"] = 1
    progress.work.bytes_done = 1_000_000
    estimator.look(progress)
    assert not estimator.telling
    progress.outcomes["restored"] = 5
    progress.work.bytes_done = 5_000_000
    estimator.look(progress)
    assert estimator.telling


def test_the_first_photos_of_a_long_run_are_believed_after_a_while() -> None:
    clock = Clock()
    estimator = Estimator(unit="bytes", clock=clock)
    progress = Progress(found=100_000, scanning=True, ahead=900_000, requests=1)
    progress.work.bytes = progress.work.bytes_ahead = 10**12
    estimator.look(progress)
    progress.outcomes["restored"] = 1
    progress.work.bytes_done = 1_000_000
    for clock.now in range(1, 32):
        estimator.look(progress)
    assert estimator.telling
    assert estimator.seconds_left == pytest.approx(2e12 / 1e6 * 31, rel=0.01)


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
    for clock.now in range(1, 6):
        progress.work.bytes_done += 100_000
        estimator.look(progress)
    assert estimator.measured_pace == pytest.approx(10.0)
    assert estimator.pace == pytest.approx(6.0)  # half of a tenth is done
    for clock.now in range(6, 11):
        progress.work.bytes_done += 100_000
        estimator.look(progress)
    assert estimator.pace == pytest.approx(10.0)


def test_time_in_which_the_process_was_stopped_is_no_part_of_the_pace() -> None:
    clock = Clock()
    estimator, progress = begun(clock)
    for second in range(1, 51):
        clock.now += 1 if second != 25 else 2000
        progress.work.bytes_done += 1_000_000
        estimator.look(progress)
    assert estimator.measured_pace == pytest.approx(1.0, rel=0.1)
    assert estimator.seconds_left == pytest.approx(50, rel=0.1)
    assert estimator.seconds < 60


def test_open_work_takes_its_share_of_the_pace() -> None:
    clock = Clock()
    estimator = Estimator(unit="pixels", known_pace=3.0, clock=clock)
    estimator.look(Progress(found=2), [InFlight("a.jpg", 1, 2_000_000), InFlight("b.jpg", 1, 1_000_000)])
    assert estimator.seconds_to_drain == pytest.approx(9.0)


@pytest.mark.slow
def test_memory_is_the_same_for_a_long_run() -> None:
    clock = Clock()
    estimator = Estimator(unit="bytes", clock=clock)
    progress = Progress(found=1, requests=1)
    for _ in range(50_000):
        clock.now += 0.5
        progress.work.bytes_done += 1000
        estimator.look(progress)
    assert len(estimator._samples) < 1000
