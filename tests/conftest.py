from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.s3_server import S3Server, s3_server

TESTS = Path(__file__).parent

settings.register_profile("thorough", deadline=None)  # a busy machine is no failure
settings.register_profile("quick", deadline=None, max_examples=20)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(TESTS).parts[0]
        thorough = item.get_closest_marker("slow") and getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if room in ("unit", "run", "store") and not thorough:  # thousands of examples take the same branches
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
