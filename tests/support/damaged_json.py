"""JSON as a disk, a crash or an editor may leave it."""

from __future__ import annotations

__all__ = ["DAMAGED"]

DAMAGED = (b"", b"{", b"[]", b'{"\xff":"\xff"}', b'{"a":' + b"[" * 10_000)
"""Nothing, a part, something else than an object, bytes that are not UTF-8, and nesting that no parser follows."""
