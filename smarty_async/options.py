"""What a caller may choose: frozen structs, checked once, when they are made.

`ArchiveKeywords` are the keywords of a run over an archive, `ArchiveOptions` the same as one checked value.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast, get_args

import msgspec

from smarty_async.argument_checks import check_count, check_numbers, check_printable, check_type
from smarty_async.errors import OptionsError
from smarty_async.results import KINDS, KINDS_BY_MODE, PRICE, Kind
from smarty_async.store_address import StoreAddress, is_store_address, local_path

__all__ = [
    "AUTH_URL",
    "BASE_URL",
    "MODES",
    "PATH",
    "PROVIDER",
    "ArchiveKeywords",
    "ArchiveOptions",
    "Limits",
    "Mode",
    "ModeSpec",
    "OAuthCredentials",
    "PathLike",
    "Retries",
    "StoreOptions",
    "Timeouts",
    "check_modes",
    "is_loopback",
    "rounds",
]


Mode = Literal["improve", "resolution"]
"""What can be asked of the service; the values of ``meta.mode``."""

MODES: tuple[Mode, ...] = get_args(Mode)

BASE_URL = "https://smarty.mail.ru"
PATH = "/api/v1/photo/improve"
PROVIDER = "mcs"
AUTH_URL = "https://mcs.mail.ru/auth/oauth/v1/token"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may carry, there and back. MB is 1,000,000 bytes.

    Attributes:
        max_images: images a request. The service's older page says 48, a newer one 100.
        max_image_bytes: bytes of one image; None for no limit, as the embedded service has none. The older page says
            8 MB, a newer one 15 MB.
        max_dimensions: pixels of the longer and of the shorter side, which photos over them are warned of, and
            fitted to on demand; None for no limit, as the embedded service has none.
        max_pixels: pixels of one image in all, past which it is fitted or refused.
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
        check_numbers(self, may_be_none=("max_image_bytes", "max_dimensions"))
        sides = cast("object", self.max_dimensions)
        if sides is not None and not (isinstance(sides, tuple) and len(cast("tuple[object, ...]", sides)) == 2):  # noqa: PLR2004 - width and height
            raise OptionsError(f"max_dimensions must be two numbers of pixels, such as (3840, 2160), not {sides}")


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How long to go on asking.

    Attributes:
        max_attempts: how often one photo, or one request, is tried at most. A request that was tried so often is
            halved, and each half is tried twice, until the photo that makes requests fail is alone.
        max_seconds: how long after its first answer a photo is sent again at most, in seconds.
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
        check_numbers(self, may_be_zero=("first_wait", "longest_wait"))


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """When to stop waiting. There is no limit on a request's total time: a lost answer has been paid for.

    Attributes:
        connect: for a connection to open, in seconds.
        silence: without one byte sent or received, in seconds.
    """

    connect: float = 10.0
    silence: float = 300.0

    def __post_init__(self) -> None:
        check_numbers(self)


class ModeSpec(msgspec.Struct, frozen=True, order=True, dict=True):
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

    @classmethod
    def parse(cls, text: str) -> ModeSpec:
        """The spec of a `text`."""
        mode, *settings = text.split(":")
        rfactor, rtype = (int(settings[0]), settings[1]) if settings else (None, None)
        return cls(cast("Mode", mode), rfactor, rtype, "chained" in settings)

    @cached_property
    def text(self) -> str:
        """The spec as one word, which the journal stores."""
        settings = () if self.rfactor is None else (str(self.rfactor), str(self.rtype))
        return ":".join((self.mode, *settings, *(("chained",) if self.chained else ())))

    def __str__(self) -> str:
        return self.text


def rounds(specs: Collection[ModeSpec]) -> list[tuple[ModeSpec, ...]]:
    """`specs` in the rounds they are asked for in: a chained enlargement waits for the restored picture."""
    parts = [tuple([spec for spec in specs if spec.chained is chained]) for chained in (False, True)]
    return [part for part in parts if part]


_ALL_MONEY = 1e15
"""A limit above so many rubles, such as infinity, counts as no limit."""


def _images_for(rubles: float | None) -> int | None:
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
    check_type("modes", modes, Iterable)
    check_type("chain", chain, bool)
    asked = (modes,) if isinstance(modes, str) else tuple(modes)
    if not asked or not all(mode in MODES for mode in asked):
        given = ", ".join(sorted({str(mode) for mode in asked}))
        raise OptionsError(f"modes must be some of {', '.join(MODES)}, not {given or 'none'}")
    if chain and set(asked) != set(MODES):
        raise OptionsError("chain (--chain) enlarges the restored picture: it needs both modes, improve and resolution")
    if "resolution" not in asked:
        if rfactor is not None or rtype is not None:
            raise OptionsError(
                "rfactor (--rfactor) and rtype (--rtype) go with the resolution mode only: add it, or leave them out"
            )
        return (ModeSpec("improve"),)
    if rfactor not in (2, 4):
        raise OptionsError(f"resolution needs rfactor (--rfactor) 2 or 4, not {rfactor!r}")
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
        for name in self.__struct_fields__:
            required = name in ("client_id", "auth_url")
            check_type(name, getattr(self, name), *((str,) if required else (str, None)))
            check_printable(name, getattr(self, name) or "")
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


PathLike = str | os.PathLike[str]


class ArchiveKeywords(TypedDict, total=False):
    """The keywords of `SmartyClient.improve_archive` and `plan_archive`; `ArchiveOptions` explains each."""

    modes: Iterable[Mode]
    rfactor: int | None
    rtype: str | None
    chain: bool
    include: Iterable[str]
    exclude: Iterable[str]
    listed: Iterable[str | bytes]
    fit: bool
    outputs: Iterable[Kind]
    strip_metadata: bool
    retry_failed: bool
    redo_missing: bool
    max_photos: int | None
    max_cost: float | None
    max_cost_total: float | None
    state: PathLike | None
    store_options: Mapping[str, Any]


_PATH = (str, os.PathLike)

_KEYWORD_TYPES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("include", "exclude", "listed", "outputs"), (Iterable,)),
    **dict.fromkeys(("fit", "strip_metadata", "retry_failed", "redo_missing"), (bool,)),
    **dict.fromkeys(("max_photos", "max_cost", "max_cost_total"), (int, float, None)),
    "state": (*_PATH, None),
    "store_options": (Mapping, None),
}
"""What keywords of a run must be; `check_modes` checks those of the modes."""


class StoreOptions(msgspec.Struct, frozen=True):
    """What a store is opened with, besides the environment; its `repr` shows no value.

    Attributes:
        values: keywords of obstore's stores: ``endpoint``, ``region``, ``access_key_id``, ``credential_provider`` …
    """

    values: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"StoreOptions({', '.join(sorted(self.values))})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec gives one that shows every field, and rich's tracebacks use it.
        return [("values", sorted(self.values))]


class ArchiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is to do.

    Attributes:
        sources: folders, files and globs, and addresses of stores.
        out: the output folder, an absolute path; or a folder of a bucket.
        specs: the modes that every photo is sent with.
        include: patterns of photos to take; all when empty.
        exclude: patterns of photos to leave out.
        listed: more paths, one photo or folder each; empty ones are left out.
        fit: send a smaller copy of a photo that exceeds the limits, instead of rejecting it.
        outputs: the kinds of output to keep; all when empty.
        strip_metadata: leave the photo's metadata (EXIF, XMP, IPTC) out of the outputs.
        retry_failed: send photos again that failed in an earlier run.
        redo_missing: send, and pay for, photos again whose outputs are no longer there, or are asked for and were not
            kept.
        max_photos: photos sent in this run, at most.
        max_cost: estimated cost of this run, in ₽, at most.
        max_cost_total: estimated cost of all runs over `out` together, in ₽, at most.
        state: the folder of the journal and the temporary files, when `out` is in a bucket; None for one below the
            user's own folder for such things.
        store_options: what the stores of `sources` and `out` are opened with, besides the environment.
    """

    sources: Sequence[str]
    out: Path | StoreAddress
    specs: tuple[ModeSpec, ...] = (ModeSpec("improve"),)
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    listed: Iterable[str | bytes] = ()
    fit: bool = False
    outputs: frozenset[Kind] = frozenset()
    strip_metadata: bool = False
    retry_failed: bool = False
    redo_missing: bool = False
    max_photos: int | None = None
    max_cost: float | None = None
    max_cost_total: float | None = None
    state: Path | None = None
    store_options: StoreOptions = StoreOptions()

    def __post_init__(self) -> None:
        for name in ("max_photos", "max_cost", "max_cost_total"):
            value = getattr(self, name)
            option = f"{name} (--{name.replace('_', '-')})"
            if value is not None and not value >= 0:
                raise OptionsError(f"{option} must not be negative, but is {value}")
            if name == "max_photos" and value is not None:
                check_count(option, value)
        if unknown := self.outputs - set(KINDS):
            raise OptionsError(f"outputs must be some of {', '.join(KINDS)}, not {', '.join(sorted(unknown))}")
        if self.outputs and not any(self.outputs & set(KINDS_BY_MODE[spec.mode]) for spec in self.specs):
            modes = " and ".join(spec.mode for spec in self.specs)
            kept = ", ".join(sorted(self.outputs))
            raise OptionsError(f"nothing would be kept: {modes} makes no {kept}; change outputs, or the modes")
        if self.state is not None and isinstance(self.out, Path):
            raise OptionsError("state (--state) goes with an --out in a bucket: a folder holds its journal itself")
        if self.outputs and any(spec.chained for spec in self.specs) and not self.outputs & {"improved"}:
            raise OptionsError("chain enlarges the restored picture, which must be kept: add improved to outputs")

    def images_left(self, paid: int) -> int | None:
        """Images that the run may still pay for; None for no limit.

        Args:
            paid: images paid for in earlier runs over `out`.
        """
        run, total = _images_for(self.max_cost), _images_for(self.max_cost_total)
        limits = [limit for limit in (run, None if total is None else max(0, total - paid)) if limit is not None]
        return min(limits, default=None)

    @classmethod
    def of(
        cls, source: PathLike | Sequence[PathLike], *, out: PathLike, **keywords: Unpack[ArchiveKeywords]
    ) -> ArchiveOptions:
        """The options for a caller's arguments.

        Raises:
            OptionsError: the arguments do not go together.
        """
        values: dict[str, Any] = {**keywords}
        check_type("source", source, *_PATH, Iterable)
        sources = (source,) if isinstance(source, str | os.PathLike) else tuple(source)
        for one in sources:
            check_type("a source", one, *_PATH)
        check_type("out", out, *_PATH)
        for name, types in _KEYWORD_TYPES.items():
            if name in values:
                check_type(name, values[name], *types)
        values["specs"] = check_modes(
            values.pop("modes", ("improve",)),
            values.pop("rfactor", None),
            values.pop("rtype", None),
            chain=values.pop("chain", False),
        )
        for name in ("include", "exclude", "outputs", "listed"):
            if isinstance(given := values.get(name), str | bytes):  # one value, not one for each of its letters
                values[name] = (given,)
        for name, kind in (("include", tuple), ("exclude", tuple), ("outputs", frozenset)):
            texts = tuple(values.get(name, ()))
            for text in texts:
                check_type(f"each of {name}", text, str)
            values[name] = kind(texts)
        values["store_options"] = StoreOptions(dict(values.get("store_options") or {}))
        if values.get("state") is not None:
            values["state"] = Path(local_path(values["state"], option="--state")).absolute()
        return cls(
            sources=tuple(_path_or_address(one, option="a source") for one in sources), out=_out_of(out), **values
        )


def _path_or_address(source: PathLike, *, option: str) -> str:
    """A path, or the address of a store as it is written everywhere."""
    return str(StoreAddress.parse(str(source))) if is_store_address(source) else local_path(source, option=option)


def _out_of(out: PathLike) -> Path | StoreAddress:
    if is_store_address(out):
        return StoreAddress.parse(str(out))
    return Path(local_path(out, option="--out")).absolute()
