"""Faults that are made on purpose, for tests and benchmarks: the same seed and requests give the same faults."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from smarty_async.errors import OptionsError
from smarty_async.local.contract import Mode, Refusal, RequestMeta

__all__ = ["Faults", "RequestFaults"]

_RATES: Final = (
    "fail_temporary",
    "fail_permanent",
    "fail_request",
    "unavailable",
    "throttle",
    "drop",
)


class RequestFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with one request; by default nothing does.

    Attributes:
        status: 200, or the status of the error that the whole request is answered with.
        text: the text of that error.
        retry_after: what `Retry-After` says with it, in seconds; None for no header.
        latency: how long after the request's last byte its answer begins, in seconds.
        drop_after: how many whole items are sent before the connection breaks; None when it does not.
        temporary: items, by mode and name, that are answered with status 2.
        permanent: items, by mode and name, that are answered with status 1.
    """

    status: int = 200
    text: str = "error"
    retry_after: int | None = None
    latency: float = 0.0
    drop_after: int | None = None
    temporary: frozenset[tuple[Mode, str]] = frozenset()
    permanent: frozenset[tuple[Mode, str]] = frozenset()

    def refuse(self) -> None:
        """Answer the whole request with an error, if that is its fault.

        Raises:
            Refusal: with `status`.
        """
        if self.status != 200:  # noqa: PLR2004 - HTTP's own number
            raise Refusal(self.status, self.text, retry_after=self.retry_after)


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """How often each fault occurs. Rates are from 0 to 1; by default nothing goes wrong.

    Attributes:
        fail_temporary: items answered with status 2; drawn again each time an item is sent.
        fail_permanent: items answered with status 1; a property of the image, the same each time it is sent.
        fail_request: requests answered with 500.
        unavailable: requests answered with 503 and a `Retry-After`.
        throttle: requests answered with 429 and a `Retry-After`.
        drop: requests whose connection breaks in the middle of the answer.
        retry_after: what `Retry-After` says, in seconds.
        latency: how long after a request's last byte its answer begins, in seconds.
        latency_per_image: how long each item of the answer takes in addition to its work, in seconds.
        seed: another seed gives other faults at the same rates.
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

    def fails(self, image: bytes) -> bool:
        """Whether this image always fails permanently."""
        return self.fail_permanent > 0 and _random(self.seed, image).random() < self.fail_permanent

    def draw(self, meta: RequestMeta, *, number: int) -> RequestFaults:
        """Draw the faults of the request with this `number`, counted in order of arrival."""
        random = _random(self.seed, number.to_bytes(8, "big"))
        share = random.random()
        drop_after = random.randrange(len(meta.names) * len(meta.modes)) if random.random() < self.drop else None
        items = random.getrandbits(64).to_bytes(8, "big")
        status, text, retry_after = self._error(share)
        return RequestFaults(
            status=status,
            text=text,
            retry_after=retry_after,
            latency=self.latency,
            drop_after=drop_after,
            temporary=self._temporary(meta, items),
        )

    def _error(self, share: float) -> tuple[int, str, int | None]:
        """The error for a number from 0 to 1, which the errors' rates divide."""
        for rate, status, text, retry_after in (
            (self.fail_request, 500, "Internal Server Error", None),
            (self.unavailable, 503, "Service Unavailable", self.retry_after),
            (self.throttle, 429, "Too Many Requests", self.retry_after),
        ):
            if share < rate:
                return status, text, retry_after
            share -= rate
        return 200, "", None

    def _temporary(self, meta: RequestMeta, seed: bytes) -> frozenset[tuple[Mode, str]]:
        rate = self.fail_temporary
        if not rate:
            return frozenset()
        return frozenset(
            (mode, name)
            for mode in meta.modes
            for name in meta.names
            if _random(0, seed + f"{mode}/{name}".encode()).random() < rate
        )


def _random(seed: int, what: bytes) -> Random:
    # Random hashes bytes with SHA-512, so the numbers are the same in every process.
    size = max(8, seed.bit_length() // 8 + 1)  # a seed may be any integer
    return Random(seed.to_bytes(size, "big", signed=True) + what)  # noqa: S311 - must be reproducible
