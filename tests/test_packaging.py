"""What pyproject.toml promises of versions, against the file that `tox -e lowest` installs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared() -> Iterator[Requirement]:
    """The requirements of the package and of all its extras."""
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    for requirements in (PROJECT["dependencies"], *extras.values()):
        yield from map(Requirement, requirements)


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = (each.version for each in requirement.specifier if each.operator in {">=", "=="})
    return Version(bound)


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    bounds: dict[str, Version] = {}
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        bounds[name] = max(lower_bound(requirement), bounds.get(name, Version("0")))
    lines = (ROOT / "tests" / "lowest.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {canonicalize_name(pin.name): lower_bound(pin) for pin in pins} == bounds


def test_python_versions_agree() -> None:
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    environments = (ROOT / "tox.ini").read_text()
    assert PROJECT["requires-python"] == f">={classifiers[0]}"
    for version in classifiers:
        assert f"py{version.replace('.', '')}" in environments, version
