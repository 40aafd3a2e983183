"""Checks of the arguments that a caller gives; what they refuse, they name."""

from __future__ import annotations

import math
import sys
from typing import Any, cast, get_type_hints

import msgspec

from smarty_async.errors import OptionsError

__all__ = ["check_concurrency", "check_count", "check_numbers", "check_printable", "check_size", "check_type"]


def check_type(name: str, value: object, *types: Any) -> None:
    """Refuse an argument of a wrong type; its value, which may be a secret, is not shown.

    Args:
        name: the argument's.
        value: what the caller gave.
        *types: what it may be; None for itself.

    Raises:
        OptionsError: it is of another type.
    """
    if not isinstance(value, tuple(type(one) if one is None else one for one in types)):
        names = " or ".join("None" if one is None else str(one.__name__) for one in types)
        raise OptionsError(f"{name} must be {names}, not {type(value).__name__}")


def check_printable(name: str, value: str) -> None:
    """Raise OptionsError for a text, perhaps a secret, that holds a line end or another control character."""
    if not value.isprintable():
        raise OptionsError(f"{name} holds more than printable text: a line end, for example")


def check_count(name: str, value: float) -> None:
    """Refuse a number of whole things that is a fraction or too large; it may be infinite.

    Raises:
        OptionsError: it is a float other than infinity, or over `sys.maxsize`.
    """
    if isinstance(value, float) and value != math.inf:
        raise OptionsError(f"{name} must be a whole number (an int), not {value}")
    check_size(name, value)


def check_concurrency(value: int) -> None:
    """Refuse a number of open requests that is none, or not whole.

    Raises:
        OptionsError: it is no int, or under 1.
    """
    check_type("concurrency", value, int)
    if value < 1:
        raise OptionsError(f"concurrency must be at least 1, not {value}")
    check_count("concurrency", value)


def check_size(name: str, value: float) -> None:
    """Refuse an int that is too large to be computed with: floats end long before ints.

    Raises:
        OptionsError: it is over `sys.maxsize`.
    """
    if isinstance(value, int) and value > sys.maxsize:
        raise OptionsError(f"{name} must be at most {sys.maxsize}")


def check_numbers(
    struct: msgspec.Struct, *, may_be_zero: tuple[str, ...] = (), may_be_none: tuple[str, ...] = ()
) -> None:
    """Refuse numbers of `struct`, also within tuples, that are not greater than 0.

    Raises:
        OptionsError: one is too small, not whole where it should be, too large, or no number.
    """
    hints = get_type_hints(type(struct))
    for name in struct.__struct_fields__:
        value: Any = getattr(struct, name)
        if value is None and name in may_be_none:
            continue
        check = check_count if "int" in str(hints[name]) else check_size
        for number in cast("tuple[float, ...]", value if isinstance(value, tuple) else (value,)):
            check_type(name, number, int, float)
            if not (number >= 0 if name in may_be_zero else number > 0):
                least = "at least" if name in may_be_zero else "greater than"
                raise OptionsError(f"{name} must be {least} 0, not {number}")
            check(name, number)
