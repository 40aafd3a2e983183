"""What a caller may choose: frozen structs, checked once, when they are made."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Literal, cast, get_args

import msgspec

from smarty_async.errors import OptionsError

__all__ = [
    "AUTH_URL",
    "BASE_URL",
    "MODES",
    "PATH",
    "PRICE",
    "PROVIDER",
    "Limits",
    "Mode",
    "ModeSpec",
    "OAuthCredentials",
    "Retries",
    "Timeouts",
    "check_modes",
    "images_for",
    "is_loopback",
]

Mode = Literal["improve", "resolution"]
"""What can be asked of the service; the values of ``meta.mode``."""

MODES: tuple[Mode, ...] = get_args(Mode)

BASE_URL = "https://smarty.mail.ru"
PATH = "/api/v1/photo/improve"
PROVIDER = "mcs"
AUTH_URL = "https://mcs.mail.ru/auth/oauth/v1/token"

PRICE = 0.06
"""₽ for one image and mode set, the first million a month (the service's price list); an estimate's basis."""


def _check_numbers(struct: msgspec.Struct, *, may_be_zero: tuple[str, ...] = ()) -> None:
    for name in struct.__struct_fields__:
        value: Any = getattr(struct, name)
        if value is None:
            continue
        value = min(cast("tuple[float, ...]", value)) if isinstance(value, tuple) else value
        if not (value >= 0 if name in may_be_zero else value > 0):
            raise OptionsError(f"{name} must be {'at least' if name in may_be_zero else 'greater than'} 0, not {value}")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may carry, there and back. MB is 1,000,000 bytes.

    Attributes:
        max_images: images a request. The service's older page says 48, a newer one 100.
        max_image_bytes: bytes of one image; None for no limit, as the embedded service has none. The older page says
            8 MB, a newer one 15 MB.
        max_dimensions: pixels of the longer and of the shorter side, which photos over them are warned of, and
            fitted to on demand; None for no limit, as the embedded service has none.
        max_pixels: pixels of one image in all, past which it is fitted or refused; what the embedded service
            decodes.
        max_request_bytes: bytes of a whole request body that carries several images (newer page: 30 MB).
            A single image may go alone whatever this says.
        max_output_bytes: what one output may decode to; ten times what a 3840×2160 photo enlarged four times takes.
            A longer one is not kept.
    """

    max_images: int = 48
    max_image_bytes: int | None = 8_000_000
    max_dimensions: tuple[int, int] | None = (3840, 2160)
    max_pixels: int = 64_000_000
    max_request_bytes: int = 30_000_000
    max_output_bytes: int = 256_000_000

    def __post_init__(self) -> None:
        _check_numbers(self)


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How long to go on asking.

    Attributes:
        max_attempts: how often one photo, or one request, is tried at most.
        max_seconds: how long one photo is tried at most, in seconds.
        first_wait: the first backoff, in seconds; it doubles from there, with full jitter.
        longest_wait: the longest backoff, in seconds.
        longest_retry_after: what a `Retry-After` is capped at, in seconds.
        give_up_after: how long the service may fail every request before the job is given up, in seconds.
        give_up_single_after: the same for one photo in memory (`SmartyClient.improve`), whose caller waits, in seconds.
        give_up_before_first: the same while it has not answered once in this run, in seconds: a wrong
            address shows itself soon.
    """

    max_attempts: int = 5
    max_seconds: float = 3600.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 120.0
    give_up_after: float = 900.0
    give_up_single_after: float = 150.0
    give_up_before_first: float = 20.0

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("first_wait", "longest_wait"))


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """When to stop waiting. There is no limit on a request's total time: a lost answer has been paid for.

    Attributes:
        connect: for a connection to open, in seconds.
        silence: without one byte sent or received, in seconds.
    """

    connect: float = 10.0
    silence: float = 300.0

    def __post_init__(self) -> None:
        _check_numbers(self)


class ModeSpec(msgspec.Struct, frozen=True, order=True):
    """A mode with its settings: what is asked for a photo, and what the journal marks as done.

    Attributes:
        mode: ``improve`` or ``resolution``.
        rfactor: 2 or 4, for ``resolution`` only.
        rtype: ``art`` or ``photo``, for ``resolution`` only.
        chained: for ``resolution``: the picture that ``improve`` made is enlarged, not the photo itself.
    """

    mode: Mode
    rfactor: int | None = None
    rtype: str | None = None
    chained: bool = False

    def __str__(self) -> str:
        settings = () if self.rfactor is None else (str(self.rfactor), str(self.rtype))
        return ":".join((self.mode, *settings, *(("chained",) if self.chained else ())))


_ALL_MONEY = 1e15
"""Rubles beyond which a limit is none: infinity, for example."""


def images_for(rubles: float | None) -> int | None:
    """How many images `rubles` pay for, by the estimate; None for no bound."""
    if rubles is None or rubles > _ALL_MONEY:
        return None
    return int(rubles / PRICE + 1e-9)  # 0.18 ₽ are three images, whatever floats say


def check_modes(
    modes: Iterable[str], rfactor: int | None, rtype: str | None, *, chain: bool = False
) -> tuple[ModeSpec, ...]:
    """The mode specs for `modes`, in the API's order.

    Raises:
        OptionsError: no mode, an unknown one, or `rfactor`, `rtype` or `chain` without the modes they belong to.
    """
    if isinstance(modes, str):
        modes = (modes,)
    asked = set(modes)
    if not asked or asked - set(MODES):
        raise OptionsError(f"modes must be some of {', '.join(MODES)}, not {', '.join(sorted(asked)) or 'none'}")
    if chain and asked != set(MODES):
        raise OptionsError("chain (--chain) enlarges the restored picture: it needs both modes, improve and resolution")
    if "resolution" not in asked:
        if rfactor is not None or rtype is not None:
            raise OptionsError("rfactor and rtype go with the resolution mode only: add it, or leave them out")
        return (ModeSpec("improve"),)
    if rfactor not in (2, 4):
        raise OptionsError(f"resolution needs rfactor (--rfactor) 2 or 4, not {rfactor}")
    if rtype not in ("art", "photo", None):
        raise OptionsError(f"rtype (--rtype) must be art or photo, not {rtype}")
    enlarge = ModeSpec("resolution", int(rfactor), rtype or "photo", chain)
    return (ModeSpec("improve"), enlarge) if "improve" in asked else (enlarge,)


class OAuthCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token is asked for with; its `repr` shows none of it.

    Attributes:
        client_id: the project's id.
        client_secret: its secret; None when there is a refresh token.
        refresh_token: from an earlier grant.
        auth_url: where tokens are granted.
    """

    client_id: str
    client_secret: str | None = None
    refresh_token: str | None = None
    auth_url: str = AUTH_URL

    def __post_init__(self) -> None:
        if not self.client_id or not (self.client_secret or self.refresh_token):
            raise OptionsError("OAuth needs a client_id, and a client_secret or a refresh_token")

    def __repr__(self) -> str:
        return f"OAuthCredentials(auth_url={self.auth_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec gives one that shows every field, and rich's tracebacks use it.
        return [("auth_url", self.auth_url)]


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, so that a token sent there travels no network.

    Args:
        host: a name or an IP address as it goes into a request: in ASCII, without brackets.
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
