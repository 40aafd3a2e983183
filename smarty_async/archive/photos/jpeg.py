"""The segments of a JPEG file: what is in front of the pixels, where the picture ends, whether zeros stand in it.

Nothing is decoded. Behind a picture there may be the video of a motion photo, further pictures (MPF), notes of the
camera, or padding. Inside it there may be a hole: many download and copy programs allocate a file whole, filled with
zeros, and write into it, so that a transfer that breaks off leaves zeros.

Layout: ITU-T T.81, annexes B (segments) and C (Huffman tables); JFIF: ITU-T T.871; EXIF: CIPA DC-008, section 4.7; XMP:
XMP Specification, Part 3; ICC: ICC.1:2022, annex B.4.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from typing import BinaryIO, Final

import msgspec

from smarty_async.archive.photos.damage import find_zero_tail

__all__ = [
    "JPEG_START",
    "LARGEST_PAYLOAD",
    "JpegError",
    "JpegExtent",
    "JpegHeader",
    "JpegSource",
    "JpegTruncated",
    "Segment",
    "SegmentKind",
    "find_jpeg_extent",
    "has_all_scans",
    "read_header",
    "segment",
]

JpegSource = bytes | BinaryIO
"""A JPEG file: its bytes, or a seekable stream of them."""

JPEG_START: Final = b"\xff\xd8\xff"
"""The first bytes of every JPEG file."""

LARGEST_PAYLOAD: Final = 0xFFFF - 2
"""The most bytes that one segment holds."""

_MOST_HELD: Final = 20 << 20
"""Bytes of metadata in one file."""
_MOST_SEGMENTS: Final = 10_000
_MOST_SCANS: Final = 5_000
"""Scans, and segments between them."""

_MOST_SCAN_COMPONENTS: Final = 4
"""Components whose data one scan holds (ITU-T T.81, B.2.3)."""
_LONGEST_SCAN_HEADER: Final = 4 + 2 * _MOST_SCAN_COMPONENTS
"""Bytes behind its length: how many components, two for each, which coefficients, and their bits."""
_COEFFICIENTS: Final = 64
"""Of a block."""

_WINDOW_BYTES: Final = 1 << 16
_FIRST_BYTES: Final = 1 << 12
_CHUNK_BYTES: Final = 1 << 17
"""Bytes of a scan read at first, and then at a time. Memory of larger pieces goes back to the system, and is paged in
again each time."""

_DHT, _SOI, _EOI, _SOS, _DQT, _COM, _APP0, _APP15 = 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xFE, 0xE0, 0xEF
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMMON: Final = frozenset((0xC0, 0xC1, 0xC2))
_PROGRESSIVE, _LOSSLESS, _HIERARCHICAL = 0xC2, 0xC3, frozenset((0xC5, 0xC6, 0xC7))
_ARITHMETIC: Final = frozenset((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))

_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_LOWEST_MARKER: Final = 0xC0
"""Those below are reserved; decoders give up at them."""
_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff[\xc4\xd8-\xdd\xfe]")
"""Fewer than elsewhere: a flipped bit in the data of a scan must not be taken for a segment."""
_TABLES: Final = re.compile(rb"(?:[\x00-\x0f].{64}|[\x10-\xff].{128})*", re.DOTALL)
"""The quantization tables that a segment holds."""

_HOLE: Final = bytes(512)
"""The shortest run of zeros taken for a hole: one sector of a disk."""
_PADDING_BYTES: Final = 64
"""The longest run of zeros with which a file may break off without its being taken for a hole."""
_RUNS: Final = frozenset(range(0x10, 0xF0, 0x10))
"""Symbols of Huffman tables that end runs of blocks."""


class JpegError(ValueError):
    """The file is no JPEG, or its segments are malformed."""


class JpegTruncated(JpegError):
    """The file ends, or another picture begins, before the pixels."""


class SegmentKind:
    """What a segment holds."""

    JFIF: Final = "JFIF"
    EXIF: Final = "EXIF"
    XMP: Final = "XMP"
    EXTENDED_XMP: Final = "extended XMP"
    ICC: Final = "ICC"
    IPTC: Final = "IPTC"
    ADOBE: Final = "Adobe"
    COMMENT: Final = "comment"
    APPLICATION: Final = "application"
    FRAME: Final = "frame"
    OTHER: Final = "other"


_SIGNATURES: Final = {
    SegmentKind.JFIF: (0xE0, b"JFIF\0"),
    SegmentKind.EXIF: (0xE1, b"Exif\0\0"),
    SegmentKind.XMP: (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    SegmentKind.EXTENDED_XMP: (0xE1, b"http://ns.adobe.com/xmp/extension/\0"),
    SegmentKind.ICC: (0xE2, b"ICC_PROFILE\0"),
    SegmentKind.IPTC: (0xED, b"Photoshop 3.0\0"),
    SegmentKind.ADOBE: (0xEE, b"Adobe"),
    SegmentKind.COMMENT: (_COM, b""),
}
_KINDS: Final = {
    marker: [(kind, signature) for kind, (number, signature) in _SIGNATURES.items() if number == marker]
    for marker, _ in _SIGNATURES.values()
}
"""Kinds by marker, with their signatures."""
_READ: Final = frozenset((*_KINDS, *_SOF, _DQT))
"""Markers of the segments that are read."""


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One segment.

    Attributes:
        kind: what it holds, see `SegmentKind`.
        marker: its second byte.
        start: its first byte's position in the file.
        end: the position behind it.
    """

    kind: str
    marker: int
    start: int
    end: int


class JpegHeader(msgspec.Struct, frozen=True, gc=False):
    """What is in front of a JPEG's pixels.

    Attributes:
        segments: all from the file's second byte pair to the first scan.
        payloads: what the segments of the kinds with a signature, and comments, hold, in the file's order.
        held: bytes of all `payloads`.
        marker: the second byte of the frame's marker, which tells the coding.
        bits: of a sample.
        height: pixels.
        width: pixels.
        components: 1 for gray, 3 for colour, 4 for CMYK.
        rgb: whether the component identifiers say that the colours are stored as RGB.
        sound: whether its quantization tables are whole.
        end: where the header of the first scan begins, behind its marker.
    """

    segments: tuple[Segment, ...]
    payloads: dict[str, tuple[bytes, ...]]
    held: int
    marker: int
    bits: int
    height: int
    width: int
    components: int
    rgb: bool
    sound: bool
    end: int

    @property
    def is_common(self) -> bool:
        """Whether every decoder reads its coding: 8 bits, Huffman codes, not lossless."""
        return self.marker in _COMMON and self.bits == 8  # noqa: PLR2004

    @property
    def is_progressive(self) -> bool:
        """Whether each scan brings details to the ones before it."""
        return self.marker == _PROGRESSIVE

    def described(self) -> str:
        """The kind of a frame that is not common, in words that follow "it is"."""
        kind = {0xC3: "lossless ", 0xC9: "arithmetic-coded ", 0xCA: "arithmetic-coded "}.get(self.marker, "")
        return f"a {self.bits}-bit {kind}JPEG"


def read_header(source: JpegSource) -> JpegHeader:
    """Read the segments in front of the pixels. Bytes between segments that belong to none are passed over.

    Raises:
        JpegError: they are malformed, or too many.
        JpegTruncated: the file ends in them.
        OSError: it cannot be read.
    """
    places, end = _places(source)
    segments: list[Segment] = []
    payloads: dict[str, tuple[bytes, ...]] = {}
    held, frame, sound = 0, b"", True
    for marker, start, stop in places:
        kind = SegmentKind.APPLICATION if _APP0 <= marker <= _APP15 else SegmentKind.OTHER
        if marker in _READ:
            data = source[start + 4 : stop] if isinstance(source, bytes) else _read(source, start + 4, stop - start - 4)
            for known, signature in _KINDS.get(marker, ()):
                if data.startswith(signature):
                    kind = known
                    # A tuple of bytes, unlike a list, is nothing for the cycle collector: it stays while a photo waits.
                    payloads[kind] = (*payloads.get(kind, ()), data[len(signature) :])
                    held += len(data)
                    break
            if marker in _SOF:
                if frame:
                    raise JpegError("it has two frames")
                kind, frame = SegmentKind.FRAME, bytes((marker,)) + data
            elif marker == _DQT and not _TABLES.fullmatch(data):
                sound = False
            if held > _MOST_HELD:
                raise JpegError("its segments are too many")
        segments.append(Segment(kind, marker, start, stop))
    if len(frame) < 7 or len(frame) != 7 + 3 * frame[6]:  # noqa: PLR2004 - marker, bits, height, width, components
        raise JpegError("it has no frame")
    marker, bits, height, width, components = struct.unpack_from(">BBHHB", frame)
    rgb = frame[7:16:3] == b"RGB"
    return JpegHeader(
        tuple(segments), payloads, held, marker, bits, height, width, components, rgb=rgb, sound=sound, end=end
    )


def _places(source: JpegSource) -> tuple[list[tuple[int, int, int]], int]:
    """Marker, begin and end of each segment in front of the first scan, and the position behind that one's marker."""
    size = len(source) if isinstance(source, bytes) else source.seek(0, os.SEEK_END)
    data, base = (source if isinstance(source, bytes) else _read(source, 0, _WINDOW_BYTES)), 0
    if data[:2] != b"\xff\xd8":
        raise JpegError("it does not begin as a JPEG")
    found: list[tuple[int, int, int]] = []
    at = 2
    while len(found) < _MOST_SEGMENTS:
        if at + 4 > base + len(data) < size:  # the window ends, and the file does not
            data, base = _read(source, at, _WINDOW_BYTES), at
            if len(data) < _WINDOW_BYTES and base + len(data) < size:
                raise JpegTruncated("it has become shorter")
        match = _MARKER.search(data, at - base)
        start = base + (match.start() if match else len(data) - 1)
        if start + 4 > base + len(data) < size:
            at = start
            continue
        marker = data[start - base + 1] if match else _EOI
        if marker == _SOS:
            return found, start + 2
        at = start + 2 + (int.from_bytes(data[start - base + 2 : start - base + 4]) or 2)
        if marker < _LOWEST_MARKER:
            raise JpegError("it has an unknown marker")
        if marker in (_SOI, _EOI) or at > size:
            raise JpegTruncated("its segments break off")
        found.append((marker, start, at))
    raise JpegError("its segments are too many")


def segment(kind: str, payload: bytes) -> bytes:
    """A segment that holds `payload`, at most `LARGEST_PAYLOAD` bytes with the signature of its kind."""
    marker, signature = _SIGNATURES[kind]
    return struct.pack(">BBH", 0xFF, marker, 2 + len(signature) + len(payload)) + signature + payload


class JpegExtent(msgspec.Struct, frozen=True, kw_only=True):
    """Where a JPEG's picture ends.

    Attributes:
        end: bytes up to and with the picture's end marker; None when the file breaks off before.
        hole: where zeros begin that replace the picture's data, None when there are none.
    """

    end: int | None = None
    hole: int | None = None


def find_jpeg_extent(source: JpegSource, header: JpegHeader | None = None) -> JpegExtent:
    """Find where the picture in `source` ends. A stream is read up to there, 1 MiB at a time; nothing behind it.

    Costs about 1 ms a megabyte, a twentieth of decoding it.

    A run of zeros in the middle is taken for a hole only where the Huffman tables show that no flat area is encoded
    so: with the tables of most cameras always, with those made for one picture mostly not. In the scans of a
    progressive picture that bring details it always is, and in arithmetic codes. A file that breaks off in zeros has a
    hole in any case.

    Args:
        source: a JPEG file.
        header: its header; None when it was not read.

    Raises:
        OSError: it cannot be read.
    """
    end, hole, doubtful = None, None, None
    try:
        header = header or read_header(source)
    except JpegError:
        pass
    else:
        end, hole, doubtful = _walk(source, header)
    if end is None:
        return JpegExtent(hole=find_zero_tail(source, shortest=_PADDING_BYTES + 1))
    if hole is None and doubtful is not None and not has_all_scans(source, end):
        hole = doubtful
    return JpegExtent(end=end, hole=hole)


def _walk(source: JpegSource, header: JpegHeader) -> tuple[int | None, int | None, int | None]:
    """Go through the scans.

    Returns:
        The position behind the end marker, None when there is none, or another picture begins before; where the first
        hole in a scan begins; where the first zeros begin that are a hole only if scans are missing behind them.
    """
    tables = [(found.start + 4, found.end) for found in header.segments if found.marker == _DHT]
    hole: int | None = None
    doubtful: int | None = None
    start, marker = header.end - 2, _SOS
    for _ in range(_MOST_SCANS):
        length = int.from_bytes(_read(source, start + 2, 2))
        found, zeros = _next_marker(source, start + 2 + length)
        if zeros is not None and hole is None:
            if marker == _SOS and _shows_holes(source, header, tables, start):
                hole = zeros
            elif header.is_progressive and doubtful is None:
                doubtful = zeros
        if found is None:
            break
        if marker == _DHT:
            tables.append((start + 4, start + 2 + length))
        start, marker = found
        if marker in (_SOI, _EOI):
            return (start + 2 if marker == _EOI else None), hole, doubtful
    return None, hole, doubtful


def _next_marker(source: JpegSource, at: int) -> tuple[tuple[int, int] | None, int | None]:
    """Position and number of the next marker from `at` on, and where a run of zeros before it begins."""
    data, base = (source, 0) if isinstance(source, bytes) else (_read(source, at, _FIRST_BYTES), at)
    zeros: int | None = None
    is_hole = False
    while True:
        match = _MARKER_AFTER_SCAN.search(data, at - base)
        stop = match.start() if match else len(data) - data.endswith(b"\xff")
        if zeros is None and (run := data.find(_HOLE, at - base, stop)) >= 0:
            zeros = base + run
        # Zeros right before a marker are padding; what is read of the file may end in them.
        if zeros is not None and not is_hole:
            is_hole = bool(data[max(zeros - base, 0) : stop].strip(b"\0"))
        if match:
            return (base + stop, data[stop + 1]), zeros if is_hole else None
        more = b"" if isinstance(source, bytes) else _read(source, base + len(data), _CHUNK_BYTES)
        if not more:
            return None, zeros
        at = base = base + max(len(data) - len(_HOLE), 0)
        data = data[-len(_HOLE) :] + more


def _shows_holes(source: JpegSource, header: JpegHeader, tables: list[tuple[int, int]], start: int) -> bool:
    """Whether zeros in the scan at `start` are a hole: they cannot mean that blocks are as the one before and flat.

    Only Huffman codes let a long run of zeros stand for something: the symbol of the table's first code, again and
    again. Its low half is the size of a number that follows; where that is not 0, thousands of numbers would be the
    same. Of the symbols without a number, 0x00 ends a block, 0x10 to 0xE0 end runs of blocks, 0xF0 skips 16
    numbers (ITU-T T.81, F.1.2.2 and G.1.2.2). An encoder that counts runs never ends two of them in a row.
    """
    scan = _read(source, start + 4, max(int.from_bytes(_read(source, start + 2, 2)) - 2, 0))
    components = scan[0] if scan else 0
    if len(scan) < 4 + 2 * components or header.marker in _HIERARCHICAL:
        return False
    if header.marker in _ARITHMETIC:
        return True
    zero_codes, run_tables = _huffman_codes(_read(source, begin, end - begin) for begin, end in tables)
    used = scan[2 : 1 + 2 * components : 2]
    first, refines = scan[-3], scan[-1] >> 4
    constant = any(zero_codes.get(table >> 4, 0) for table in used)
    details = [0x10 | (table & 15) for table in used]
    if header.marker == _LOSSLESS:
        return constant
    if not header.is_progressive:
        return constant or any(zero_codes.get(table, 0) for table in details)
    if first == 0:  # a bit a block in refinements
        return constant and not refines
    return any(zero_codes.get(table, 0) or table in run_tables for table in details)


def _huffman_codes(payloads: Iterable[bytes]) -> tuple[dict[int, int], set[int]]:
    """By table, what its code of zeros means; and the tables that end runs of blocks."""
    zero_codes: dict[int, int] = {}
    run_tables: set[int] = set()
    for payload in payloads:
        left = payload
        while len(left) > 17:  # noqa: PLR2004 - a number, 16 counts, the first symbol
            table, end = left[0], 17 + sum(left[1:17])
            zero_codes[table] = left[17]
            run_tables.discard(table)
            if not _RUNS.isdisjoint(left[17:end]):
                run_tables.add(table)
            left = left[end:]
    return zero_codes, run_tables


def has_all_scans(source: JpegSource, end: int) -> bool:
    """Whether a scan brings each coefficient of each component of a progressive JPEG to its last bit.

    ITU-T T.81, G.1.1.

    Args:
        source: a JPEG file.
        end: where its picture ends, in bytes.

    Raises:
        OSError: it cannot be read.
    """
    try:
        header = read_header(source)
    except JpegError:
        return False
    frame = next(found.start for found in header.segments if found.kind == SegmentKind.FRAME)
    components = _read(source, frame + 10, 3 * header.components)[::3]
    missing = {(component, place) for component in components for place in range(_COEFFICIENTS)}
    at = header.end - 2
    for _ in range(_MOST_SCANS):
        scan = _read(source, at + 4, max(0, min(_LONGEST_SCAN_HEADER, end - at - 4)))
        size = scan[0] if scan else 0
        scan = scan[1 : 4 + 2 * size]
        is_scan = size <= _MOST_SCAN_COMPONENTS and len(scan) == 3 + 2 * size and scan[-2] < _COEFFICIENTS
        if is_scan and not scan[-1] & 15:
            band = range(scan[-3], scan[-2] + 1)
            missing.difference_update((component, place) for component in scan[: 2 * size : 2] for place in band)
        if not missing or (at := _find_scan(source, at + 2, end)) < 0:
            break
    return not missing


def _find_scan(source: JpegSource, at: int, end: int) -> int:
    """Where the next scan begins from `at` on, -1 when none does before `end`."""
    while at < end - 1:
        data = _read(source, at, min(_CHUNK_BYTES, end - at))
        if (found := data.find(b"\xff\xda")) >= 0:
            return at + found
        if len(data) < 2:  # noqa: PLR2004 - it has become shorter
            break
        at += len(data) - 1
    return -1


def _read(source: JpegSource, at: int, size: int) -> bytes:
    """`size` bytes from a position on, less where the file ends before."""
    if isinstance(source, bytes):
        return source[at : at + size]
    source.seek(at)
    return source.read(size)
