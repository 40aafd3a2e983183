"""The rules of disks, found out by creating files on them; the disks here are simulated."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from smarty_async.archive.paths import POSIX_RULES, WINDOWS_CHARACTERS, probe_name_rules

posix = pytest.mark.skipif(os.name == "nt", reason="the rules of Windows hold there")


@posix
def test_a_disk_that_takes_every_name(tmp_path: Path) -> None:
    rules = probe_name_rules(tmp_path)
    assert list(tmp_path.iterdir()) == []
    if rules.is_exact and rules.raw_bytes:  # not so on macOS
        assert rules == POSIX_RULES


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], int]], None]:
    """A disk that refuses each name for which a function gives an error's number."""

    def refuse_by(number_of: Callable[[str], int]) -> None:
        create = os.open

        def opened(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
            if flags & os.O_CREAT and (number := number_of(os.path.basename(path))):  # noqa: PTH119
                raise OSError(number, os.strerror(number))
            return create(path, flags, mode, **more)

        monkeypatch.setattr(os, "open", opened)

    return refuse_by


@posix
def test_a_disk_with_forbidden_characters(tmp_path: Path, refusing: Callable[[Callable[[str], int]], None]) -> None:
    refusing(lambda name: errno.EINVAL if set(name) & set(WINDOWS_CHARACTERS) else 0)
    rules = probe_name_rules(tmp_path)
    assert (set(rules.forbidden), rules.windows_names) == (set(WINDOWS_CHARACTERS), True)
    assert rules.raw_bytes


@posix
def test_a_disk_with_few_letters(tmp_path: Path, refusing: Callable[[Callable[[str], int]], None]) -> None:
    refusing(lambda name: 0 if name.isascii() else errno.EILSEQ)
    rules = probe_name_rules(tmp_path)
    assert (rules.max_code_point, rules.raw_bytes, rules.forbidden, rules.windows_names) == (0x7F, False, "", False)


@posix
@pytest.mark.parametrize(("most", "unit"), [(143, "bytes"), (255, "bytes"), (255, "utf-16")])
def test_a_disk_with_a_longest_name(
    tmp_path: Path, refusing: Callable[[Callable[[str], int]], None], most: int, unit: str
) -> None:
    if unit == "utf-16" and os.pathconf(tmp_path, "PC_NAME_MAX") <= 255:
        pytest.skip("this disk takes no name of more than 255 bytes")
    refusing(lambda name: errno.ENAMETOOLONG if len(name.encode("utf-8", "surrogateescape")) > most else 0)
    rules = probe_name_rules(tmp_path)
    assert (rules.max_name, rules.name_unit) == (most, unit)


@posix
def test_a_disk_that_ignores_case_and_composition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists

    def folded(path: Path) -> bool:
        names = {unicodedata.normalize("NFC", one.name).lower() for one in path.parent.iterdir()}
        return exists(path) or unicodedata.normalize("NFC", path.name).lower() in names

    monkeypatch.setattr(Path, "exists", folded)
    rules = probe_name_rules(tmp_path)
    assert (rules.case_sensitive, rules.normalization_sensitive) == (False, False)


@posix
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_an_error_of_the_disk_is_no_rule(
    tmp_path: Path, refusing: Callable[[Callable[[str], int]], None], number: int
) -> None:
    refusing(lambda _: number)
    with pytest.raises(OSError, match=os.strerror(number)):
        probe_name_rules(tmp_path)
    assert list(tmp_path.iterdir()) == []
