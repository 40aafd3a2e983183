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


MODULES = [*files(PACKAGE, "*.py"), *files(ROOT / "benchmarks", "*.py")]
TEXTS = [*sorted(ROOT.glob("*.md")), *files(ROOT / "docs", "*.md"), *files(ROOT / "examples", "*.[mp][dy]")]
TESTS = files(ROOT / "tests", "*.py")

FORMER_WORDS = re.compile(
    r"\b(couriers?|carriers?|lanes?|purses?|crews?|keepers?|ledgers?|journeys?|riders?|twins?|spool(ed|s)?|"
    r"spoolfile|workplace|workshop|litter|anew|aboard|hopeless|patience|uncut|depart|withdraw|deserted|"
    r"strayed|moody|newcomers?|whoever|told|rides?|riding|settle[sd]?|lots?)\b",
    re.IGNORECASE,
)
VAGUE_NAMES = re.compile(r"def _?(keep|settle|claim|place|land|obey|blame|own)\(")
"""Once functions of several meanings each."""


def former_words(path: Path, lines: Iterable[str]) -> list[str]:
    """Each former word in `lines` of the file `path`, after its name and the number of the line."""
    return [
        f"{path}:{number}: {match[0]}"
        for number, line in enumerate(lines, 1)
        for match in FORMER_WORDS.finditer(line.replace("_", " "))
    ]


@pytest.mark.parametrize("paths", [MODULES, TEXTS], ids=["code", "documents"])
def test_no_former_word_comes_back(paths: list[Path]) -> None:
    assert [word for path in paths for word in former_words(path, path.read_text(encoding="utf-8").splitlines())] == []


def test_no_former_word_is_in_a_test() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in TESTS if path != Path(__file__)}
    found = [word for path, text in texts.items() for word in former_words(path, [*text.splitlines(), path.stem])]
    assert found == []


def test_no_function_has_a_vague_name() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in MODULES}
    assert [(path, match[0]) for path, text in texts.items() for match in VAGUE_NAMES.finditer(text)] == []
