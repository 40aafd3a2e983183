"""Finding photos on disk, streaming: a folder of a million files costs the memory of a few.

Everything here blocks; run it in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.generated_files import GeneratedFiles
from smarty_async.archive.sources.patterns import Wanted
from smarty_async.archive.sources.scan_root import ScanRoot, named, of_list, read_list
from smarty_async.archive.sources.walk import PhotoFile, Walk, reason, unreadable
from smarty_async.errors import OptionsError
from smarty_async.results import ErrorInfo

__all__ = ["PhotoFile", "check_sources", "read_list", "scan"]

_NEITHER = "it is neither a file nor a folder"


def scan(
    sources: Iterable[str | os.PathLike[str]],
    *,
    out: Path,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    listed: Iterable[str | bytes] = (),
) -> Generator[PhotoFile, None, None]:
    """Every photo of `sources` and then of `listed`, in the order the disk gives them.

    In folders, hidden files and folders, systems' litter and whatever is no regular file are passed over. Links are
    followed, except into a folder that the walk is in already. A file that is named twice is found twice.

    Args:
        sources: files, folders, and glob patterns (``*``, ``?``, ``[``, ``**``) that are no existing paths.
        out: the output folder. It is not walked into; when it is a source itself, what runs make in it is left out.
        include: patterns of the photos to take, all when empty; see `Wanted`.
        exclude: patterns of the photos to leave out.
        listed: paths of files or folders, as `read_list` gives them.
    """
    wanted = Wanted(include, exclude)
    generated = GeneratedFiles(out)
    starts = chain((named(os.fspath(source)) for source in sources), (of_list(os.fsdecode(entry)) for entry in listed))
    for start in starts:
        yield from _found(start, wanted, generated)


def _found(start: ScanRoot, wanted: Wanted, generated: GeneratedFiles) -> Iterator[PhotoFile]:
    """What the walk from `start` finds; `start` itself when it is a file."""
    photo = start.photo or "."
    try:
        status = Path(start.path).stat()
        if generated.holds(start.path):
            why = ErrorInfo("output", "lies among the outputs of this folder, and would be written over")
            yield PhotoFile(start.source, photo, start.path, status.st_size, str(status.st_mtime_ns), why)
        elif stat.S_ISDIR(status.st_mode):
            yield from Walk(start, wanted, generated).photos()
        elif not stat.S_ISREG(status.st_mode):
            raise OSError(_NEITHER)
        elif wanted(photo):
            yield PhotoFile(start.source, photo, start.path, status.st_size, str(status.st_mtime_ns))
    except (OSError, ValueError) as error:
        yield unreadable(start.source, photo, start.path, error)


def check_sources(sources: Iterable[str | os.PathLike[str]], *, out: Path | None = None) -> None:
    """Make sure, before anything starts, that every source can be scanned.

    Raises:
        OptionsError: one does not exist, cannot be read, is a pattern that matches nothing, or lies among the
            outputs in the folder `out`, which would be written over.
    """
    generated = GeneratedFiles(out)
    for source in sources:
        start = named(os.fspath(source))
        name = f"'{display_path(os.fspath(source))}'"
        if start.pattern and not _matches(start):
            raise OptionsError(f"nothing matches {name}: check the pattern")
        try:
            _touch(start.path)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and not Path(start.path).is_symlink():
                raise OptionsError(f"there is no {name}: check the path") from None
            raise OptionsError(f"cannot read {name}: {reason(start.path, error)}") from None
        if generated.holds(start.path):
            raise OptionsError(f"{name} lies among the outputs in '{out}': choose another --out")


def _matches(start: ScanRoot) -> bool:
    """Whether anything matches the pattern of `start`."""
    if not Path(start.path).is_dir():
        return False
    with closing(Walk(start, Wanted(), GeneratedFiles(None)).photos()) as photos:
        return next(photos, None) is not None


def _touch(path: str) -> None:
    """Meet now what would stand against reading `path` later.

    Raises:
        OSError: it cannot be read, or is neither a file nor a folder.
    """
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()
    elif stat.S_ISREG(status.st_mode):
        Path(path).open("rb").close()
    else:
        raise OSError(_NEITHER)
