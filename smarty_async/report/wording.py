"""How things are put for people: numbers, money, time, and text that came from elsewhere."""

from __future__ import annotations

__all__ = ["count", "duration", "money", "plain"]

_MINUTE = 60
_HOUR = 3600


def plain(text: str) -> str:
    """`text` on one line, safe to print: a photo's name or a service's sentence may hold anything.

    Line ends, control characters (a terminal would obey them) and bytes that are no UTF-8 come out escaped.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def count(number: int, noun: str) -> str:
    """``1 photo``, ``1,200 photos``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def money(rubles: float) -> str:
    """An estimated sum, in ₽."""
    return f"about {rubles:,.2f} ₽"


def duration(seconds: float) -> str:
    """``8 s``, ``2 min 5 s``, ``3 h 20 min``: as exact as anyone wants to know it."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE} min"
