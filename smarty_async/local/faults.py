"""Trouble made on purpose, for tests and benchmarks: the same seed and requests make the same trouble."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from smarty_async.errors import OptionsError
from smarty_async.local.contract import Mode, Refusal

__all__ = ["Fate", "Faults"]

_RATES: Final = (
    "fail_temporary",
    "fail_permanent",
    "fail_request",
    "unavailable",
    "throttle",
    "drop",
)


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """How often what goes wrong. Rates are 0 to 1; by default nothing does.

    Attributes:
        fail_temporary: items answered with status 2; drawn anew each time an item is asked for.
        fail_permanent: items answered with status 1; a property of the image, the same each time it comes.
        fail_request: requests answered with 500.
        unavailable: requests answered with 503 and a `Retry-After`.
        throttle: requests answered with 429 and a `Retry-After`.
        drop: requests whose connection breaks in the middle of the answer.
        retry_after: what `Retry-After` says, in seconds.
        latency: how long after a request's last byte its answer begins, in seconds.
        latency_per_image: how long each item of the answer takes beside its work, in seconds.
        seed: another one makes the same share of trouble elsewhere.
    """

    fail_temporary: float = 0.0
    fail_permanent: float = 0.0
    fail_request: float = 0.0
    unavailable: float = 0.0
    throttle: float = 0.0
    drop: float = 0.0
    retry_after: int = 1
    latency: float = 0.0
    latency_per_image: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise OptionsError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("retry_after", "latency", "latency_per_image"):
            if not getattr(self, name) >= 0:
                raise OptionsError(f"{name} must not be negative, not {getattr(self, name)}")

    def spoils(self, image: bytes) -> bool:
        """Whether this image is one of those that never come to a good end."""
        return self.fail_permanent > 0 and _dice(self.seed, image).random() < self.fail_permanent


class Fate:
    """What will go wrong with one request.

    Attributes:
        drop_after: how many whole items go out before the connection breaks; None when it holds.
    """

    def __init__(self, faults: Faults, *, number: int, items: int) -> None:
        """Draw the fate of the request `number`, counted as they arrive, that asks for so many `items`."""
        dice = _dice(faults.seed, number.to_bytes(8, "big"))
        self._faults = faults
        self._refusal = dice.random()
        self.drop_after = dice.randrange(items) if dice.random() < faults.drop else None
        self._items = dice.getrandbits(64).to_bytes(8, "big")

    def refuse(self) -> None:
        """Answer with an error, if it is this request's turn.

        Raises:
            Refusal: 500, 503 or 429.
        """
        faults, wait = self._faults, self._faults.retry_after
        bound = faults.fail_request
        if self._refusal < bound:
            raise Refusal(500, "Internal Server Error")
        bound += faults.unavailable
        if self._refusal < bound:
            raise Refusal(503, "Service Unavailable", retry_after=wait)
        bound += faults.throttle
        if self._refusal < bound:
            raise Refusal(429, "Too Many Requests", retry_after=wait)

    def fails(self, mode: Mode, name: str) -> bool:
        """Whether this item is answered with status 2 this time."""
        rate = self._faults.fail_temporary
        return rate > 0 and _dice(0, self._items + f"{mode}/{name}".encode()).random() < rate


def _dice(seed: int, what: bytes) -> Random:
    # Random hashes bytes with SHA-512, the same in every process.
    return Random(seed.to_bytes(8, "big", signed=True) + what)  # noqa: S311 - reproducible is the point
