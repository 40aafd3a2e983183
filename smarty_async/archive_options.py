"""What a run over an archive is to do: the caller's keywords, and the same as one checked value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgspec

from smarty_async.errors import OptionsError
from smarty_async.options import Mode, ModeSpec, check_modes, images_for
from smarty_async.results import KINDS, KINDS_BY_MODE, Kind
from smarty_async.store_address import StoreAddress, is_store_address, local_path

__all__ = ["ArchiveKeywords", "ArchiveOptions", "PathLike", "StoreOptions"]

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
        listed: more paths, one photo or folder each.
        fit: send a smaller copy of a photo that exceeds the limits, instead of rejecting it.
        outputs: the kinds of output to keep; all when empty.
        strip_metadata: leave the photo's metadata (EXIF, XMP, IPTC) out of the outputs.
        retry_failed: send photos again that failed in an earlier run.
        redo_missing: send, and pay for, photos again whose outputs are no longer there.
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
            if value is not None and not value >= 0:
                raise OptionsError(f"{name} must not be negative, but is {value}")
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
        run, total = images_for(self.max_cost), images_for(self.max_cost_total)
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
        sources = (source,) if isinstance(source, str | os.PathLike) else source
        values["specs"] = check_modes(
            values.pop("modes", ("improve",)),
            values.pop("rfactor", None),
            values.pop("rtype", None),
            chain=values.pop("chain", False),
        )
        for name, kind in (("include", tuple), ("exclude", tuple), ("outputs", frozenset)):
            values[name] = kind(values.get(name, ()))
        values["store_options"] = StoreOptions(dict(values.get("store_options") or {}))
        if values.get("state") is not None:
            values["state"] = Path(local_path(values["state"], option="--state")).absolute()
        return cls(sources=tuple(_place(one, option="a source") for one in sources), out=_out_of(out), **values)


def _place(place: PathLike, *, option: str) -> str:
    """A path, or the address of a store as it is written everywhere."""
    return str(StoreAddress.parse(str(place))) if is_store_address(place) else local_path(place, option=option)


def _out_of(out: PathLike) -> Path | StoreAddress:
    if is_store_address(out):
        return StoreAddress.parse(str(out))
    return Path(local_path(out, option="--out")).absolute()
