"""The rooms, and the one way in which they may know each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import smarty_async

ROOT = Path(smarty_async.__file__).parent

LAYERS = {
    "argument_checks": 0,
    "damaged_json": 0,
    "errors": 0,
    "failures": 0,
    "group_queue": 0,
    "thread_limit": 0,
    "options": 0,
    "progress": 0,
    "redaction": 0,
    "results": 0,
    "hooks": 1,
    "web": 1,
    "wire": 1,
    "transport": 2,
    "archive": 2,
    "account": 3,
    "cluster": 3,
    "inputs": 3,
    "store_address": 0,
    "run_context": 3,
    "asking": 3,
    "chained": 3,
    "photo": 4,
    "photo_in_memory": 5,
    "run": 5,
    "client": 6,
    "plan": 7,
    "report": 8,
    "local": 8,
    "testing": 9,
    "": 9,  # what users import
    "cli": 10,
    "pytest_plugin": 10,
    "__main__": 11,
}
"""Which room stands on which."""

STRANGERS = {
    ("local", "wire"),
    ("local", "transport"),
    ("transport", "archive"),
    ("archive", "transport"),
    ("archive", "wire"),
}
"""Rooms that do not know each other though the layers would allow it: (who, whom)."""

ARCHIVE_LAYERS = {
    "argument_checks": 0,
    "paths": 0,
    "s3": 0,
    "threads": 0,
    "object_store": 1,
    "photos": 1,
    "sources": 2,
    "entries": 3,
    "outputs": 4,
    "journal": 5,
    "picture_copy": 5,
    "": 6,  # what no other part stands on: commit, duplicates, album
}
"""Which part of the archive stands on which."""

EXPORTED = [
    "Abort",
    "ArchiveKeywords",
    "ArchiveRun",
    "AuthorizationError",
    "ConfigurationError",
    "DiskError",
    "DiskFull",
    "Drop",
    "EmbeddedService",
    "ErrorInfo",
    "Failures",
    "Hooks",
    "Judge",
    "Kind",
    "Limits",
    "MissingExtra",
    "Mode",
    "NotTheService",
    "OAuthCredentials",
    "OptionsError",
    "Outcome",
    "OutputInUse",
    "PhotoError",
    "PhotoFailed",
    "PhotoRejected",
    "Plan",
    "Progress",
    "Refresh",
    "RequestDetails",
    "RequestError",
    "RequestRefused",
    "ResponseDetails",
    "Restored",
    "Result",
    "Retries",
    "Retry",
    "RetryDetails",
    "ServiceUnavailable",
    "Shrink",
    "SlowDown",
    "SmartyClient",
    "SmartyError",
    "Split",
    "Status",
    "StoreError",
    "Timeouts",
    "Verdict",
    "embedded_service",
    "judge",
    "plan_archive",
    "read_status",
]

MODULES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    """The module's name inside the package: `wire.splitter`, and nothing for the package itself."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def room_of(module: str) -> str:
    return module.split(".", 1)[0]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The modules that `nodes` import, wherever in a file and for whatever."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def imports_of(path: Path) -> set[str]:
    """The package's modules that one imports."""
    named = set(imported(ast.walk(tree_of(path))))
    assert not [name for name in named if name.startswith(".")], f"{path} imports relatively"
    return {name.removeprefix("smarty_async").removeprefix(".") for name in named if room_of(name) == "smarty_async"}


def may_import(here: str, there: str) -> bool:
    same_floor = LAYERS[here] == LAYERS[there] == 0  # errors, options and results are one floor
    return here == there or ((here, there) not in STRANGERS and (same_floor or LAYERS[there] < LAYERS[here]))


def test_imports_point_one_way() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in MODULES
        for module in imports_of(path)
        if not may_import(room_of(name_of(path)), room_of(module))
    ]
    assert wrong == []


def part_of(module: str) -> str:
    """The part of the archive that `module` is in."""
    return part if (part := module.split(".")[1]) in ARCHIVE_LAYERS else ""


def test_parts_of_the_archive_stand_on_each_other_one_way() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in MODULES
        if name_of(path).startswith("archive.")
        for module in imports_of(path)
        if module.startswith("archive.")
        for here, there in [(part_of(name_of(path)), part_of(module))]
        if here != there and ARCHIVE_LAYERS[here] <= ARCHIVE_LAYERS[there]
    ]
    assert wrong == []


def test_wire_touches_neither_the_loop_nor_the_disk_nor_the_network() -> None:
    forbidden = {"asyncio", "aiohttp", "aiofiles", "os", "io", "pathlib", "socket"}
    for path in MODULES:
        if room_of(name_of(path)) == "wire":
            used = {room_of(name) for name in imported(ast.walk(tree_of(path)))}
            assert not used & forbidden, name_of(path)


def test_one_room_alone_imports_dask() -> None:
    for path in MODULES:
        if room_of(name_of(path)) != "cluster" and re.search(r"\b(dask|distributed)\b", path.read_text("utf-8")):
            nodes = set(ast.walk(tree_of(path))) - set(for_types(tree_of(path)))
            assert not {room_of(name) for name in imported(nodes)} & {"dask", "distributed"}, name_of(path)


def for_types(tree: ast.Module) -> Iterator[ast.AST]:
    """What stands under ``if TYPE_CHECKING``."""
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            yield from ast.walk(block)


def test_every_module_says_what_it_is_and_what_it_gives() -> None:
    for path in MODULES:
        tree = tree_of(path)
        assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
        if len(tree.body) == 1:
            continue  # a package's name and no more
        gives = [
            node
            for node in tree.body
            if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "__all__" for name in node.targets)
        ]
        assert len(gives) == 1, f"{name_of(path)} has no __all__"
        names = ast.literal_eval(gives[0].value)
        assert names == sorted(names, key=_as_ruff_sorts), name_of(path)


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def test_every_file_has_one_subject() -> None:
    assert [name_of(path) for path in MODULES if len(path.read_text("utf-8").splitlines()) > 500] == []
    assert not {part for path in MODULES for part in name_of(path).split(".")} & {
        "utils",
        "helpers",
        "common",
        "manager",
    }


def test_what_users_import_is_what_was_promised() -> None:
    assert smarty_async.__all__ == EXPORTED
    assert dir(smarty_async) == sorted(EXPORTED)


def test_every_name_is_there() -> None:
    assert [name for name in EXPORTED if getattr(smarty_async, name) is None] == []


def test_every_room_gives_what_it_says() -> None:
    for path in MODULES:
        if "engine" in path.parts:
            continue
        if room_of(name_of(path)) == "cluster" and find_spec("distributed") is None:
            continue
        module = import_module(f"smarty_async.{name_of(path)}".removesuffix("."))
        for name in getattr(module, "__all__", []):
            assert hasattr(module, name), f"{module.__name__}.{name}"


def test_its_version_is_the_installed_one() -> None:
    assert smarty_async.__version__ == version("smarty_async")


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = smarty_async.nonsense


def test_its_types_ship() -> None:
    assert (ROOT / "py.typed").is_file()
