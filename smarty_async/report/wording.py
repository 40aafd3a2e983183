"""How numbers, money, time and foreign text are written for people."""

from __future__ import annotations

import textwrap

__all__ = ["count", "duration", "megabytes", "money", "pace", "plain", "verb", "wrapped"]

_MINUTE = 60
_HOUR = 3600


def plain(text: str) -> str:
    """`text` on one line, safe to print: a photo's name or a service's sentence may hold anything.

    Line ends, control characters (a terminal would obey them) and bytes that are no UTF-8 come out escaped.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def wrapped(line: str, width: int) -> str:
    """`line` in lines of at most `width` characters, broken between words only."""
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 photo``, ``1,200 photos``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def verb(number: int, singular: str, plural: str) -> str:
    """The form of a verb, or of any word, that goes with `number`."""
    return singular if number == 1 else plural


def money(rubles: float) -> str:
    """An estimated sum, in ₽."""
    return f"about {rubles:,.2f} ₽"


def megabytes(size: int) -> str:
    """A size in bytes, in MB."""
    return f"{size / 1_000_000:,.1f} MB"


def duration(seconds: float) -> str:
    """``8 s``, ``2 min 5 s``, ``3 h 20 min``: as exact as anyone wants to know it."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE} min"


def pace(seconds_a_photo: float) -> str:
    """``2.5 photos/s``, ``3.2 s/photo``: whichever number is not under one."""
    if seconds_a_photo <= 1:
        return f"{1 / max(seconds_a_photo, 1e-9):,.1f} photos/s"
    return f"{seconds_a_photo:,.1f} s/photo"
