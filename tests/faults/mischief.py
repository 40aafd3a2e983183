"""Everything a service, or what stands between, can do wrong with one request. Each fault is one function.

Each says how its answer ends: `whole`; `cut`, when the last of what was written may never have been seen; or `spoiled`,
when all that was written before the trouble must have been.
"""

from __future__ import annotations

from faults import answers, items, refusals
from faults.turn import EARLY, LATE, Ending, Turn, envelope

__all__ = ["EARLY", "LATE", "Ending", "Turn", "answers", "envelope", "items", "refusals"]
