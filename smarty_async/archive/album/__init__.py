"""The album: a folder with exactly one picture a photo."""

from __future__ import annotations

from smarty_async.archive.album.making import PREFER, AlbumResult, Problem, make_album

__all__ = ["PREFER", "AlbumResult", "Problem", "make_album"]
