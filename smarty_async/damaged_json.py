"""What a parser raises for text that is no JSON, or other JSON than was expected. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["DAMAGED_JSON"]

DAMAGED_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""A file that a disk, a crash or somebody's editor has changed holds any bytes. msgspec's own error is for malformed
JSON and for wrong types; for bytes that are not UTF-8 it raises UnicodeDecodeError, a ValueError, and for deep nesting
RecursionError. `json` raises ValueErrors of its own."""
