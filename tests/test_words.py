"""The package is written in the field's words: those of a former private dialect do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import smarty_async

ROOT = Path(smarty_async.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)

FORMER_WORDS = re.compile(
    r"\b(couriers?|carriers?|lanes?|purses?|crews?|keepers?|ledgers?|journeys?|riders?|twins?|spool(ed|s)?|"
    r"spoolfile|workplace|workshop|litter|anew|aboard|hopeless|patience|uncut|depart|withdraw|deserted|"
    r"strayed|moody|newcomers?|whoever)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_former_word_comes_back(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [
        f"{number}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in FORMER_WORDS.finditer(line.replace("_", " "))
    ]
    assert found == []
