"""What to do about photos that were not restored, by the type of their error."""

from __future__ import annotations

__all__ = ["advice"]

_AGAIN = "run the same command again with --retry-failed"
_TROUBLE = f"the service had trouble with these photos; later, {_AGAIN}"
_COPY_AGAIN = "copy these files again from where they came"
_FORMATS = "pip install 'smarty_async[formats]'"

_ADVICE = {
    "not_an_image": "these files hold no picture that can be read; leave them out with --exclude",
    "empty": f"{_COPY_AGAIN}, or leave them out with --exclude",
    "truncated": _COPY_AGAIN,
    "damaged": _COPY_AGAIN,
    "animation": "these are animations, not photos; leave them out with --exclude",
    "raw": f"install the decoders for raw files: {_FORMATS}",
    "heic": f"install the decoders for these files: {_FORMATS}",
    "unsupported": f"install more decoders ({_FORMATS}), or save these photos as JPEG or PNG",
    "unreadable": "check that these files exist and that you may read them",
    "too_large": (
        "add --fit to send a smaller copy; or, where the bytes are too many and your account allows more, "
        "raise --max-image-bytes"
    ),
    "changed": f"these files changed while they were being sent; {_AGAIN}",
    "collision": "their results would overwrite those of another photo; choose another --out for them",
    "output": "these are results of an earlier run; leave them out, or choose another --out",
    "output_refused": f"the disk of --out does not take these names; choose another --out, or rename them and {_AGAIN}",
    "output_exists": "files of yours have the names of these results; move them, or choose another --out",
    "path_too_long": "their paths are too long for this disk; choose another --out",
    "no_such_page": f"these files changed while they were being sent; {_AGAIN}",
    "permanent": f"the service does not accept these photos; after changing them, {_AGAIN}",
    "temporary": _TROUBLE,
    "unanswered": _TROUBLE,
    "broken_output": _TROUBLE,
}


def advice(kind: str) -> str:
    """What to do about an error's type: a sentence without its full stop, for the person with the photos."""
    return _ADVICE.get(kind, f"to try them once more, {_AGAIN}")
