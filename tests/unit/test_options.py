from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

import msgspec
import pytest

from smarty_async.errors import OptionsError
from smarty_async.options import (
    MODES,
    Limits,
    Mode,
    ModeSpec,
    OAuthCredentials,
    Retries,
    Timeouts,
    check_modes,
)

IMPROVE = ModeSpec("improve")
MAY_BE_ZERO = {"first_wait", "longest_wait"}
NUMBERS = [
    pytest.param(options, name, id=f"{options.__name__}.{name}")
    for options in (Limits, Retries, Timeouts)
    for name in options.__struct_fields__
]
Options = Callable[..., Any]


def test_the_defaults_are_the_safe_readings() -> None:
    assert Limits() == Limits(max_images=48, max_image_bytes=8_000_000, max_request_bytes=30_000_000)
    assert Retries().longest_retry_after == 120
    assert Timeouts().silence >= 300


@pytest.mark.parametrize(("options", "name"), NUMBERS)
def test_a_number_above_zero_is_taken(options: Options, name: str) -> None:
    value = (1, 1) if name == "max_dimensions" else 1
    assert getattr(options(**{name: value}), name) == value


@pytest.mark.parametrize(("options", "name"), [case for case in NUMBERS if case.values[1] not in MAY_BE_ZERO])
@pytest.mark.parametrize("value", [0, -1, -0.5, float("nan"), float("-inf")])
def test_any_other_number_is_refused_by_name(options: Options, name: str, value: float) -> None:
    with pytest.raises(OptionsError, match=f"^{name} must be greater than 0, not {value}$"):
        options(**{name: value})


@pytest.mark.parametrize("name", [*Limits.__struct_fields__, "max_attempts"])
@pytest.mark.parametrize("value", [8.0, 0.5, 1e300])
def test_what_counts_whole_things_is_a_whole_number(name: str, value: float) -> None:
    options: Options = Retries if name == "max_attempts" else Limits
    with pytest.raises(OptionsError, match=rf"^{name} must be a whole number \(an int\), not {re.escape(str(value))}$"):
        options(**{name: (5, value) if name == "max_dimensions" else value})


@pytest.mark.parametrize(("options", "name"), NUMBERS)
def test_an_int_that_no_float_holds_is_refused_and_infinity_is_not(options: Options, name: str) -> None:
    large, infinite = 10**5_000, float("inf")
    with pytest.raises(OptionsError, match=rf"^{name} must be at most \d+$"):
        options(**{name: (large, 5) if name == "max_dimensions" else large})
    value = (infinite, infinite) if name == "max_dimensions" else infinite
    assert getattr(options(**{name: value}), name) == value


@pytest.mark.parametrize(("options", "name"), NUMBERS)
@pytest.mark.parametrize("value", ["5", b"5", (1, "2")])
def test_what_is_no_number_is_refused_by_name(options: Options, name: str, value: object) -> None:
    with pytest.raises(OptionsError, match=f"^{name} must be int or float, not (str|bytes)$"):
        options(**{name: value})


@pytest.mark.parametrize(("options", "name"), NUMBERS)
def test_only_a_limit_of_an_image_may_be_left_out(options: Options, name: str) -> None:
    if name in ("max_image_bytes", "max_dimensions"):
        assert getattr(options(**{name: None}), name) is None
    else:
        with pytest.raises(OptionsError, match=f"^{name} must be int or float, not NoneType$"):
            options(**{name: None})


@pytest.mark.parametrize("sides", [5, (), (5,), (5, 6, 7)])
def test_dimensions_are_two_numbers(sides: Any) -> None:
    with pytest.raises(OptionsError, match=r"^max_dimensions must be two numbers"):
        Limits(max_dimensions=sides)


@pytest.mark.parametrize("name", sorted(MAY_BE_ZERO))
def test_waits_may_be_none_at_all(name: str) -> None:
    assert getattr(Retries(**{name: 0}), name) == 0


@pytest.mark.parametrize(
    "options", [Limits(), Retries(), Timeouts(), IMPROVE, OAuthCredentials(client_id="a", client_secret="b")]
)
def test_options_are_frozen(options: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        setattr(options, options.__struct_fields__[0], 1)


@pytest.mark.parametrize("options", [Limits, Retries, Timeouts])
def test_options_are_given_by_name(options: Options) -> None:
    with pytest.raises(TypeError):
        options(1)


# tasks


def test_modes_are_the_api_s() -> None:
    assert get_args(Mode) == MODES == ("improve", "resolution")


@pytest.mark.parametrize("modes", ["improve", ["improve"], ("improve", "improve"), {"improve"}, iter(["improve"])])
def test_modes_in_any_shape(modes: Iterable[str]) -> None:
    assert check_modes(modes, None, None) == (IMPROVE,)


@pytest.mark.parametrize("rfactor", [2, 4])
@pytest.mark.parametrize("rtype", ["art", "photo"])
def test_resolution_with_its_settings(rfactor: int, rtype: str) -> None:
    enlarge = ModeSpec("resolution", rfactor, rtype)
    assert check_modes("resolution", rfactor, rtype) == (enlarge,)
    assert check_modes(["resolution", "improve"], rfactor, rtype) == (IMPROVE, enlarge)


def test_a_photo_is_taken_for_a_photo() -> None:
    assert check_modes("resolution", 2, None) == (ModeSpec("resolution", 2, "photo"),)


@pytest.mark.parametrize(
    ("modes", "rfactor", "rtype", "message"),
    [
        ([], None, None, "modes must be some of improve, resolution, not none"),
        ("", None, None, "modes must be some of improve, resolution, not "),
        ("enlarge", None, None, "modes must be some of improve, resolution, not enlarge"),
        (["improve", "b", "a"], None, None, "not a, b, improve"),
        ("improve", 2, None, r"rfactor \(--rfactor\) and rtype \(--rtype\) go with the resolution mode only"),
        ("improve", None, "photo", r"rfactor \(--rfactor\) and rtype \(--rtype\) go with the resolution mode only"),
        ("resolution", None, None, r"resolution needs rfactor \(--rfactor\) 2 or 4, not None"),
        ("resolution", 3, "photo", r"resolution needs rfactor \(--rfactor\) 2 or 4, not 3"),
        ("resolution", 1010, "photo", "not 1010"),
        ("resolution", "2", "photo", "2 or 4, not '2'"),
        (5, None, None, "modes must be Iterable, not int"),
        ([["improve"], 5], None, None, r"not 5, \['improve'\]"),
        ("resolution", 2, "painting", r"rtype \(--rtype\) must be art or photo, not painting"),
        ("resolution", 2, "", r"rtype \(--rtype\) must be art or photo, not $"),
    ],
)
def test_refused_mode_specs(modes: Iterable[str], rfactor: int | None, rtype: str | None, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        check_modes(modes, rfactor, rtype)


def test_a_mode_spec_as_text_holds_its_settings() -> None:
    assert str(IMPROVE) == "improve"
    assert str(ModeSpec("resolution", 4, "art")) == "resolution:4:art"
    chained = ModeSpec("resolution", 2, "photo", chained=True)
    assert (chained.text, ModeSpec.parse(chained.text)) == ("resolution:2:photo:chained", chained)


def test_mode_specs_have_an_order_and_a_hash() -> None:
    enlarge = ModeSpec("resolution", 2, "photo")
    assert sorted([enlarge, IMPROVE]) == [IMPROVE, enlarge]
    assert len({IMPROVE, ModeSpec("improve"), enlarge}) == 2


# credentials


@pytest.mark.parametrize("given", [{"client_secret": "s3cret"}, {"refresh_token": "s3cret"}])
def test_credentials_show_no_secret(given: dict[str, str]) -> None:
    credentials = OAuthCredentials(client_id="project", **given)
    for display_path in (repr(credentials), str(credentials), f"{credentials}", f"{[credentials]}"):
        assert "s3cret" not in display_path
        assert "project" not in display_path
        assert "https://mcs.mail.ru/auth/oauth/v1/token" in display_path


@pytest.mark.parametrize(
    "given",
    [
        {"client_id": "", "client_secret": "a"},
        {"client_id": "a"},
        {"client_id": "a", "client_secret": ""},
        {"client_id": "a", "client_secret": "", "refresh_token": ""},
    ],
)
def test_credentials_without_anything_to_show_for_them(given: dict[str, str]) -> None:
    with pytest.raises(OptionsError, match="OAuth needs a client_id, and a client_secret or a refresh_token"):
        OAuthCredentials(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"client_id": 5, "client_secret": "a"}, "client_id must be str, not int"),
        ({"client_id": "a", "client_secret": b"s3cret"}, "client_secret must be str or None, not bytes"),
        ({"client_id": "a", "client_secret": "b", "auth_url": None}, "auth_url must be str, not NoneType"),
        (
            {"client_id": "a", "client_secret": os.fsdecode(b"s3cret\xff")},
            "client_secret holds more than printable text: a line end, for example",
        ),
    ],
)
def test_credentials_that_are_no_text(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=f"^{message}$"):
        OAuthCredentials(**given)
