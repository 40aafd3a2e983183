"""How numbers, money, time and foreign text are written for people, and what to do about each type of error."""

from __future__ import annotations

import re

__all__ = [
    "advice",
    "columns",
    "count",
    "duration",
    "end_of",
    "estimated",
    "megabytes",
    "money",
    "pace",
    "plain",
    "verb",
    "wrapped",
]


_MINUTE = 60
_HOUR = 3600
_STEPS = ((10, 1), (_MINUTE, 5), (3 * _MINUTE, 30), (10 * _MINUTE, _MINUTE), (_HOUR, 5 * _MINUTE), (24 * _HOUR, 600))
"""What an estimated time is rounded to: below so many seconds, to so many."""


_JOINERS = "\u200c\u200d"


def plain(text: str) -> str:
    """`text` on one line, safe to print: a photo's name or a service's sentence may hold anything.

    Line ends, control characters (which a terminal would execute) and bytes that are not UTF-8 come out escaped. What
    joins letters and emoji is part of how they are written.
    """
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for each Chinese or Japanese character, none for an accent."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - most text is ASCII, and the start is quick

    return cell_len(text)


def end_of(text: str, width: int) -> str:
    """`text`, or as much of its end as fits into `width` columns behind an ellipsis: the end of a path says most."""
    if columns(text) <= width:
        return text
    start = next((at for at in range(len(text)) if columns(text[at:]) < width), len(text))
    return f"…{text[start:]}"


def wrapped(line: str, width: int) -> str:
    """`line` in lines of at most `width` columns, broken between words only: a longer word has a longer line."""
    width = max(width, 20)
    if columns(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    lines = [""]
    for word in re.findall(r" *[^ ]+", line):
        if lines[-1].strip() and columns(lines[-1] + word) > width:
            lines.append(indent + word.lstrip())
        else:
            lines[-1] += word
    return "\n".join(lines)


def count(number: int, noun: str) -> str:
    """``1 photo``, ``1,200 photos``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def verb(number: int, singular: str, plural: str) -> str:
    """The form of a verb, or of any word, that goes with `number`."""
    return singular if number == 1 else plural


def money(rubles: float) -> str:
    """An estimated sum, in ₽."""
    return f"about {rubles:,.2f} ₽"


def megabytes(size: int) -> str:
    """A size in bytes, in MB."""
    return f"{size / 1_000_000:,.1f} MB"


def estimated(seconds: float) -> str:
    """A time that nobody knows exactly: ``about 8 s``, ``about 40 s``, ``about 1 min 30 s``, ``about 3 h 20 min``."""
    step = next((step for below, step in _STEPS if seconds < below), _HOUR)
    rounded = max(1, round(seconds / step)) * step
    parts = ((rounded // _HOUR, "h"), (rounded % _HOUR // _MINUTE, "min"), (rounded % _MINUTE, "s"))
    return " ".join(["about", *(f"{number:,} {unit}" for number, unit in parts if number)])


def duration(seconds: float) -> str:
    """``8 s``, ``2 min 5 s``, ``3 h 20 min``: as exact as anyone wants to know it."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s" if whole else "less than 1 s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE} min"


def pace(seconds_a_photo: float) -> str:
    """``2.5 photos/s``, ``3.2 s/photo``: whichever number is not under one."""
    if seconds_a_photo <= 1:
        return f"{1 / max(seconds_a_photo, 1e-9):,.1f} photos/s"
    return f"{seconds_a_photo:,.1f} s/photo"


_AGAIN = "run the same command again with --retry-failed, which sends every failed photo again"
"""Only for photos that a run without it leaves as they are: those that were sent and failed, unless they changed."""
_ELSEWHERE = "choose another --out for them alone"
"""For them alone: a run into another folder sends everything that it is given."""
_TROUBLE = f"the service had trouble with these photos; later, {_AGAIN}"

_SAID = frozenset(("truncated", "damaged", "raw", "heic", "not_kept"))
"""Types whose messages say what to do."""

_ADVICE = {
    "not_an_image": "these files hold no picture that can be read; leave them out with --exclude",
    "empty": "copy these files again from where they came, or leave them out with --exclude",
    "animation": "these are animations, not photos; leave them out with --exclude",
    "unsupported": "if the decoders are installed, save these photos as JPEG or PNG in another program",
    "unreadable_folder": "make these folders readable, and the same command takes the photos in them; or leave them out"
    " with --exclude 'FOLDER/*'",
    "unreadable": "check that these files exist and that you may read them",
    "not_downloaded": "download these photos (in the Finder: Download Now), and run the same command again",
    "too_large": "if a photo has too many bytes and your account accepts larger ones, raise --max-image-bytes",
    "changed": "these files changed while they were being sent; the same command takes them as they are now",
    "collision": f"their results would overwrite those of another photo; {_ELSEWHERE}",
    "output_refused": "move away the file that stands in the place of the result, and run the same command again; if"
    f" the disk does not accept the name, {_ELSEWHERE}",
    "output_exists": f"files of yours have the names of these results; move them, or {_ELSEWHERE}",
    "path_too_long": f"their paths are too long for this disk; {_ELSEWHERE}",
    "listed_object": "name them as a source instead, also by a pattern such as 's3://bucket/scans/**/*.jpg'",
    "no_such_page": "these files changed while they were being sent; the same command takes them as they are now",
    "permanent": "the service does not accept these photos; once they are changed, the same command sends them",
    "temporary": _TROUBLE,
    "unanswered": _TROUBLE,
    "broken_output": _TROUBLE,
}


def advice(kind: str) -> str | None:
    """What to do about an error's type: a sentence without its full stop, for the person with the photos.

    None where each message says it: copy the file again, install the decoder.
    """
    if kind in _SAID:
        return None
    return _ADVICE.get(kind, f"to try them once more, {_AGAIN}")
