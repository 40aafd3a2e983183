from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.s3_server import S3Server, s3_server

TESTS = Path(__file__).parent

WHOLLY_SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)

MEASURED_ROOMS = frozenset({"unit", "run", "store", "cluster"})
"""Folders of the tests whose coverage counts: of these the fast ones, and the slow ones in `MEASURED_SLOW`."""

MEASURED_SLOW = frozenset(
    {
        *("test_archive_run.py", "test_cancellation.py", "test_client.py", "test_identity.py", "test_leaving.py"),
        *("test_output_disks.py", "test_plan.py", "test_stopping.py", "test_survey.py"),
        *("test_chunks.py", "test_cluster_run.py", "test_log_reports.py", "test_probing.py"),
        *("test_journal_recovery.py", "test_output_log.py", "test_photo_formats.py", "test_runs.py", "test_scan.py"),
    }
)
"""Their slow tests reach branches that no fast one does. Tracing takes as long again, so it is not for all."""

IN_CI = os.environ.get("CI") == "true"

# A busy machine is no failure; and what fails in CI is what a change broke, not what chance found.
settings.register_profile("thorough", deadline=None, derandomize=IN_CI)
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=20)

for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *(name for name in os.environ if name.startswith("SMARTY_"))):
    # What the machine is set up with is not under test, and a file of certificates takes 30 ms of each client.
    os.environ.pop(name, None)

# A shell lets what it runs in the background ignore this signal, and so would the programs that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Under coverage only the tests' own processes are measured: to measure the programs they start takes as long again.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "thorough")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Modules none of whose tests are asked for are not imported: to compile and import them all takes each worker 6 to
    14 seconds."""
    if collection_path.suffix != ".py":
        return None
    text, name = collection_path.read_text(encoding="utf-8"), collection_path.name
    is_measured_room = collection_path.relative_to(TESTS).parts[0] in MEASURED_ROOMS
    is_wholly_slow = WHOLLY_SLOW.search(text) is not None
    is_left_out = {
        "not slow": is_wholly_slow,
        "measured": not is_measured_room or (is_wholly_slow and name not in MEASURED_SLOW),
        "not measured": is_measured_room and (name in MEASURED_SLOW or "mark.slow" not in text),
    }
    return True if is_left_out.get(config.option.markexpr) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(TESTS).parts[0]
        if room in MEASURED_ROOMS and (item.path.name in MEASURED_SLOW or not item.get_closest_marker("slow")):
            item.add_marker("measured")


def pytest_collection_finish() -> None:
    gc.freeze()  # the tests themselves are no garbage: a collection looks only at what they make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the photos of a run lie."""
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where its outputs go."""
    return tmp_path / "out"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """An S3 server with an empty bucket."""
    with s3_server() as server:
        yield server
