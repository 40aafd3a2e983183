"""What is to happen, all of it from one number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from faults.album import Photo, make_album
from faults.mischief import EARLY, LATE
from faults.server import Mood

_OUTAGES = ("lost_at_once", "lost_in_upload", "refused_in_upload", "throttled", "out_of_order", "html")
_POISON = (
    "could not get image by name {name}: http: no such file",
    "empty image",
    "image {name}: unsupported",
    "bad jpeg",
)

End = Literal["kill", "term", "int", "twice"]
Harm = Literal["lost", "garbled", "cut"]


@dataclass(frozen=True)
class Life:
    """One run of the program.

    Attributes:
        mood: what the server is out for meanwhile.
        options: of this run.
        end: how it is cut short; None when it may go on to its end.
        after: what the end waits for: so many requests begun, or answered.
        delay: and then so many seconds.
        bound: images that may be sent, None when there is no bound.
        harm: what becomes of the journal afterwards; None for nothing.
    """

    mood: Mood
    options: tuple[str, ...] = ()
    end: End | None = None
    after: tuple[Literal["request", "answer"], int] = ("request", 1)
    delay: float = 0.0
    bound: int | None = None
    harm: Harm | None = None

    @property
    def may_end_unauthorized(self) -> bool:
        # A token that can be renewed is renewed once for a photo: a refusal may follow on its expiry.
        return bool(self.mood.token_refusals) or "redirected" in self.mood.faults


@dataclass(frozen=True)
class Schedule:
    """The archive, the options of all its runs, and the runs that precede the clean one."""

    seed: int
    album: list[Photo]
    modes: tuple[str, ...]
    options: tuple[str, ...]
    oauth: bool
    lives: list[Life]

    @property
    def secret(self) -> str:
        return f"bait{self.seed}of{Random(self.seed).getrandbits(80):x}"  # noqa: S311 - bait

    def clean(self) -> Mood:
        return Mood(seed="clean")


def make_schedule(seed: int, archive: Path) -> Schedule:
    """The schedule of this number; its archive is written to the folder `archive`."""
    dice = Random(f"schedule {seed}")  # noqa: S311 - dice, not secrets
    album = make_album(archive, dice, photos=dice.choice([3, 8, 16, 24, 40]))
    modes = dice.choice([("improve",), ("resolution",), ("improve", "resolution"), ("improve", "resolution")])
    max_images, oauth = dice.randint(1, 5), dice.random() < 0.35
    options = ["--max-images", str(max_images), "--concurrency", str(dice.randint(1, 4))]
    options += ["--max-attempts", str(dice.randint(2, 5))]
    for mode in modes:
        options += ["--mode", mode]
    if "resolution" in modes:
        options += ["--rfactor", dice.choice("24")]
    if dice.random() < 0.2:
        options += ["--max-request-bytes", str(dice.choice([3_000, 20_000]))]
    lives = [_life(dice, f"{seed}:{n}", album, max_images, oauth=oauth) for n in range(dice.randint(1, 3))]
    return Schedule(seed, album, modes, tuple(options), oauth, lives)


def _life(dice: Random, seed: str, album: list[Photo], max_images: int, *, oauth: bool) -> Life:
    options = ["--silence-timeout", "1.5", "--give-up-after", "1.5"]
    bound: int | None = None
    if dice.random() < 0.2:
        options.append("--retry-failed")
    if dice.random() < 0.12:
        bound = dice.randint(0, len(album))
        options += ["--max-cost", f"{bound * 0.06:.2f}"]
    end: End | None = dice.choice(["kill", "kill", "term", "int", "twice", None, None])
    event: Literal["request", "answer"] = dice.choice(["request", "answer"])
    after = event, dice.randint(1, max(2, 3 * len(album) // max_images))
    mood = _mood(dice, seed, album, max_images, oauth=oauth)
    delay = dice.choice([0, 0, 0.001, 0.01, 0.05])
    harm: Harm | None = dice.choice(["lost", "garbled", "cut"]) if dice.random() < 0.15 else None
    return Life(mood, tuple(options), end, after, delay, bound, harm)


def _mood(dice: Random, seed: str, album: list[Photo], max_images: int, *, oauth: bool) -> Mood:
    if dice.random() < 0.08:
        return Mood(seed=seed, faults=(dice.choice(_OUTAGES),), rate=1.0, max_images=max_images)
    every = sorted({*EARLY, *LATE} - {"redirected"})
    faults = dice.sample(every, dice.randint(1, 6)) + (["redirected"] if dice.random() < 0.05 else [])
    contents = sorted({photo.content for photo in album if photo.content})
    poisoned = [content for content in contents if dice.random() < 0.15] if dice.random() < 0.4 else []
    return Mood(
        seed=seed,
        faults=tuple(faults),
        rate=dice.choice([0.2, 0.4, 0.6, 0.8]),
        poison={content: dice.choice(_POISON) for content in poisoned},
        max_images=max_images,
        max_bytes=dice.choice([30_000_000] * 4 + [40_000, 4_000]),
        token_requests=dice.choice([None, 8, 20]) if oauth else None,
        token_refusals=frozenset(dice.sample(range(40), 2)) if dice.random() < 0.1 else frozenset(),
    )
