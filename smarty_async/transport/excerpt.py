"""The beginning of an answer that should be short."""

from __future__ import annotations

import aiohttp

__all__ = ["beginning"]

_MOST = 1 << 16
"""How much of it is read, in bytes."""


async def beginning(response: aiohttp.ClientResponse) -> bytes:
    """Its body, cut where an error or a grant has long ended."""
    text = bytearray()
    async for data in response.content.iter_any():
        text += data
        if len(text) >= _MOST:
            break
    return bytes(text[:_MOST])
