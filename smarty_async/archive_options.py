"""What a run over an archive is to do: the caller's keywords, and the same as one checked value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgspec

from smarty_async.errors import OptionsError
from smarty_async.options import Mode, ModeSpec, check_modes, images_for
from smarty_async.results import KINDS, KINDS_BY_MODE, Kind

__all__ = ["ArchiveKeywords", "ArchiveOptions", "PathLike", "local_path"]

PathLike = str | os.PathLike[str]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_URL_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""A URL from which `pathlib.Path` has removed a slash; or a path below a folder whose name ends in a colon."""
_USER = re.compile(r"^[^/]*@")
"""A user name, and perhaps a password, in a URL."""


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


class ArchiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is to do.

    Attributes:
        sources: folders, files and globs.
        out: the output folder, an absolute path.
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
    """

    sources: Sequence[str]
    out: Path
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
        folder = Path(local_path(out, option="--out")).absolute()
        return cls(sources=tuple(local_path(one, option="a source") for one in sources), out=folder, **values)


def local_path(path: str | os.PathLike[str], *, option: str) -> str:
    """`path` as text, after a check that it is no URL: ``s3://bucket`` would become a folder called ``s3:``.

    Args:
        path: a path that the caller gave.
        option: what the caller gave it for (``--out``), for the message.

    Raises:
        OptionsError: it is a URL.
    """
    text = os.fspath(path)
    spelled = text.replace(os.sep, "/")
    found = _URL.match(spelled)
    if found is None and not isinstance(path, str):
        found = _URL_AS_PATH.match(spelled)
        if found and Path(f"{found[1]}:").exists():
            return text
    if found is None:
        return text
    scheme = found[1].lower()
    if scheme == "file":
        raise OptionsError(f"{option} takes a path, not a URL: leave out 'file://'")
    rest = _USER.sub("", spelled[found.end() :].lstrip("/"))  # a Path has lost one of the slashes
    raise OptionsError(
        f"{option} takes a path on a disk: '{scheme}://' storage is not supported, but '{found[1]}://{rest}' was given"
    )
