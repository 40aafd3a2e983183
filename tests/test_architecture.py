"""The rooms, and the one way in which they may know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import smarty_async

ROOT = Path(smarty_async.__file__).parent

LAYERS = {
    "errors": 0,
    "options": 0,
    "redaction": 0,
    "account": 1,
    "results": 0,
    "hooks": 1,
    "web": 1,
    "wire": 1,
    "transport": 2,
    "archive": 2,
    "cluster": 3,
    "inputs": 3,
    "store_address": 0,
    "run_context": 3,
    "photo": 4,
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

STRANGERS = {("local", "wire"), ("local", "transport"), ("transport", "archive"), ("archive", "transport")}
"""Rooms that do not know each other though the layers would allow it: (who, whom)."""

EXPORTED = [
    "Abort",
    "ArchiveKeywords",
    "ArchiveRun",
    "AuthorizationError",
    "ConfigurationError",
    "DiskError",
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


def imports_of(path: Path) -> Iterator[str]:
    """The package's modules that one imports, wherever in it and for whatever."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports relatively"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if room_of(name) == "smarty_async":
                yield name.removeprefix("smarty_async").removeprefix(".")


@pytest.mark.slow
@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    here = room_of(name_of(path))
    for module in imports_of(path):
        there = room_of(module)
        if there == here:
            continue
        assert (here, there) not in STRANGERS, f"{name_of(path)} imports {module}"
        same_floor = LAYERS[here] == LAYERS[there] == 0  # errors, options and results are one floor
        assert same_floor or LAYERS[there] < LAYERS[here], f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_wire_touches_neither_the_loop_nor_the_disk_nor_the_network(path: Path) -> None:
    if room_of(name_of(path)) != "wire":
        return
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {room_of(name) for name in names} & {
            "asyncio",
            "aiohttp",
            "aiofiles",
            "os",
            "io",
            "pathlib",
            "socket",
        }


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_one_room_alone_imports_dask(path: Path) -> None:
    if room_of(name_of(path)) == "cluster":
        return
    tree = ast.parse(path.read_bytes())
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in set(ast.walk(tree)) - for_types:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {room_of(name) for name in names} & {"dask", "distributed"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_and_what_it_gives(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    assert ast.get_docstring(tree), "no docstring"
    if len(tree.body) == 1:
        return  # a package's name and no more
    if path.name == "__main__.py":
        return
    gives = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "__all__" for name in node.targets)
    ]
    assert len(gives) == 1, "no __all__"
    assert ast.literal_eval(gives[0].value) == sorted(ast.literal_eval(gives[0].value), key=_as_ruff_sorts)


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_file_has_one_subject(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500
    assert not {"utils", "helpers", "common", "manager"} & set(name_of(path).split("."))


def test_what_users_import_is_what_was_promised() -> None:
    assert smarty_async.__all__ == EXPORTED
    assert dir(smarty_async) == sorted(EXPORTED)


@pytest.mark.parametrize("name", EXPORTED)
def test_every_name_is_there(name: str) -> None:
    assert getattr(smarty_async, name) is not None


def test_every_room_gives_what_it_says() -> None:
    for path in MODULES:
        if path.name == "__main__.py" or "engine" in path.parts:
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
