"""Addresses of buckets, the keys that open them, and what a store's errors become."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.damaged_json import DAMAGED

from smarty_async import ConfigurationError, MissingExtra
from smarty_async.archive.entries import FinishedPhoto, LoggedPhoto, PhotoEntry, StoredAnswer, StoredOutput
from smarty_async.archive.journal.catalog import Catalog
from smarty_async.archive.object_store import (
    Bucket,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectRefused,
    UnlistableKey,
    store_error,
)
from smarty_async.archive.outputs.state_folder import default_state_folder
from smarty_async.archive.outputs.store import METADATA_KEY, OutputOrigin
from smarty_async.archive.s3 import aws_profile, is_odd_key
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo, Result
from smarty_async.store_address import StoreAddress

ADDRESS = StoreAddress("s3", "photos", "scans")


def test_without_the_extra_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingExtra, match=r'pip install "smarty_async\[store\]"'):
        Bucket(ADDRESS).check()


def test_a_bucket_is_pickled_without_what_the_environment_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "bait-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "bait-secret")
    bucket = Bucket(ADDRESS, {"region": "eu"})
    assert bucket.config["region"] == "eu"
    pickled = pickle.dumps(bucket)
    assert b"bait" not in pickled
    assert repr(pickle.loads(pickled)) == "Bucket('s3://photos/scans')"  # noqa: S301 - our own


def test_keys_of_an_address() -> None:
    assert ADDRESS.key("a.jpg") == "scans/a.jpg"
    assert ADDRESS.relative("scans/b/a.jpg") == "b/a.jpg"
    assert ADDRESS.url_of("a.jpg") == "s3://photos/scans/a.jpg"
    assert StoreAddress("s3", "photos").key("a.jpg") == "a.jpg"
    assert str(StoreAddress.parse("s3://photos/scans/")) == "s3://photos/scans"


def test_results_in_a_bucket_cannot_be_looked_at() -> None:
    with pytest.raises(ConfigurationError, match="smarty-async status s3://photos/restored"):
        Catalog(Path("s3://photos/restored"))


@pytest.mark.parametrize(
    ("key", "odd"),
    [
        *[(key, True) for key in ("a//b", "/a", "a/", "./a", "a/../b", "..", "a\x01", "a\x7f/b")],
        *[(key, False) for key in ("a/b", ".a", "a..b", "...", "a b", "ä", "a\x85")],
    ],
)
def test_odd_keys(key: str, *, odd: bool) -> None:
    assert is_odd_key(key) is odd


# profiles


def profile(folder: Path, **environ: str) -> dict[str, Any]:
    files = {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials")}
    return aws_profile({}, files | environ)


def test_a_profile_is_read_where_the_environment_has_no_keys(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu\n[profile x]\nregion = us\nendpoint_url = https://s\n")
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B\n[x]\naws_access_key_id = X\n"
        "aws_session_token = T%\n"
    )
    assert profile(tmp_path) == {"region": "eu", "access_key_id": "A", "secret_access_key": "B"}
    assert profile(tmp_path, AWS_PROFILE="x", AWS_REGION="ru") == {
        "endpoint": "https://s",
        "access_key_id": "X",
        "session_token": "T%",
    }
    assert profile(tmp_path, AWS_ACCESS_KEY_ID="E") == {}
    assert aws_profile({"credential_provider": object()}, {}) == {}


def test_a_profile_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_bytes(b"\xff no profile")
    assert profile(tmp_path) == {}
    assert profile(tmp_path / "nowhere") == {}


def test_the_state_is_kept_where_the_system_keeps_such_things(tmp_path: Path) -> None:
    folder = default_state_folder(ADDRESS, {"XDG_STATE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)})
    assert folder.name.startswith("photos-")
    assert folder != default_state_folder(StoreAddress("s3", "photos"))


def test_a_user_without_a_home_is_asked_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigurationError, match="name a folder with --state"):
        default_state_folder(ADDRESS, {})
    if sys.platform != "darwin":
        assert default_state_folder(ADDRESS, {"XDG_STATE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)})


# errors


def failure(name: str, text: str) -> Exception:
    """An exception as obstore raises it."""
    kind: type[Exception] = type(name, (Exception,), {})
    return kind(text)


def answer(status: int, code: str = "") -> str:
    xml = f"<Error><Code>{code}</Code><Message>about https://secret.example</Message></Error>" if code else ""
    return (
        f"Error performing GET https://host.example/photos?key=bait in 3ms - "
        f"Server returned non-2xx status code: {status} Refused: {xml}\n\nDebug source:\nGeneric {{ bait }}"
    )


@pytest.mark.parametrize(
    ("name", "text", "kind", "said"),
    [
        ("AlreadyExistsError", answer(412), ObjectExists, "it exists"),
        ("PreconditionError", answer(412), ObjectChanged, "it has changed"),
        ("FileNotFoundError", answer(404, "NoSuchKey"), ObjectMissing, "not there (404)"),
        ("FileNotFoundError", answer(404, "NoSuchBucket"), None, "there is no bucket 'photos' (404 NoSuchBucket)"),
        ("PermissionDeniedError", answer(403, "AccessDenied"), None, "403 AccessDenied: these credentials do not"),
        ("GenericError", answer(403, "SignatureDoesNotMatch"), None, "403 SignatureDoesNotMatch: check the keys"),
        ("GenericError", answer(400, "InvalidURI"), None, "the store answers 400 InvalidURI"),
        ("GenericError", answer(403, "RequestTimeTooSkewed"), None, "403 RequestTimeTooSkewed: the machine's clock"),
        ("GenericError", answer(400, "ExpiredToken"), None, "400 ExpiredToken: the credentials have expired"),
        ("GenericError", answer(400, "AuthorizationHeaderMalformed"), None, "in another region: set AWS_REGION"),
        ("GenericError", "GET https://h - Received redirect without LOCATION", None, "in another region"),
        ("GenericError", answer(403, "InvalidObjectState"), ObjectRefused, "403 InvalidObjectState: it is archived"),
        ("GenericError", answer(503, "SlowDown"), None, "the store answers 503 SlowDown"),
        ("GenericError", "GET http://169.254.169.254/latest/api/token", None, "no credentials for 's3://photos/scans'"),
        ("GenericError", "GET https://h in 3ms - HTTP error: error sending request", None, "cannot be reached"),
        ("GenericError", "HTTP error: builder error", None, "no https:// address"),
        ("GenericError", "odd https://h?bait", None, "odd …"),
    ],
)
def test_an_error_is_one_sentence_without_foreign_text(name: str, text: str, kind: Any, said: str) -> None:
    error = store_error(failure(name, text), doing="read", address=ADDRESS, key="a.jpg")
    assert said in str(error)
    assert "bait" not in str(error)
    assert "\n" not in str(error)
    assert kind is None or isinstance(error, kind)


@pytest.mark.parametrize(
    ("doing", "status", "code", "alone"),
    [
        ("read", 403, "AccessDenied", True),
        ("read", 403, "", True),
        ("read", 416, "InvalidRange", True),
        ("read", 403, "InvalidAccessKeyId", False),
        ("read", 403, "SignatureDoesNotMatch", False),
        ("read", 403, "RequestTimeTooSkewed", False),
        ("read", 403, "ExpiredToken", False),
        ("read", 400, "ExpiredToken", False),
        ("read", 404, "NoSuchBucket", False),
        ("read", 401, "", False),
        ("read", 403, "AllAccessDisabled", False),
        ("write", 400, "KeyTooLongError", True),
        ("write", 400, "XMinioInvalidObjectName", True),
        ("write", 400, "EntityTooLarge", True),
        ("write", 400, "InvalidBucketName", False),
        ("write", 400, "", True),
        ("write", 414, "", True),
        ("write", 400, "ExpiredToken", False),
        ("write", 400, "RequestTimeout", False),
        ("write", 403, "AccessDenied", False),
        ("remove", 403, "AccessDenied", False),
    ],
)
def test_what_concerns_one_object_alone(doing: str, status: int, code: str, *, alone: bool) -> None:
    error = store_error(failure("GenericError", answer(status, code)), doing=doing, address=ADDRESS, key="a.jpg")
    assert isinstance(error, ObjectRefused) is alone
    assert error.status == status


def test_the_key_that_ends_a_listing_is_known_whole() -> None:
    text = 'Encountered object with invalid path\n\nDebug source:\nInvalidPath {\n path: "scans/a\\u{1}\\"b//c",\n}'
    error = store_error(failure("InvalidPathError", text), doing="list", address=ADDRESS)
    assert isinstance(error, UnlistableKey)
    assert repr('scans/a\x01"b//c') in str(error)


# what outputs and the log say


def origin(photo: str) -> OutputOrigin:
    return OutputOrigin(spec="improve", kinds=("improved",), source="s3://b", photo=photo, size=3, version='"e"')


def test_the_metadata_of_an_output_are_ascii_and_are_read_back() -> None:
    for photo in ("a.jpg", "фото/б.jpg", "\udce9.jpg"):
        [(key, text)] = origin(photo).metadata().items()
        assert key == METADATA_KEY
        assert text.isascii()
        assert OutputOrigin.read(text) == origin(photo)
    assert origin("x" * 2000).metadata() == {}
    assert OutputOrigin.read(None) is None
    for text in ('{"spec": 1}', *(one.decode("latin-1") for one in DAMAGED)):
        assert OutputOrigin.read(text) is None


@pytest.mark.parametrize(
    "spec",
    [
        ModeSpec("improve"),
        ModeSpec("resolution", 2, "art"),
        ModeSpec("resolution", 4, "photo", chained=True),
    ],
)
def test_a_spec_is_read_back(spec: ModeSpec) -> None:
    assert ModeSpec.parse(str(spec)) == spec


def test_a_line_of_the_log_holds_what_the_journal_does() -> None:
    file = PhotoFile("s3://b", "a.tif", "s3://b/a.tif", 9, '"e"', page=2)
    answers: Any = {
        "improve": StoredAnswer("improve", "committed", {"improved": StoredOutput("t", 5)}, bw=True),
        "resolution": StoredAnswer("resolution:2:photo", "stale", {}, None),
    }
    entry = PhotoEntry(file, 1, "a.tif.page-2.jpg", answers)
    result = Result(photo="a.tif", source="s3://b", outcome="failed", error=ErrorInfo("x", "y"), attempts=3, page=2)
    line = FinishedPhoto(entry, result, {ModeSpec("resolution", 2, "photo"): ErrorInfo("x", "y")}).logged()
    logged = msgspec.convert(line, LoggedPhoto)
    assert logged.answers == {"improve": {"improved": 5}}
    assert logged.failures == {"resolution:2:photo": ErrorInfo("x", "y")}
    assert logged.result == result
