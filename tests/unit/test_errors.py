from __future__ import annotations

import copy
import errno
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smarty_async import errors
from smarty_async.errors import (
    AuthorizationError,
    ConfigurationError,
    DiskError,
    DiskFull,
    MissingExtra,
    NotTheService,
    OptionsError,
    OutputInUse,
    PhotoError,
    PhotoFailed,
    PhotoRejected,
    RequestError,
    RequestRefused,
    ServiceUnavailable,
    SmartyError,
    StoreError,
)
from smarty_async.results import Restored

PARENTS: dict[type[SmartyError], type[Exception]] = {
    SmartyError: Exception,
    OptionsError: SmartyError,
    ConfigurationError: SmartyError,
    AuthorizationError: ConfigurationError,
    RequestRefused: ConfigurationError,
    NotTheService: ConfigurationError,
    OutputInUse: ConfigurationError,
    MissingExtra: ConfigurationError,
    ServiceUnavailable: SmartyError,
    DiskError: SmartyError,
    DiskFull: DiskError,
    StoreError: DiskError,
    RequestError: SmartyError,
    PhotoError: SmartyError,
    PhotoRejected: PhotoError,
    PhotoFailed: PhotoError,
}

# Each error with every field given, and the fields it must carry.
EXAMPLES: list[tuple[SmartyError, dict[str, Any]]] = [
    (SmartyError("no"), {}),
    (OptionsError("no"), {}),
    (ConfigurationError("no"), {}),
    (AuthorizationError("no", status=401), {"status": 401}),
    (RequestRefused("no", status=400), {"status": 400}),
    (NotTheService("no", status=404), {"status": 404}),
    (OutputInUse(Path("out")), {"path": Path("out")}),
    (MissingExtra("the learned engine", "local"), {"extra": "local"}),
    (
        ServiceUnavailable("no", status=503, seconds=900.5, pays_again=True),
        {"status": 503, "seconds": 900.5, "pays_again": True},
    ),
    (DiskError("no", path=Path("out"), errno=errno.ENOSPC), {"path": Path("out"), "errno": errno.ENOSPC}),
    (DiskFull("no", path=Path("out"), errno=errno.ENOSPC), {"path": Path("out"), "errno": errno.ENOSPC}),
    (StoreError("no", status=403), {"path": None, "errno": None, "status": 403}),
    (
        RequestError("no", status=429, retry_after=1.5, enveloped=True, timed_out=True, sent=False),
        {"status": 429, "retry_after": 1.5, "enveloped": True, "timed_out": True, "sent": False},
    ),
    (PhotoError("no", photo="a.jpg", type="odd", attempts=2), {"photo": "a.jpg", "type": "odd", "attempts": 2}),
    (PhotoRejected("no", photo="a.jpg", type="too_large"), {"photo": "a.jpg", "type": "too_large", "attempts": 0}),
    (PhotoFailed("no", type="permanent", attempts=1), {"photo": "", "type": "permanent", "attempts": 1}),
]
each_example = pytest.mark.parametrize(
    ("error", "fields"), EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES]
)


def test_the_tree_of_errors() -> None:
    assert {error: error.__bases__[0] for error in PARENTS} == PARENTS
    assert OptionsError.__bases__ == (SmartyError, ValueError)


def test_every_error_is_exported_and_nothing_else() -> None:
    defined = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
    ]
    assert sorted(defined) == errors.__all__ == sorted(error.__name__ for error in PARENTS)
    assert {type(error) for error, _ in EXAMPLES} == set(PARENTS)


def test_the_docstring_shows_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if branch := re.match(r"( {4}[ │├└─]*)([A-Z]\w+)(\s|$)", line):
            depth, name = len(branch[1]), branch[2]
            above[depth] = name
            drawn[name] = above.get(depth - 4, "Exception")
    assert drawn == {error.__name__: parent.__name__ for error, parent in PARENTS.items()}


@each_example
def test_an_error_carries_its_fields(error: SmartyError, fields: dict[str, Any]) -> None:
    assert vars(error) == fields
    assert str(error)


@each_example
def test_every_field_is_documented(error: SmartyError, fields: dict[str, Any]) -> None:
    documented = "".join(kind.__doc__ or "" for kind in type(error).__mro__ if issubclass(kind, SmartyError))
    assert all(f"        {name}: " in documented or f"    {name}: " in documented for name in fields)


@each_example
@pytest.mark.parametrize(
    "copied",
    [
        pytest.param(lambda error: pickle.loads(pickle.dumps(error)), id="pickle"),  # noqa: S301 - our own
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
    ],
)
def test_an_error_can_be_copied_and_pickled(
    error: SmartyError, fields: dict[str, Any], copied: Callable[[SmartyError], SmartyError]
) -> None:
    made = copied(error)
    assert type(made) is type(error)
    assert str(made) == str(error)
    assert made.args == error.args
    assert vars(made) == fields


@pytest.mark.parametrize("kind", [PhotoError, PhotoRejected, PhotoFailed])
def test_the_error_of_a_photo_names_it(kind: type[PhotoError]) -> None:
    error = kind("it is not an image", type="not_an_image")
    assert (str(error), error.message) == ("it is not an image", "it is not an image")
    error.photo = "1990/a.jpg"
    assert (str(error), error.message) == ("1990/a.jpg: it is not an image", "it is not an image")
    assert str(copy.copy(error)) == str(error)


def test_a_failed_photo_keeps_the_outputs_of_the_other_mode() -> None:
    error = PhotoFailed("no", type="temporary")
    assert error.restored is None
    error.restored = Restored(outcome="restored", improved=b"\xff\xd8\xff")
    assert copy.copy(error).restored == error.restored


def test_optional_fields() -> None:
    assert AuthorizationError("no").status is None
    assert NotTheService("no").status is None
    assert ServiceUnavailable("no", seconds=1).status is None
    assert vars(DiskError("no")) == {"path": None, "errno": None}
    assert vars(StoreError("no")) == {"path": None, "errno": None, "status": None}
    assert vars(RequestError("no")) == {
        "status": None,
        "retry_after": None,
        "enveloped": False,
        "timed_out": False,
        "sent": True,
    }


@pytest.mark.parametrize(
    ("error", "missing"), [(RequestRefused, "status"), (ServiceUnavailable, "seconds"), (PhotoError, "type")]
)
def test_required_fields(error: Callable[[str], SmartyError], missing: str) -> None:
    with pytest.raises(TypeError, match=missing):
        error("no")


def test_generated_messages() -> None:
    assert str(OutputInUse(Path("out"))) == (
        "another run is writing to 'out': wait for it to end, or choose another --out for other photos"
    )
    assert str(MissingExtra("it", "local")) == 'it is not installed: pip install "smarty_async[local]"'


def test_a_disk_error_from_an_os_error() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    error = DiskError.of(full, Path("out"), "write")
    assert str(error) == "cannot write 'out': No space left on device"
    assert (error.path, error.errno) == (Path("out"), errno.ENOSPC)


def test_an_os_error_without_a_text_is_named_by_its_type() -> None:
    error = DiskError.of(PermissionError(), Path("out"), "read")
    assert str(error) == "cannot read 'out': PermissionError"
    assert error.errno is None


def test_a_bad_option_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no"):
        raise OptionsError("no")
