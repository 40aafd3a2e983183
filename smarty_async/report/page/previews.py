"""Pictures as a browser can show them: thumbnails kept on the disk within a size limit, and conversions. Blocking."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Final

from PIL import Image

from smarty_async.archive.photos.convert import fitting_profile, flattened, upright
from smarty_async.archive.photos.identify import open_image, orientation_in, silenced
from smarty_async.archive.photos.probe import examine, parsing
from smarty_async.archive.photos.reader import open_for_parsing
from smarty_async.errors import PhotoRejected

__all__ = ["LARGE_SIDE", "THUMBNAIL_SIDE", "Previews", "browser_type", "render"]

THUMBNAIL_SIDE: Final = 480
"""The long side of a thumbnail, in pixels: sharp on a display with two pixels a CSS pixel."""

LARGE_SIDE: Final = 2560
"""The long side of a converted picture, in pixels."""

_SHOWN: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
)
_KEPT_SHARE: Final = 0.8
"""Of the size limit: what is kept when the limit is passed."""

_JPEG_QUALITY: Final = 82


def browser_type(path: Path) -> str | None:
    """The media type of the file at `path` when browsers show it as `render` does; else None.

    All browsers turn a JPEG as its EXIF block says. They differ on what else says how a picture lies, on CMYK and on 16
    bits of gray. Where a picture shows through they show the page behind it, and its outputs are white there.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        start = file.read(12)
    kind = next((kind for prefix, kind in _SHOWN if start.startswith(prefix)), None)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        kind = "image/webp"
    try:
        return kind if kind is None or _is_shown_alike(path) else None
    except PhotoRejected:
        return kind  # it may be seen up to where it is damaged


def _is_shown_alike(path: Path) -> bool:
    with silenced(), parsing(path), open_for_parsing(path) as file:
        found = examine(file)
        if found.content_type == "image/jpeg":
            return found.orientation == orientation_in(open_image("JPEG", file).info.get("exif", b""))
        return found.content_type == "image/png" and found.orientation == 1


def render(path: Path, *, side: int, page: int = 1) -> bytes:
    """A picture as a JPEG file, upright, on white, with its colour profile.

    Args:
        path: of its file.
        side: pixels of its long side at most.
        page: which picture of the file, from 1.

    Raises:
        PhotoRejected: it cannot be read, or is not a picture that can be decoded.
    """
    with silenced(), parsing(path), open_for_parsing(path) as file:
        found = examine(file, page=page)
        with found.load(min(1.0, side / max(found.width, found.height))) as image:
            picture = flattened(image)
            profile = fitting_profile(picture)
            picture = upright(picture, found.orientation)
            picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, progressive=True, icc_profile=profile)
    return buffer.getvalue()


class Previews:
    """Rendered pictures in `folder`, at most `max_bytes` of them; the oldest go first.

    In a folder that cannot be written, they are kept in a temporary folder until `close`. Several threads may use it.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 512_000_000) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._temporary: TemporaryDirectory[str] | None = None
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, probe = mkstemp(dir=folder, suffix=".part")
            os.close(descriptor)
            Path(probe).unlink()
        except OSError:
            self._temporary = TemporaryDirectory(prefix="smarty-async-")
            self._folder = Path(self._temporary.name)
        self._bytes = sum(size for _, size, _ in self._entries())

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def get(self, path: Path, *, side: int, page: int = 1) -> Path:
        """The JPEG file made of a picture by `render`, made now if it is not there or is outdated.

        Raises:
            PhotoRejected: it cannot be read, or is not a picture that can be decoded.
            OSError: it is not there, or the JPEG file cannot be written.
        """
        status = path.stat()
        of_page = f" {page}" if page > 1 else ""
        key = b"\0".join([os.fsencode(path), f"{status.st_size} {status.st_mtime_ns} {side}{of_page}".encode()])
        name = hashlib.sha256(key).hexdigest()
        kept = self._folder / name[:2] / f"{name}.jpg"
        if not kept.is_file():
            self._write(kept, render(path, side=side, page=page))
        return kept

    def _write(self, kept: Path, data: bytes) -> None:
        kept.parent.mkdir(exist_ok=True)
        descriptor, temporary = mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).replace(kept)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        with self._lock:
            self._bytes += len(data)
            if self._bytes > self._max_bytes:
                self._shrink(kept)

    def _shrink(self, newest: Path) -> None:
        """Remove the oldest pictures, and never the one that was just made.

        One that cannot be removed stays: Windows removes none that is being served.
        """
        entries = sorted(self._entries())
        self._bytes = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._bytes <= self._max_bytes * _KEPT_SHARE:
                return
            if path != newest:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    self._bytes -= size

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Modification time, bytes and path of each picture; another process may remove some meanwhile."""
        for path in self._folder.glob("*/*.jpg"):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path
