"""A pytest plugin, loaded by itself where this package is installed: the fixture ``smarty_service``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smarty_async.testing import FakeService

__all__ = ["smarty_service"]


@pytest.fixture
def smarty_service() -> Iterator[FakeService]:
    """A fake service (`smarty_async.testing.FakeService`), in a thread of its own during the test."""
    from smarty_async.testing import FakeService  # noqa: PLC0415 - pytest loads this module in every run

    with FakeService() as service:
        yield service
