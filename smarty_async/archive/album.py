"""The album: a folder with exactly one picture a photo, under the photos' own names. Blocking.

The picture is a copy of the best output, or of the original where there is none: whole or not at all, with the photo's
modification time. Pages of one file without outputs have one copy of the file in common. A manifest in the album, one
line of JSON a photo, says what was copied from what, so that the next call copies only what has changed, and neither
replaces nor removes a file that it did not make or that was changed since.
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Final, Literal, cast

import msgspec
from filelock import FileLock, Timeout

from smarty_async.archive.journal.catalog import Catalog, Photo
from smarty_async.archive.paths import ALBUM, output_place
from smarty_async.archive.picture_copy import Origin, PictureProblem, copy_picture
from smarty_async.archive.sources.walk import is_skipped
from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import ConfigurationError, DiskError, OptionsError
from smarty_async.results import KINDS, ErrorInfo, Kind

__all__ = [
    "PREFER",
    "AlbumResult",
    "Entry",
    "Names",
    "Problem",
    "candidates",
    "make_album",
]


PREFER: Final[tuple[Kind, ...]] = ("colorized_improved", "improved", "resolved")
"""The order of outputs unless the caller states another."""

_MANIFEST: Final = "manifest.jsonl"


class Problem(msgspec.Struct, frozen=True):
    """A photo without a picture in the album.

    Attributes:
        photo: path relative to its source.
        error: why.
    """

    photo: str
    error: ErrorInfo


class AlbumResult(msgspec.Struct, kw_only=True):
    """What is in an album.

    Attributes:
        outputs: pictures that are outputs.
        originals: pictures that are originals.
        copied: pictures copied by this call.
        unchanged: pictures that were there already.
        removed: pictures of an earlier call that were replaced under another name.
        problems: photos that have no picture.
    """

    outputs: int = 0
    originals: int = 0
    copied: int = 0
    unchanged: int = 0
    removed: int = 0
    problems: list[Problem] = msgspec.field(default_factory=list[Problem])


_Key = tuple[bytes, bytes, int]
"""A photo: its source, its path relative to that, and which picture of the file it is, from 1."""


def _key_of(photo: Photo) -> _Key:
    return os.fsencode(photo.source), os.fsencode(photo.photo), photo.page


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """A photo with the file that becomes its picture."""

    photo: Photo
    kind: Kind | Literal["original"]
    origin: Origin

    @property
    def key(self) -> _Key:
        return _key_of(self.photo)

    @property
    def file(self) -> tuple[bytes, bytes]:
        """The photo's file."""
        return self.key[:2]


def make_album(
    out: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    prefer: Sequence[str] = PREFER,
    show: Callable[[int, int], None] = lambda _done, _total: None,
) -> AlbumResult:
    """Make or update the album of the output folder `out` in the folder `to`.

    A picture keeps its photo's path; an output of a photo that is no JPEG gets ``.jpg`` in place of its extension. A
    name that is taken, by another photo or by a file that is not the album's, is made distinct: by the whole name of
    the photo (``a.png.jpg``), the folder name of its source, or a number. Further pages of a file have their number in
    the name (``a.page-2.jpg``). A picture has its photo's modification time.

    Args:
        out: the folder given to ``improve`` as ``--out``.
        to: the album's folder.
        prefer: outputs to take, best first. A photo with none of them is represented by its original.
        show: called after each picture, with how many are in the album and how many there will be.

    Raises:
        OptionsError: `prefer` names nothing, or something that is no output, or `to` is a place where an album would
            disturb the photos or the outputs.
        ConfigurationError: there is no journal in `out`, or another process is making this album.
        DiskError: the journal cannot be read, or the album cannot be written.
    """
    kinds = _kinds(prefer)
    folder = Path(to).absolute()
    with Catalog(out) as catalog:
        _check_folder(folder, catalog)
        own = folder / ALBUM
        try:
            own.mkdir(parents=True, exist_ok=True)
            with FileLock(own / "lock", timeout=0):
                for left in own.glob("*.part"):
                    left.unlink()
                return _Making(folder, catalog, kinds).make(show)
        except Timeout:
            raise ConfigurationError(
                f"another process is making the album in {str(to)!r}: wait for it to end"
            ) from None
        except OSError as error:
            raise DiskError.of(error, _shown_path(error, folder), "write") from error


def _shown_path(error: OSError, folder: Path) -> Path:
    """The path that a message about `error` names: a picture or its folder, else the album, and no temporary file."""
    path = Path(error.filename2 or error.filename or folder)
    return folder if path.is_relative_to(folder / ALBUM) else path


def _kinds(prefer: Iterable[str]) -> tuple[Kind, ...]:
    kinds = tuple(prefer)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        named = f" {unknown[0]!r}" if unknown else ""
        raise OptionsError(f"--prefer names no output{named}: choose from {', '.join(KINDS)}")
    return cast("tuple[Kind, ...]", kinds)


def _check_folder(folder: Path, catalog: Catalog) -> None:
    """Refuse a folder where the album would mix with the photos or the outputs.

    A new folder below the photos is fine: scans skip an album. What is in a folder that becomes one would be skipped,
    too.
    """
    real, out = folder.resolve(), catalog.out.resolve()
    if real.is_relative_to(out) or out.is_relative_to(real):
        raise OptionsError(
            f"the album in {str(folder)!r} would mix with the outputs in {str(catalog.out)!r}: choose another --to"
        )
    for source in catalog.sources():
        photos = Path(source).resolve()
        if photos == Path(photos.anchor):
            continue  # the root, which the source of absolute paths may be, contains every folder
        if photos.is_relative_to(real) or (real.is_relative_to(photos) and not _is_new_or_album(real)):
            raise OptionsError(
                f"the album in {str(folder)!r} would mix with the photos of {source!r}: choose another --to, such as a"
                " new folder"
            )


def _is_new_or_album(folder: Path) -> bool:
    """Whether `folder` is not there, an album, or holds nothing but what scans skip, such as the system's files."""
    if not folder.exists() or (folder / ALBUM).exists():
        return True
    return folder.is_dir() and all(is_skipped(entry.name) for entry in folder.iterdir())


def _choose(photo: Photo, out: Path, kinds: Sequence[Kind]) -> _Choice:
    """The best file there is for `photo`.

    Raises:
        PictureProblem: there is none, or one may be there and cannot be looked at.
    """
    for kind in kinds:
        if kind in photo.outputs and (origin := Origin.at(out / photo.outputs[kind], mtime_ns=photo.mtime_ns)):
            return _Choice(photo, kind, origin)
    original = Origin.at(photo.path, mtime_ns=None)
    if original is None:
        raise PictureProblem("neither an output nor the original is there")
    return _Choice(photo, "original", original)


class _Making:
    """One call of `make_album` for the album in `folder`."""

    def __init__(self, folder: Path, catalog: Catalog, kinds: Sequence[Kind]) -> None:
        self._folder = folder
        self._catalog = catalog
        self._kinds = kinds
        self._several_sources = len(catalog.sources()) > 1
        self._own = folder / ALBUM
        self._manifest = _Manifest(self._own / _MANIFEST)
        self._entries = {entry.key: entry for entry in self._manifest.read()}
        self._owners = {entry.target: entry for entry in self._entries.values()}
        self._names = Names()
        # Of this call: the paths of originals in the album, and their sizes and modification times.
        self._originals: dict[tuple[bytes, bytes], str] = {}
        self._brought: dict[str, tuple[int, int]] = {}
        self._result = AlbumResult()

    def make(self, show: Callable[[int, int], None]) -> AlbumResult:
        """Bring the album up to date."""
        before = dict(self._entries)
        try:
            named = self._named()
            for done, (choice, target) in enumerate(named, start=1):
                self._add(choice, target)
                show(done, len(named))
            for former, present in self._catalog.renamed():
                self._forget(_key_of(former), present=_key_of(present))
        finally:
            if self._entries != before:
                self._manifest.write(self._entries.values())
        return self._result

    def _choices(self) -> Iterator[_Choice]:
        for photo in self._catalog.photos():
            try:
                choice = _choose(photo, self._catalog.out, self._kinds)
            except PictureProblem as problem:
                self._add_problem(photo, problem)
            else:
                yield choice

    def _add_problem(self, photo: Photo, problem: PictureProblem) -> None:
        self._result.problems.append(Problem(photo.name, ErrorInfo("unreadable", str(problem))))

    def _named(self) -> list[tuple[_Choice, str]]:
        """Every choice with its path in the album: names of an earlier call first, then the photos' own names."""
        names = self._names
        named: list[tuple[_Choice, str]] = []
        rest: list[tuple[bool, _Choice, list[str]]] = []
        for choice in self._choices():
            folder = (Path(choice.photo.source).name or "root") if self._several_sources else None
            photo = choice.photo
            wanted = candidates(photo.photo, is_output=choice.kind != "original", folder=folder, page=photo.page)
            kept = self._name_before(choice, suffix=os.path.splitext(wanted[0])[1])  # noqa: PTH122 - many at a time
            if kept is not None and (self._target_in_common(choice) == kept or names.take(kept)):
                named.append((choice, self._noted(choice, kept)))
            else:
                rest.append((wanted[0] != photo.photo, choice, wanted))
        for _, choice, wanted in sorted(rest, key=lambda one: (one[0], one[1].photo.id)):
            target = self._target_in_common(choice)
            if target is None:
                target = names.first_free(wanted, usable=partial(self._usable, choice))
            named.append((choice, self._noted(choice, target)))
        return named

    def _target_in_common(self, choice: _Choice) -> str | None:
        """Where the original is that another page of the same file has as its picture, too."""
        return self._originals.get(choice.file) if choice.kind == "original" else None

    def _noted(self, choice: _Choice, target: str) -> str:
        if choice.kind == "original":
            self._originals[choice.file] = target
        return target

    def _name_before(self, choice: _Choice, *, suffix: str) -> str | None:
        """The path that the photo's picture has in the album, when it can keep it."""
        entry = self._entries.get(choice.key)
        if entry is None:
            return None
        target = os.fsdecode(entry.target)
        same_type = os.path.splitext(target)[1].lower() == suffix.lower()  # noqa: PTH122 - many at a time
        # A picture that the user has changed stays, unless there is a newer one: that gets another name.
        mine = self._is_mine(entry) or not self._exists(target) or entry.origin == self._origin(choice)
        return target if same_type and mine else None

    def _usable(self, choice: _Choice, target: str) -> bool:
        """Whether `target` is free, or is a picture of this album."""
        path = self._folder / target
        if not self._exists(target):
            return not any(parent.is_file() for parent in path.parents if parent.is_relative_to(self._folder))
        owner = self._owners.get(os.fsencode(target))
        if owner is not None:
            return self._is_mine(owner)
        # A call that was killed before it wrote its manifest has left the same picture there.
        return choice.origin.is_copied_at(path)

    def _add(self, choice: _Choice, target: str) -> None:
        entry = self._entries.get(choice.key)
        try:
            size, mtime_ns = self._brought.get(target) or self._bring(choice, target, entry)
        except PictureProblem as problem:
            self._add_problem(choice.photo, problem)
            return
        if entry and entry.target != os.fsencode(target) and self._is_mine(entry):
            self._remove(os.fsdecode(entry.target))
        source, photo, page = choice.key
        made = Entry(source, photo, os.fsencode(target), self._origin(choice), size, mtime_ns, page)
        self._entries[choice.key] = made

    def _bring(self, choice: _Choice, target: str, entry: Entry | None) -> tuple[int, int]:
        """Make sure that the picture is at `target`; its size and modification time when it was made."""
        is_there = entry and (entry.target, entry.origin) == (os.fsencode(target), self._origin(choice))
        if entry and is_there and self._exists(target):
            made, copied = (entry.size, entry.mtime_ns), False
        else:
            temporary = self._own / "picture.part"
            made, copied = copy_picture(choice.origin, self._folder / target, temporary=temporary), True
        if choice.kind == "original":
            self._brought[target] = made
        self._count(choice, copied=copied)
        return made

    def _origin(self, choice: _Choice) -> tuple[str, int, int]:
        return choice.kind, choice.origin.size, choice.origin.version_ns

    def _count(self, choice: _Choice, *, copied: bool) -> None:
        if choice.kind == "original":
            self._result.originals += 1
        else:
            self._result.outputs += 1
        if copied:
            self._result.copied += 1
        else:
            self._result.unchanged += 1

    def _exists(self, target: str) -> bool:
        return os.path.lexists(self._folder / target)

    def _is_mine(self, entry: Entry) -> bool:
        """Whether the picture is as this program left it."""
        try:
            status = (self._folder / os.fsdecode(entry.target)).lstat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)

    def _forget(self, former: _Key, *, present: _Key) -> None:
        """Remove the picture of the `former` name of a photo that has one under the `present` name, unless edited."""
        entry, other = self._entries.get(former), self._entries.get(present)
        if entry is None or other is None or not self._exists(os.fsdecode(other.target)):
            return
        target = os.fsdecode(entry.target)
        if self._is_mine(entry) or target in self._names:
            self._remove(target)
            del self._entries[former]
        elif not self._exists(target):
            del self._entries[former]

    def _remove(self, target: str) -> None:
        """Remove the picture that a photo had before, unless another photo has got its name."""
        if target not in self._names:
            (self._folder / target).unlink(missing_ok=True)
            self._result.removed += 1


_PICTURES: Final = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "cr2", "dng", "gif", "heic", "heif", "hif", "j2k", "jfif", "jp2", "jpe", "nef", "pbm", "pcx"),
        *("pgm", "png", "ppm", "psd", "sgi", "tif", "tiff", "webp"),
    )
)
"""Extensions that ``.jpg`` replaces; to another (``portrait.1987``) it is appended."""


def candidates(photo: str, *, is_output: bool, folder: str | None = None, page: int = 1) -> list[str]:
    """The paths that the picture of `photo` may have in the album, best first, with ``/``.

    Args:
        photo: its path relative to its source.
        is_output: whether the picture is an output, which is always a JPEG.
        folder: a folder for it when a photo of another source has its path; None when there is one source.
        page: which picture of the file it is, from 1.
    """
    own = [_as_jpeg(photo, page), output_place(photo, page=page)] if is_output else [photo]
    below = [] if folder is None else [f"{folder}/{path}" for path in own]
    return list(dict.fromkeys([*own, *below]))


def _as_jpeg(photo: str, page: int) -> str:
    path = PurePosixPath(photo)
    if path.suffix.lower() not in _PICTURES:
        return output_place(photo, page=page)
    return output_place(str(path.with_suffix(f".page-{page}.jpg" if page > 1 else ".jpg")))


class Names:
    """Paths that are taken. Two that differ only in case or in Unicode form are the same on some disks."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return _plain(path) in self._files

    def take(self, path: str) -> bool:
        """Take `path`; False, and nothing taken, when it is not free."""
        plain = _plain(path)
        parents = [str(parent) for parent in PurePosixPath(plain).parents]
        if plain in self._files or plain in self._folders or not self._files.isdisjoint(parents):
            return False
        self._files.add(plain)
        self._folders.update(parents)
        return True

    def first_free(self, wanted: Sequence[str], *, usable: Callable[[str], bool]) -> str:
        """Take the first of `wanted` that is free and usable, else the first with a number behind it."""
        paths = itertools.chain(wanted, _numbered(wanted[0]))
        return next(path for path in paths if usable(path) and self.take(path))


def _numbered(path: str) -> Iterator[str]:
    one = PurePosixPath(path)
    for number in itertools.count(2):
        yield str(one.with_name(f"{one.stem} ({number}){one.suffix}"))


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


class Entry(msgspec.Struct, frozen=True):
    """One picture of the album. Paths are bytes, as the file system spells them; JSON holds them as base64.

    Attributes:
        source: the photo's source.
        photo: the photo's path relative to it.
        target: the picture's path relative to the album.
        origin: what it was copied from: a kind or ``original``, with its size and modification time.
        size: bytes of the picture, when it was made.
        mtime_ns: its modification time then.
        page: which picture of the photo's file it is of, from 1; manifests of before do not say.
    """

    source: bytes
    photo: bytes
    target: bytes
    origin: tuple[str, int, int]
    size: int
    mtime_ns: int
    page: int = 1

    @property
    def key(self) -> _Key:
        """The photo."""
        return self.source, self.photo, self.page


class _Manifest:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Entry]:
        """Its entries; none when it is not there, or damaged: pictures are then recognized by size and time.

        Those of files outside the album are left out: whatever wrote them there, this program must not replace these.
        """
        try:
            entries = msgspec.json.Decoder(Entry).decode_lines(self._path.read_bytes())
        except (FileNotFoundError, *DAMAGED_JSON):
            return []
        return [entry for entry in entries if _is_inside(os.fsdecode(entry.target))]

    def write(self, entries: Iterable[Entry]) -> None:
        """Make it hold `entries` and nothing else, at once."""
        new = self._path.with_suffix(".part")
        new.write_bytes(msgspec.json.Encoder().encode_lines(list(entries)))
        new.replace(self._path)


def _is_inside(target: str) -> bool:
    """Whether a path relative to the album stays in it, by the rules of this system."""
    path = PurePath(target)
    return bool(path.parts) and not path.anchor and ".." not in path.parts
