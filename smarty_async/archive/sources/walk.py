"""One walk through a folder, depth first, streaming, never in a circle; and which of the files in it are photos.

Skipped are hidden and system files, what the patterns leave out, what runs create in an output folder
(`GeneratedFiles`), and albums. The extension of its name says whether a file is a photo; where it is not known, its
first bytes do.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from fnmatch import fnmatch, translate
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from smarty_async.archive.paths import ALBUM, GENERATED_NAMES, STATE
from smarty_async.archive.sources.scan_roots import ScanRoot
from smarty_async.archive.sources.signatures import SIGNATURE_BYTES, has_photo_signature
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.results import UNREADABLE_FOLDER, ErrorInfo

__all__ = [
    "SYSTEM_FILES",
    "SYSTEM_SUFFIXES",
    "GeneratedFiles",
    "Glob",
    "Walk",
    "Wanted",
    "is_made_by_library",
    "is_photo_name",
    "is_skipped",
    "lies_in_results",
    "photo_file",
    "reason",
    "unreadable",
]


_OPEN_FOLDERS = 64
"""Folders that a walk holds open, at most: some systems allow a process 256 files."""


def photo_file(source: str, photo: str, path: str, status: os.stat_result) -> PhotoFile:
    """The regular file at `path`."""
    version = str(status.st_mtime_ns)
    if is_photo_name(photo):
        return PhotoFile(source, photo, path, status.st_size, version)
    return PhotoFile(source, photo, path, status.st_size, version, None, 1, not _may_be_photo(photo, path))


def _may_be_photo(photo: str, path: str) -> bool:
    """Whether a file whose name is not a photo's is one all the same, by its first bytes."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs more than the look
            return has_photo_signature(file.read(SIGNATURE_BYTES))
    except OSError:
        return is_photo_name(photo) is None  # the probe says what is wrong with it


def unreadable(source: str, photo: str, path: str, error: Exception) -> PhotoFile:
    """What is reported of `path`, which raised `error`."""
    return _reported(source, photo, path, ErrorInfo("unreadable", f"cannot be read: {reason(path, error)}"))


def _reported(source: str, photo: str, path: str, problem: ErrorInfo) -> PhotoFile:
    return PhotoFile(source, photo or ".", path, 0, "0", problem)


def reason(path: str, error: Exception) -> str:
    """Why `path` cannot be read, for people."""
    if isinstance(error, FileNotFoundError) and Path(path).is_symlink():
        return "the link leads to nothing"
    return getattr(error, "strerror", None) or str(error)


class _Folder(NamedTuple):
    """A folder that a walk is in.

    Attributes:
        entries: those that were not looked at yet.
        close: closes it, None when it is closed.
        identity: of the folder.
        photo: its path relative to the source.
        path: its path.
        state: of the glob, after its name.
        whole: whether everything in it is meant.
        skipped: names in it that are skipped.
    """

    entries: Iterator[os.DirEntry[str]]
    close: Callable[[], None] | None
    identity: _Identity
    photo: str
    path: str
    state: frozenset[int]
    whole: bool
    skipped: frozenset[str] = frozenset()


class Walk:
    """A walk through the folder `start`, with a stack of its own: a deep tree takes no Python stack."""

    def __init__(self, start: ScanRoot, wanted: Wanted, generated: GeneratedFiles) -> None:
        self._start = start
        self._wanted = wanted
        self._generated = generated
        self._glob = Glob(start.pattern)
        self._inside: list[_Folder] = []

    def photos(self) -> Generator[PhotoFile, None, None]:
        """Every file, in the order the disk gives them; closing the iterator closes every folder."""
        try:
            if found := self._enter(self._start.path, self._start.photo, self._glob.start):
                yield found
            while self._inside:
                yield from self._read_on()
        finally:
            while self._inside:
                self._leave()

    def _read_on(self) -> Iterator[PhotoFile]:
        """What follows in the innermost folder, until another is the innermost."""
        folder = self._inside[-1]
        above = f"{folder.photo}/" if folder.photo else ""
        try:
            for entry in folder.entries:
                if found := self._look(entry, above + entry.name, folder):
                    yield found
                if self._inside[-1] is not folder:
                    return
        except OSError as error:
            if found := self._failed_folder(folder.path, folder.photo, error):
                yield found
        self._leave()

    def _look(self, entry: os.DirEntry[str], photo: str, folder: _Folder) -> PhotoFile | None:
        name = entry.name
        if name.endswith(_ICLOUD) and (evicted := _evicted_name(name)):
            return self._evicted(entry, photo.removesuffix(name) + evicted, folder)
        state = folder.state if folder.whole else self._glob.step(folder.state, name)
        if not state or is_skipped(name) or name in folder.skipped:
            return None
        meant = (folder.whole or self._glob.matched(state)) and self._wanted(photo)
        try:
            # Not the entry's own stat: what Windows keeps in a folder may be older than the file.
            status = os.stat(entry.path)  # noqa: PTH116 - a Path for each of millions costs more than the look
        except OSError as error:
            return unreadable(self._start.source, photo, entry.path, error) if meant else None
        if meant and stat.S_ISREG(status.st_mode):
            return photo_file(self._start.source, photo, entry.path, status)
        if stat.S_ISDIR(status.st_mode):
            identity = _identity_of(entry.path, status)
            if self._generated.is_out(identity) or (entry.is_symlink() and self._generated.is_one(identity)):
                return None
            if is_made_by_library(folder.path, name):
                return None
            return self._enter(entry.path, photo, state, identity)
        return None

    def _evicted(self, entry: os.DirEntry[str], photo: str, folder: _Folder) -> PhotoFile | None:
        """What is reported of a photo that is in iCloud and not on the disk."""
        whole = folder.whole or self._glob.matched(self._glob.step(folder.state, photo.rpartition("/")[2]))
        if not whole or not self._wanted(photo):
            return None
        return _reported(self._start.source, photo, entry.path, _NOT_DOWNLOADED)

    def _enter(
        self, path: str, photo: str, state: frozenset[int], identity: _Identity | None = None
    ) -> PhotoFile | None:
        """Go into the folder at `path`, unless the walk is in it already."""
        try:
            identity = identity or _identity_of(path, Path(path).stat())
            if any(identity == folder.identity for folder in self._inside):
                return None
            if self._inside and _is_album(path):
                return None
            skipped: frozenset[str] = frozenset()
            if _holds_results(path) or self._generated.is_out(identity):
                if self._inside:
                    return None  # the results of another run
                skipped = GENERATED_NAMES  # it was named: there may be photos beside the results
            if len(self._inside) >= _OPEN_FOLDERS:
                self._read_rest()
            entries = os.scandir(path)
            whole = self._glob.matched(state)
            self._inside.append(_Folder(entries, entries.close, identity, photo, path, state, whole, skipped))
        except OSError as error:
            return self._failed_folder(path, photo, error)
        return None

    def _read_rest(self) -> None:
        """Read the rest of the innermost folder into memory and close it, unless that was done."""
        folder = self._inside[-1]
        if folder.close is None:
            return
        rest: list[os.DirEntry[str]] = []
        try:
            rest.extend(folder.entries)
        finally:
            folder.close()
            self._inside[-1] = folder._replace(entries=iter(rest), close=None)

    def _leave(self) -> None:
        folder = self._inside.pop()
        if folder.close is not None:
            folder.close()

    def _failed_folder(self, path: str, photo: str, error: OSError) -> PhotoFile | None:
        """A folder that cannot be read is reported, unless it is excluded."""
        if self._wanted.excludes(f"{photo}/"):
            return None
        problem = ErrorInfo(
            UNREADABLE_FOLDER, f"the folder cannot be read, so the photos in it are not known: {reason(path, error)}"
        )
        return _reported(self._start.source, photo, path, problem)


_Identity = tuple[int, int] | str
"""What identifies a folder, whatever its name and the links to it."""


def _identity_of(path: str | Path, status: os.stat_result) -> _Identity:
    """Device and inode, or the real path on network disks that have no inodes."""
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _holds_results(folder: str) -> bool:
    """Whether `folder` is the output folder of some run."""
    return os.path.lexists(f"{folder}/{STATE}")


def _is_album(folder: str) -> bool:
    """Whether `folder` is an album that was made of results."""
    return os.path.lexists(f"{folder}/{ALBUM}")


def lies_in_results(root: ScanRoot) -> bool:
    """Whether the path of `root` leads, below its source, into what some run or an album has created."""
    folder = root.source
    for name in root.photo.split("/") if root.photo else ():
        if name in GENERATED_NAMES and _holds_results(folder):
            return True
        folder = f"{folder}/{name}"
        if _is_album(folder):
            return True
    return False


class GeneratedFiles:
    """What runs create in the folder `out`: none of it is a photo to be restored again.

    A run may create it while a scan goes on, so the disk is asked each time.

    Args:
        out: the output folder, which need not exist; None when there is none.
    """

    def __init__(self, out: Path | None) -> None:
        self._out = None if out is None else out.absolute()
        self._within = lru_cache(maxsize=64)(self._is_within)

    def is_out(self, identity: _Identity) -> bool:
        """Whether `identity` is the output folder itself."""
        return identity in self._identities("")

    def is_one(self, identity: _Identity) -> bool:
        """Whether `identity` is one of the folders that runs create directly in the output folder."""
        return identity in self._identities(*GENERATED_NAMES)

    def holds(self, path: str) -> bool:
        """Whether the file or folder at `path` is one of those folders, or is in one."""
        return self._out is not None and self._within(path if Path(path).is_dir() else str(Path(path).parent))

    def _is_within(self, folder: str) -> bool:
        generated = self._identities(*GENERATED_NAMES)
        if not generated:
            return False
        real = Path(os.path.realpath(folder))
        above = (place for place in (real, *real.parents) if place.exists())
        return any(_identity_of(place, place.stat()) in generated for place in above)

    def _identities(self, *names: str) -> set[_Identity]:
        """The identities of those of `names` that exist in the output folder."""
        found: set[_Identity] = set()
        for path in (self._out / name for name in names) if self._out is not None else ():
            try:
                found.add(_identity_of(path, path.stat()))
            except OSError:
                continue  # it does not exist yet
        return found


SYSTEM_FILES = frozenset({
    # Windows
    "$recycle.bin", "desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "recycler", "system volume information",
    "thumbs.db",
    # macOS; the others that it makes are hidden: .AppleDouble, .Spotlight-V100, .Trashes, ._*
    "__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder",
    # Linux; hidden: .Trash-1000, .thumbnails, .directory
    "lost+found",
    # Synology
    "#recycle", "#snapshot", "@eadir", "@sharebin", "@tmp",
    # QNAP; hidden: .@__thumb, .@upload_cache
    "@__thumb", "@recently-snapshot", "@recycle", "@transcode",
    # other storage boxes and file servers; hidden: .recycle, .snapshot, .wdmc, .zfs
    "@snapshot", "files_trashbin", "files_versions", "recycle bin", "trashbox", "~snapshot",
    # photo tools; hidden: .dtrash, .picasaoriginals
    "captureone",
})  # fmt: skip
"""Files and folders that operating systems, storage boxes and photo tools keep for themselves (recycle bins, snapshots,
thumbnails), in lower case. They are skipped, as is every name that begins with a dot, wherever a walk meets them; one
that is named as a source is scanned."""

SYSTEM_SUFFIXES = (".lrdata", ".lrcat-data")
"""How the names of such folders end, in lower case: the previews of Lightroom."""

_LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
"""How the folders end, in lower case, in which Photos, iPhoto and Aperture keep photos."""
_LIBRARY_PHOTOS = ("originals", "masters")
"""Where in them the photos are; beside these are previews and edited copies of the same photos."""


_ICLOUD: Final = ".icloud"
_NOT_DOWNLOADED: Final = ErrorInfo("not_downloaded", "it is in iCloud, and not on this disk")


def _evicted_name(name: str) -> str | None:
    """The name of the photo that a file called `name` stands for; None when it stands for none.

    Up to macOS 13, iCloud Drive replaces a file that it has moved off the disk by a hidden property list: ``a.jpg`` by
    ``.a.jpg.icloud``.
    """
    own = name.removeprefix(".").removesuffix(_ICLOUD)
    return own if name == f".{own}{_ICLOUD}" and is_photo_name(own) else None


def is_skipped(name: str) -> bool:
    """Whether a file or folder called `name` is skipped: it is hidden, or the system's."""
    if name.startswith("."):
        return True
    name = name.lower()
    return name in SYSTEM_FILES or name.endswith(SYSTEM_SUFFIXES)


def is_made_by_library(folder: str, name: str) -> bool:
    """Whether the folder called `name` within `folder` has what a photo library makes of its photos. It is skipped."""
    return folder.lower().endswith(_LIBRARY_SUFFIXES) and name.lower() not in _LIBRARY_PHOTOS


class Wanted:
    """The include and exclude patterns of a run.

    They are `fnmatch`'s, and case does not matter: people write ``*.jpg`` and have ``IMG.JPG``. A pattern
    with a ``/`` is matched against the whole path relative to the source (``*`` passes over ``/``, and a leading
    ``**/`` also matches no folder at all), one without against the name alone.

    Args:
        include: photos that match none of these are left out; empty means every photo.
        exclude: photos that match one of these are left out.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = _compiled(include)
        self._exclude = _compiled(exclude)

    def __call__(self, photo: str) -> bool:
        """Whether `photo`, a path relative to its source, is wanted."""
        # Without patterns no name is looked at: there may be a million.
        return not (self._include and not _matches(self._include, photo)) and not (
            self._exclude and _matches(self._exclude, photo)
        )

    def excludes(self, photo: str) -> bool:
        """Whether an exclude pattern matches `photo`; for a folder, give its path with a ``/`` at the end."""
        return _matches(self._exclude, photo)


_Patterns = list[tuple[bool, re.Pattern[str]]]


def _compiled(patterns: Iterable[str]) -> _Patterns:
    """Each pattern beside whether it is for whole paths."""
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    if os.sep != "/":
        given = [pattern.replace(os.sep, "/") for pattern in given]
    given += [pattern.removeprefix("**/") for pattern in given if pattern.startswith("**/")]
    return [("/" in pattern, re.compile(translate(pattern), re.IGNORECASE)) for pattern in given]


def _matches(patterns: _Patterns, photo: str) -> bool:
    name = photo.rstrip("/").rpartition("/")[2]
    return any(pattern.match(photo if whole else name) for whole, pattern in patterns)


class Glob:
    """The magic part of a glob source, followed along a walk, one name after another.

    A state is the set of places in the pattern that the names so far lead to. The standard library's `glob` would
    list whole folders, and go round in circles where links do.

    Args:
        parts: the pattern's parts, none a separator; ``**`` matches any number of folders. No parts at all match
            everything.
    """

    def __init__(self, parts: tuple[str, ...] = ()) -> None:
        self._parts = parts
        self.start = self._closed({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """The state after `name`; empty when nothing under it can match. What is in a matched folder matches."""
        if self.matched(state):
            return state
        following = {place + 1 for place in state if fnmatch(name, self._parts[place])}
        return self._closed(following | {place for place in state if self._parts[place] == "**"})

    def matched(self, state: frozenset[int]) -> bool:
        """Whether the names that led to `state` match the whole pattern."""
        return len(self._parts) in state

    def _closed(self, places: set[int]) -> frozenset[int]:
        """`places`, and those that a ``**`` standing for nothing leads on to."""
        for place, part in enumerate(self._parts):
            if part == "**" and place in places:
                places.add(place + 1)
        return frozenset(places)


_PHOTO_EXTENSIONS: Final = (
    # JPEG and its relatives, PNG, TIFF
    "jpg jpeg jpe jfif jif jps mpo jp2 j2k jpf jpx jpm png apng tif tiff btf"
    # other formats of pictures
    " gif webp bmp dib heic heif hif avif avifs psd psb pcx ppm pgm pbm pnm pam tga sgi rgb jxl jxr wdp hdp exr hdr"
    # raw formats
    " 3fr ari arw bay cap cr2 cr3 crw dcr dcs dng drf eip erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef ptx"
    " pxn r3d raf raw rw2 rwl rwz sr2 srf srw x3f"
)
"""Extensions of pictures, in lower case: one of these that holds none is damaged, or misnamed."""

_OTHER_EXTENSIONS: Final = (
    # notes that cameras, phones and photo tools keep beside a photo
    "aae xmp json thm xml pp3 dop cos cot on1 pto lrcat lrtemplate modd moff picasa acr ini db db-shm db-wal sqlite"
    " ithmb exif mie dxo"
    # videos and sounds
    " mov mp4 m4v avi mkv mts m2ts mpg mpeg mpe 3gp 3g2 wmv flv webm vob ogv insv lrv mod tod mp3 m4a aac wav ogg opus"
    " flac wma amr aiff"
    # documents and text
    " pdf txt md rtf doc docx xls xlsx ppt pptx odt ods odp pages numbers key csv tsv log htm html css js url webloc"
    " lnk eps ai svg indd epub"
    # archives, programs, and files that are not complete
    " zip rar 7z gz tgz bz2 xz tar iso dmg exe msi app apk dll so sh bat py part crdownload download tmp temp bak"
    " torrent md5 sha1 sha256 sfv"
)
"""Extensions of files that are often beside photos and are none, in lower case."""

_PHOTO: Final = frozenset(_PHOTO_EXTENSIONS.split())
_OTHER: Final = frozenset(_OTHER_EXTENSIONS.split())


def is_photo_name(name: str) -> bool | None:
    """Whether a file's name says that it is a photo; None when it says nothing: no extension, or an unknown one."""
    extension = name.rpartition(".")[2].lower()
    if extension in _PHOTO:
        return True
    return False if extension in _OTHER else None
