"""The chunks of a PNG: where they are, whether they are whole, and the file without those that decoders fail on.

Layout: Portable Network Graphics (W3C, third edition, 2025).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from smarty_async.archive.photos.excerpt import excerpt
from smarty_async.errors import PhotoRejected

__all__ = ["PngScan", "chunks", "international_text", "read_chunk", "rewritten", "scan_png"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_CHUNK_BYTES: Final = 1 << 20
_MOST_CHUNKS: Final = 1_000_000

_MOST_TEXT: Final = 900_000
"""Bytes of text, unpacked, with which a PNG is sent as it is: Pillow refuses a text of 1 MiB, libpng one of 8 MB."""

_TEXT: Final = (b"tEXt", b"zTXt", b"iTXt")
_PALETTE: Final = 3
"""The colour type of pixels that are numbers of colours."""
_KEPT: Final = (b"IHDR", b"acTL")
_ANIMATION: Final = (b"acTL", b"fcTL", b"fdAT")
_LENGTHS: Final = {b"gAMA": range(4, 5), b"sRGB": range(1, 2), b"eXIf": range(8, 1 << 31)}
"""Lengths of chunks that change how the pixels are shown, in bytes; of another length decoders pass them over."""
_TRANSPARENCY: Final = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
"""Lengths of the chunk tRNS, by colour type."""
_ANIMATION_BYTES: Final = 8
"""The length of the chunk acTL."""
_COPIED: Final = 1 << 16
"""Bytes of a text chunk that are looked at: keyword and compressed text; longer ones count as long texts."""


class _Chunk(msgspec.Struct, frozen=True):
    kind: bytes
    offset: int
    length: int
    sound: bool
    data: bytes = b""
    text: int = 0

    @property
    def critical(self) -> bool:
        """Whether no decoder may do without it: its name begins with a capital letter."""
        return not self.kind[0] & 0x20


class PngScan(msgspec.Struct, frozen=True, kw_only=True):
    """What the chunks of a PNG say.

    Attributes:
        chunks: those that are in the file whole.
        end: where the picture ends, behind IEND; None when the file breaks off before.
        frames: of an animation, 1 for a picture.
        depth: bits of a sample.
        color_type: 0 gray, 2 RGB, 3 palette, 4 gray with alpha, 6 RGB with alpha.
        transparent: whether it has an alpha channel or a transparent colour.
        text: bytes of all its texts, unpacked; those past `_MOST_TEXT` are not counted in full.
    """

    chunks: tuple[_Chunk, ...]
    end: int | None
    frames: int
    depth: int
    color_type: int
    transparent: bool
    text: int

    def read(self, kind: bytes, stream: BinaryIO) -> bytes:
        """The data of the first chunk of a kind; empty when there is none."""
        for chunk in self.chunks:
            if chunk.kind == kind and chunk.sound:
                stream.seek(chunk.offset + 8)
                return stream.read(min(chunk.length, _CHUNK_BYTES))
        return b""

    @property
    def sendable(self) -> bool:
        """Whether every decoder takes the file as it is."""
        return self.end is not None and self.text <= _MOST_TEXT and all(one.sound for one in self.chunks)

    def without_notes(self) -> PngScan:
        """Only the chunks that decoders need, and those, laid out as they must be, that change how pixels are shown."""
        lengths = {**_LENGTHS, b"tRNS": _TRANSPARENCY.get(self.color_type, range(0))}
        needed = tuple(one for one in self.chunks if one.critical or one.length in lengths.get(one.kind, ()))
        return msgspec.structs.replace(self, chunks=needed)


def chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, where it begins, and the length of its data, in bytes; up to where the file ends."""
    at = len(_SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:  # noqa: PLR2004 - length and name
            return
        length = int.from_bytes(head[:4])
        yield head[4:], at, length
        at += 12 + length


def read_chunk(
    stream: BinaryIO, kind: bytes, at: int, length: int, *, most: int = _COPIED
) -> tuple[bytes, bool | None]:
    """The first `most` bytes of a chunk, and whether its checksum is right; None when the file breaks off in it."""
    stream.seek(at + 8)
    checksum, left, start = zlib.crc32(kind), length, b""
    while left:
        piece = stream.read(min(left, max(most, _CHUNK_BYTES)))
        if not piece:
            return start, None
        checksum = zlib.crc32(piece, checksum)
        start = start or piece[:most]
        left -= len(piece)
    written = stream.read(4)
    return start, int.from_bytes(written) == checksum if len(written) == 4 else None  # noqa: PLR2004


def scan_png(stream: BinaryIO) -> PngScan:
    """Read the chunks of a PNG up to IEND and check each checksum. Costs 1 ms a megabyte, a fiftieth of decoding it.

    Raises:
        PhotoRejected: with type ``damaged`` when the checksum of a chunk is wrong that decoding needs, or no chunk
            is where one must be; with type ``truncated`` or ``not_an_image`` when there is no header.
        OSError: the file cannot be read.
    """
    size = stream.seek(0, os.SEEK_END)
    found, end = list[_Chunk](), None
    for kind, at, length in chunks(stream):
        chunk = _checked(stream, kind, at, length, is_first=not found)
        if chunk is None:
            break
        found.append(chunk)
        if kind == b"IEND":
            end = at + 12 + length
            break
    if not found:
        raise PhotoRejected("the PNG file ends in its header: copy it again", type="truncated")
    header = found[0].data
    if len(header) != 13:  # noqa: PLR2004 - as the format has it
        raise PhotoRejected("its PNG header cannot be read", type="not_an_image")
    color_type = header[9]
    if end is not None:
        _check_parts([one.kind for one in found if one.length], color_type)
    return PngScan(
        chunks=tuple(found),
        end=end if end is not None and end <= size else None,
        frames=_frames(found),
        depth=header[8],
        color_type=color_type,
        transparent=color_type in (4, 6) or any(one.kind == b"tRNS" for one in found),
        text=sum(one.text for one in found),
    )


def _check_parts(kinds: list[bytes], color_type: int) -> None:
    """Make sure that the chunks that hold something, given by their kinds, hold a picture.

    Raises:
        PhotoRejected: with type ``damaged``.
    """
    if b"IDAT" not in kinds:
        raise _damaged("it holds no pixels")
    if color_type == _PALETTE and b"PLTE" not in kinds[: kinds.index(b"IDAT")]:
        raise _damaged("its pixels have no palette")


def _frames(chunks: list[_Chunk]) -> int:
    """Frames of the animation that is announced before the pixels."""
    for chunk in chunks:
        if chunk.kind == b"IDAT":
            break
        if chunk.kind == b"acTL" and chunk.length == _ANIMATION_BYTES:
            return int.from_bytes(chunk.data[:4])
    return 1


def _checked(stream: BinaryIO, kind: bytes, at: int, length: int, *, is_first: bool) -> _Chunk | None:
    """The chunk that begins at a position, None when the file breaks off in it."""
    if is_first and kind != b"IHDR":
        variant = "Apple's variant of PNG, which others cannot read" if kind == b"CgBI" else "no PNG: it has no header"
        raise PhotoRejected(f"it is {variant}", type="not_an_image")
    if not kind.isalpha() or length >= 1 << 31:
        raise _damaged(f"no chunk begins at byte {at:,}")
    data, sound = read_chunk(stream, kind, at, length)
    if sound is None:
        if kind != b"IEND":
            return None
        sound = True  # nothing is in it, and its checksum is known
    chunk = _Chunk(kind, at, length, sound, data if kind in _KEPT else b"", _text_length(kind, data, length))
    if not sound and chunk.critical:
        raise _damaged(f"the checksum of its {kind.decode()} chunk at byte {at:,} is wrong")
    return chunk


def _damaged(what: str) -> PhotoRejected:
    return PhotoRejected(f"the file is damaged: {what}: copy it again", type="damaged")


def _text_length(kind: bytes, data: bytes, length: int) -> int:
    """Bytes of a text, unpacked up to `_MOST_TEXT`; 0 for other chunks."""
    if kind not in _TEXT:
        return 0
    _, _, rest = data.partition(b"\0")
    is_packed, text = international_text(rest) if kind == b"iTXt" else (kind == b"zTXt", rest[1:])
    if not is_packed:
        return length
    if length > _COPIED:
        return _MOST_TEXT + 1
    try:
        return len(zlib.decompressobj().decompress(text, _MOST_TEXT + 1))
    except zlib.error:
        return _MOST_TEXT + 1  # no decoder should have to meet it


def international_text(rest: bytes) -> tuple[bool, bytes]:
    """Whether the text of an iTXt chunk is compressed, and the text; `rest` is what follows the chunk's keyword."""
    return rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]  # behind two flags, a language, a translated keyword


def rewritten(scan: PngScan, stream: BinaryIO) -> BinaryIO:
    """The PNG with the same pixels and without texts, animation, chunks whose checksum is wrong, and a broken end."""
    left_out = (b"IEND", *_TEXT, *_ANIMATION)
    kept = ((one.offset, 12 + one.length) for one in scan.chunks if one.sound and one.kind not in left_out)
    return excerpt(stream, (_SIGNATURE, *kept, _END))
