"""The documents name only tests, commands, constants, options and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
GENERATOR = (ROOT / "docs" / "generate_reference.py").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", RELIABILITY)))
BOUNDS = sorted(set(re.findall(r"`(_?[A-Z_]+)` in `([\w/]+\.py)`", RELIABILITY)))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LINKS = [
    (document, target)
    for document in DOCUMENTS
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_is_named_is_there(file: str, test: str) -> None:
    [path] = (ROOT / "tests").rglob(file)
    assert re.search(rf"def {test}\b", path.read_text(encoding="utf-8"))


def test_every_row_of_a_promise_names_a_test() -> None:
    tables = RELIABILITY.split("| promise | how | test |\n|---|---|---|\n")[1:]
    rows = [row for table in tables for row in table.partition("\n\n")[0].splitlines()]
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row.rpartition(" | ")[2]] == []


@pytest.mark.parametrize(("bound", "file"), BOUNDS)
def test_every_bound_that_is_named_is_there(bound: str, file: str) -> None:
    path = ROOT / "smarty_async" / file
    assert re.search(rf"^{bound}\b.* = ", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_environment_that_is_named_is_there() -> None:
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for environment in set(re.findall(r"tox -e ([\w-]+)", RELIABILITY)):
        assert f"[testenv:{environment}]" in tox


@pytest.mark.parametrize(("document", "target"), LINKS)
def test_every_link_leads_somewhere(document: Path, target: str) -> None:
    path = (document.parent / target).resolve()
    if path.parent == ROOT / "docs" / "reference":
        assert f'"{path.stem}",' in GENERATOR, "no such generated page"
    else:
        assert path.exists()
