"""Code, documents and tests' names use the field's words: those of a former private dialect do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import smarty_async

PACKAGE = Path(smarty_async.__file__).parent
ROOT = Path(__file__).parents[1]


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if "__pycache__" not in path.parts)


MODULES = files(PACKAGE, "*.py")
TEXTS = [*sorted(ROOT.glob("*.md")), *files(ROOT / "docs", "*.md"), *files(ROOT / "examples", "*.[mp][dy]")]
TESTS = files(ROOT / "tests", "*.py")

FORMER_WORDS = re.compile(
    r"\b(couriers?|carriers?|lanes?|purses?|crews?|keepers?|ledgers?|journeys?|riders?|twins?|spool(ed|s)?|"
    r"spoolfile|workplace|workshop|litter|anew|aboard|hopeless|patience|uncut|depart|withdraw|deserted|"
    r"strayed|moody|newcomers?|whoever|told|rides?|riding)\b",
    re.IGNORECASE,
)


def former_words(lines: Iterable[str]) -> list[str]:
    """Each former word in `lines`, after the number of its line."""
    return [
        f"{number}: {match[0]}"
        for number, line in enumerate(lines, 1)
        for match in FORMER_WORDS.finditer(line.replace("_", " "))
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_former_word_comes_back(path: Path) -> None:
    assert former_words(path.read_text(encoding="utf-8").splitlines()) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_former_word_is_in_a_document(path: Path) -> None:
    assert former_words(path.read_text(encoding="utf-8").splitlines()) == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_former_word_names_a_test(path: Path) -> None:
    names = re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert former_words([path.stem, *names]) == []
