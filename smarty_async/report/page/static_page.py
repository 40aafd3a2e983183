"""The before/after page written to the disk, to be sent to someone: one file, or a folder. Blocking."""

from __future__ import annotations

import os
import re
import shutil
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

import msgspec

from smarty_async.archive.journal.catalog import Catalog, Photo
from smarty_async.archive.paths import STATE
from smarty_async.archive.sources.walk import is_skipped
from smarty_async.errors import DiskError, OptionsError, PhotoRejected
from smarty_async.report.page.previews import render
from smarty_async.report.page.server import ASSETS, Card, Which, card_of, page_of, path_of, summary_of
from smarty_async.results import KINDS
from smarty_async.web.assets import read_asset

__all__ = ["MOST_PHOTOS", "write_static"]

MOST_PHOTOS: Final = 300
"""Photos in a page at most, unless the caller allows more: such a file has about 100 MB."""

_FILE_SIDE: Final = 1080
_FOLDER_SIDE: Final = 2048
"""The long side of a picture, in pixels: inside the one file, and in a folder."""

_HTML: Final = (".html", ".htm")
_ASSET: Final = re.compile(
    r'<(?:link rel="(icon|stylesheet)" href|script defer (src))="assets/([\w.]+)"(?:></script>)?>'
)
_INDEX: Final = "index.html"
_PICTURES: Final = "pictures"

_CHARSET: Final = '<meta charset="utf-8">'
_MARK: Final = '<meta name="generator" content="smarty-async view --static">'
"""What a page is known by; it stands within the first `_MARK_BYTES`."""
_MARK_BYTES: Final = 2000

_Link = Callable[[int, Which, bytes], str]
"""Takes a photo's id, which picture and its JPEG bytes; returns the address the page uses."""


def write_static(
    out_dir: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    limit: int = MOST_PHOTOS,
    show: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Write the page for the output folder `out_dir`; it needs no server and no other host.

    Args:
        out_dir: the folder given to ``improve`` as ``--out``.
        target: the page. With ``.html`` at its end it is one file with the pictures in it, at most 1080 pixels
            wide or high; else a folder with ``index.html`` and pictures of at most 2048 pixels. An earlier page is
            replaced, and nothing else.
        limit: photos at most.
        show: called after each photo, with how many are in the page and how many there will be.

    Returns:
        How many photos are in the page.

    Raises:
        OptionsError: there are more photos than `limit`, or `target` is something else than such a page.
        ConfigurationError: there is no journal in `out_dir`.
        DiskError: the journal cannot be read, or the page cannot be written.
    """
    page = Path(target).absolute()
    with Catalog(out_dir) as catalog, _disk_errors(page):
        count = sum(catalog.counts().values())
        if count > limit:
            raise OptionsError(
                f"{str(out_dir)!r} holds {count:,} photos, and a page to send holds at most {limit:,}:"
                f" use 'smarty-async view {out_dir}' to look at them on this computer"
            )
        _check_target(page, catalog)
        page.parent.mkdir(parents=True, exist_ok=True)
        write = _write_file if page.suffix.lower() in _HTML else _write_folder
        with TemporaryDirectory(dir=page.parent, prefix=f".{page.name[:50]}.") as folder:
            write(catalog, page, Path(folder), lambda done: show(done, count))
        return count


@contextmanager
def _disk_errors(page: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError.of(error, page, "write") from error  # its own path may be of a temporary file


def _check_target(page: Path, catalog: Catalog) -> None:
    """Make sure that nothing is replaced but an earlier page."""
    inside = page.resolve()
    if any(inside.is_relative_to((catalog.out / name).resolve()) for name in (STATE, *KINDS)):
        raise OptionsError(f"{str(page)!r} lies among the outputs: choose another place for --static")
    if page.suffix.lower() in _HTML:
        if page.is_dir():
            raise OptionsError(f"{str(page)!r} is a folder: choose another name for --static")
        if page.exists() and not _is_page(page):
            raise OptionsError(f"{str(page)!r} is something else than such a page: choose another name for --static")
    elif page.exists() and not (page.is_dir() and _is_new_or_page(page)):
        raise OptionsError(f"{str(page)!r} holds something else than such a page: choose a new folder for --static")


def _is_new_or_page(folder: Path) -> bool:
    """Whether `folder` holds nothing, or an earlier page; what the system puts into every folder does not count."""
    names = {entry.name for entry in folder.iterdir() if not is_skipped(entry.name)}
    return not names or (names <= {_INDEX, _PICTURES} and _is_page(folder / _INDEX))


def _is_page(path: Path) -> bool:
    """Whether the file at `path` is an earlier page."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_MARK_BYTES)


def _write_file(catalog: Catalog, page: Path, temporary: Path, show: Callable[[int], None]) -> None:
    def embed(_photo: int, _which: Which, data: bytes) -> str:
        return f"data:image/jpeg;base64,{b64encode(data).decode('ascii')}"

    made = temporary / _INDEX
    with made.open("wb") as file:
        _write_page(file, catalog, side=_FILE_SIDE, link=embed, show=show)
    made.replace(page)


def _write_folder(catalog: Catalog, page: Path, temporary: Path, show: Callable[[int], None]) -> None:
    pictures = temporary / _PICTURES
    pictures.mkdir()

    def save(photo: int, which: Which, data: bytes) -> str:
        name = f"{photo}-{which}.jpg"
        (pictures / name).write_bytes(data)
        return f"{_PICTURES}/{name}"

    with (temporary / _INDEX).open("wb") as file:
        _write_page(file, catalog, side=_FOLDER_SIDE, link=save, show=show)
    page.mkdir(exist_ok=True)
    (temporary / _INDEX).replace(page / _INDEX)  # first: it marks the folder as a page that may be written again
    shutil.rmtree(page / _PICTURES, ignore_errors=True)
    pictures.replace(page / _PICTURES)


def _write_page(file: BinaryIO, catalog: Catalog, *, side: int, link: _Link, show: Callable[[int], None]) -> None:
    """Write the HTML; the photos go in one by one, so that memory holds one."""
    head, body, end = _inlined().partition("</body>")
    file.write(f'{head}<script type="application/json" id="data">'.encode())
    file.write(b'{"summary":' + _script_json(summary_of(catalog)) + b',"photos":[')
    for number, card in enumerate(_cards(catalog, side=side, link=link)):
        file.write((b"," if number else b"") + _script_json(card))
        show(number + 1)
    file.write(f"]}}</script>{body}{end}".encode())


def _cards(catalog: Catalog, *, side: int, link: _Link) -> Iterator[Card]:
    after: int | None = None
    while batch := catalog.page(after=after):
        for photo in batch:
            card = card_of(catalog, photo)
            pictures: dict[Which, str] = {}
            for which in card.pictures:
                data = _rendered(catalog.out, photo, which, side=side)
                if data is not None:
                    pictures[which] = link(photo.id, which, data)
            unreadable = [which for which in card.pictures if which not in pictures]
            yield msgspec.structs.replace(card, pictures=pictures, missing=[*card.missing, *unreadable])
        after = batch[-1].id


def _rendered(out: Path, photo: Photo, which: Which, *, side: int) -> bytes | None:
    """One picture, None when there is none that can be decoded."""
    path = path_of(out, photo, which)
    try:
        return None if path is None else render(path, side=side, page=page_of(photo, which))
    except (PhotoRejected, DiskError):
        return None


def _script_json(value: object) -> bytes:
    r"""`value` as JSON for a script element: ``<`` is escaped, so that no ``</script>`` ends it."""
    return msgspec.json.encode(value).replace(b"<", b"\\u003c")


def _inlined() -> str:
    """The page's HTML with its assets in it, and a policy that allows exactly these."""
    scripts: list[str] = []

    def asset(found: re.Match[str]) -> str:
        kind, is_script, name = found.groups()
        content = read_asset(ASSETS[name], name)
        if is_script:
            scripts.append(content)
            return ""
        if kind == "icon":
            return f'<link rel="icon" href="data:image/svg+xml;base64,{b64encode(content.encode()).decode("ascii")}">'
        return f"<style>{content}</style>"

    html = _ASSET.sub(asset, read_asset(ASSETS["view.html"], "view.html"))
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    policy = (
        f"default-src 'none'; img-src 'self' data: file:; script-src {_hashes(scripts)}; style-src {_hashes(styles)};"
        " base-uri 'none'; form-action 'none'"
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    html = html.replace(_CHARSET, f"{_CHARSET}\n{_MARK}\n{meta}", 1)
    # At the end, as `defer` has no meaning for them: by then the page is there.
    inline = chain.from_iterable(("<script>", script, "</script>\n") for script in scripts)
    return html.replace("</body>", f"</body>{''.join(inline)}", 1)


def _hashes(contents: list[str]) -> str:
    return " ".join(f"'sha256-{b64encode(sha256(content.encode()).digest()).decode('ascii')}'" for content in contents)
