"""What to do about photos that did not come to a good end, by the type of their error."""

from __future__ import annotations

__all__ = ["advice"]

_AGAIN = "run the same command again with --retry-failed"
_TROUBLE = f"the service had trouble with these; later, {_AGAIN}"

_ADVICE = {
    "not_an_image": "these files hold no picture that can be read: leave them out with --exclude",
    "empty": "these files are empty: copy them again from where they came, or leave them out with --exclude",
    "truncated": "these files are damaged: copy them again from where they came",
    "damaged": "these files are damaged: copy them again from where they came",
    "animation": "these are animations, not photos: leave them out with --exclude",
    "raw": "camera raw files need decoders: pip install 'smarty_async[formats]'",
    "heic": "these files need decoders: pip install 'smarty_async[formats]'",
    "unsupported": "these need more decoders: pip install 'smarty_async[formats]', or save them as JPEG or PNG",
    "unreadable": "check that these files are there, and that you may read them",
    "too_large": "add --fit to send a smaller copy; or, if your account allows more, raise --max-image-bytes",
    "changed": f"these files changed while they were being sent: {_AGAIN}",
    "collision": "their results would overwrite another photo's: restore them into another --out",
    "output": "these are results of an earlier run: leave them out, or choose another --out",
    "permanent": f"the service does not take these photos; once they are changed, {_AGAIN}",
    "temporary": _TROUBLE,
    "unanswered": _TROUBLE,
    "broken_output": _TROUBLE,
}


def advice(kind: str) -> str:
    """One sentence for an error's type, in words for the person with the photos."""
    return _ADVICE.get(kind, f"to try these once more, {_AGAIN}")
