"""The keywords of a run over an archive, as one checked value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from smarty_async.errors import OptionsError
from smarty_async.options import ArchiveKeywords, ArchiveOptions, ModeSpec
from smarty_async.store_address import StoreAddress

IMPROVE = ModeSpec("improve")


def test_every_keyword_has_its_field() -> None:
    spelled_as_specs = {"modes", "rfactor", "rtype", "chain"}
    fields = set(ArchiveOptions.__struct_fields__)
    assert set(ArchiveKeywords.__annotations__) - spelled_as_specs == fields - {"sources", "out", "specs"}


def test_iterables_of_any_shape_are_kept() -> None:
    options = ArchiveOptions.of("a", out="b", include=iter(["*.jpg"]), exclude={"x"}, outputs=["improved"])
    assert options.include == ("*.jpg",)
    assert options.exclude == ("x",)
    assert options.outputs == frozenset({"improved"})
    assert options.out == Path("b").absolute()


def test_a_single_text_is_one_value_and_not_its_letters() -> None:
    options = ArchiveOptions.of("a", out="b", include="*.png", exclude="x*", outputs="improved", listed="c.jpg")  # type: ignore[arg-type]
    assert (options.include, options.exclude, options.listed) == (("*.png",), ("x*",), ("c.jpg",))
    assert options.outputs == frozenset({"improved"})


@pytest.mark.parametrize("paths", [("", "b"), (["a", ""], "b"), ("a", "")])
def test_an_empty_path_is_not_the_working_folder(paths: tuple[Any, str]) -> None:
    with pytest.raises(OptionsError, match="is empty"):
        ArchiveOptions.of(paths[0], out=paths[1])


def test_a_chained_enlargement_is_another_spec() -> None:
    both: dict[str, Any] = {"modes": ("improve", "resolution"), "rfactor": 2}
    chained = ModeSpec("resolution", 2, "photo", chained=True)
    assert ArchiveOptions.of("a", out="b", chain=True, **both).specs == (IMPROVE, chained)
    assert str(chained) == "resolution:2:photo:chained"
    assert ArchiveOptions.of("a", out="b", **both).specs == (IMPROVE, ModeSpec("resolution", 2, "photo"))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"max_photos": -1}, "max_photos (--max-photos) must not be negative, but is -1"),
        ({"max_photos": 1.5}, "max_photos (--max-photos) must be a whole number (an int), not 1.5"),
        ({"max_cost": -0.5}, "max_cost (--max-cost) must not be negative"),
        ({"max_cost_total": float("nan")}, "max_cost_total (--max-cost-total) must not be negative"),
        ({"outputs": ["better"]}, "outputs must be some of improved, colorized_improved, colorized, resolved"),
        ({"outputs": ["resolved"]}, "nothing would be kept: improve makes no resolved"),
        ({"outputs": ["improved"], "modes": "resolution", "rfactor": 2}, "resolution makes no improved"),
        ({"chain": True}, "it needs both modes, improve and resolution"),
        ({"chain": True, "modes": "resolution", "rfactor": 2}, "it needs both modes"),
        (
            {"chain": True, "modes": ["improve", "resolution"], "rfactor": 2, "outputs": ["resolved"]},
            "add improved to outputs",
        ),
        ({"modes": "enlarge"}, "modes must be some of"),
        ({"include": [5]}, "each of include must be str, not int"),
        ({"exclude": [Path("a")]}, f"each of exclude must be str, not {type(Path()).__name__}"),
        ({"outputs": [["improved"]]}, "each of outputs must be str, not list"),
        ({"fit": "no"}, "fit must be bool, not str"),
        ({"strip_metadata": None}, "strip_metadata must be bool, not NoneType"),
        ({"retry_failed": "no"}, "retry_failed must be bool, not str"),
        ({"redo_missing": "no"}, "redo_missing must be bool, not str"),
        ({"chain": "no"}, "chain must be bool, not str"),
    ],
)
def test_what_does_not_go_together(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        ArchiveOptions.of("a", out="b", **keywords)


@pytest.mark.parametrize("given", ["ftp://host/x", Path("ftp://host/x")])
def test_a_url_is_shown_as_it_was_given(given: str | Path) -> None:
    with pytest.raises(OptionsError, match=r"--out takes a path, .* but 'ftp://host/x' was given"):
        ArchiveOptions.of("a", out=given)


def test_sources_and_outputs_may_be_in_stores() -> None:
    options = ArchiveOptions.of(["S3://bucket/scans/", "photos"], out="gs://other", state="state")
    assert options.sources == ("s3://bucket/scans", "photos")
    assert options.out == StoreAddress("gs", "other")
    assert options.state == Path("state").absolute()


def test_options_of_a_store_are_not_shown() -> None:
    options = ArchiveOptions.of("a", out="s3://b", store_options={"secret_access_key": "bait"})
    assert "bait" not in repr(options)
    assert "secret_access_key" in repr(options)


def test_a_folder_holds_its_state_itself() -> None:
    with pytest.raises(OptionsError, match="goes with an --out in a bucket"):
        ArchiveOptions.of("a", out="b", state="c")


@pytest.mark.parametrize(
    "given", ["s3://key:secret@bucket/x", "s3://", "s3:///x", "s3://a b/c", "s3://b/x//y", "s3://b/../x"]
)
def test_an_address_of_a_bucket_that_is_none(given: str) -> None:
    with pytest.raises(OptionsError) as refused:
        ArchiveOptions.of("a", out=given)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": 5}, "source must be str or PathLike or Iterable, not int"),
        ({"source": ["a", 5]}, "a source must be str or PathLike, not int"),
        ({"out": None}, "out must be str or PathLike, not NoneType"),
        ({"include": 5}, "include must be Iterable, not int"),
        ({"listed": None}, "listed must be Iterable, not NoneType"),
        ({"max_photos": "5"}, "max_photos must be int or float or None, not str"),
        ({"state": 5}, "state must be str or PathLike or None, not int"),
        ({"store_options": "s3cret"}, "store_options must be Mapping or None, not str"),
    ],
)
def test_an_argument_of_a_wrong_type(given: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"source": "a", "out": "b"} | given
    with pytest.raises(OptionsError, match=f"^{message}$"):
        ArchiveOptions.of(arguments.pop("source"), **arguments)
