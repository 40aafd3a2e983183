"""What the page is told about photos and folders: small structs, encoded as JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from smarty_async.archive.catalog import Catalog, Folder, Photo, State
from smarty_async.archive.paths import display_path
from smarty_async.results import ErrorInfo, Kind

__all__ = ["Card", "Page", "Section", "Summary", "Which", "card_of", "path_of", "summary_of"]

Which = Literal["before", "improved", "colorized_improved", "colorized", "resolved"]
"""One picture of a photo: the original, or an output."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One photo.

    Attributes:
        id: its id in the journal.
        name: path relative to its source.
        folder: the id of its folder.
        state: its outcome, or ``unfinished``.
        pictures: {picture: version} for those that are on the disk, the original first. A version changes with
            the file.
        bw: whether the service took it for black-and-white; None when it did not say.
        error: why it failed or was rejected, else None.
    """

    id: int
    name: str
    folder: int
    state: State
    pictures: dict[Which, str]
    bw: bool | None
    error: ErrorInfo | None


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that holds photos directly.

    Attributes:
        id: its id.
        name: path relative to its source; empty for the source itself.
        source: its source.
        counts: photos in it by state.
    """

    id: int
    name: str
    source: str
    counts: dict[State, int]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole journal.

    Attributes:
        title: the output folder's name.
        counts: photos by state.
        folders: every folder, sorted.
    """

    title: str
    counts: dict[State, int]
    folders: list[Section]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some photos.

    Attributes:
        photos: the photos.
        more: whether more follow.
    """

    photos: list[Card]
    more: bool


def summary_of(catalog: Catalog) -> Summary:
    """The summary of a journal; blocks."""
    return Summary(
        title=display_path(catalog.out.name or str(catalog.out)),
        counts=catalog.counts(),
        folders=[_section(folder) for folder in catalog.folders()],
    )


def _section(folder: Folder) -> Section:
    return Section(id=folder.id, name=folder.name, source=display_path(folder.source), counts=folder.counts)


def card_of(catalog: Catalog, photo: Photo) -> Card:
    """What the page is told about `photo`; blocks."""
    pictures: dict[Which, str] = {}
    wanted: tuple[Which, ...] = ("before", *photo.outputs)
    for which in wanted:
        path = path_of(catalog.out, photo, which)
        version = None if path is None else _version(path)
        if version is not None:
            pictures[which] = version
    return Card(
        id=photo.id,
        name=photo.name,
        folder=catalog.folder_of(photo),
        state=photo.state,
        pictures=pictures,
        bw=photo.bw,
        error=photo.error,
    )


def path_of(out: Path, photo: Photo, which: Which) -> Path | None:
    """Where a picture of `photo` is, None when the journal knows of none."""
    if which == "before":
        return photo.path
    kind: Kind = which
    return out / photo.outputs[kind] if kind in photo.outputs else None


def _version(path: Path) -> str | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - many at a time
    except (OSError, ValueError):
        return None
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
