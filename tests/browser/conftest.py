from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NoReturn

import pytest
import pytest_asyncio
from support.browsing import Tab, Tabs

if TYPE_CHECKING:
    from playwright.async_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> NoReturn:
    """Skip a test that cannot run here; in CI, where all of it is installed, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, and there is {what}")
    pytest.skip(f"there is {what}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium: one for all tests, as it takes seconds to start."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing(f"no browser: install one of {', '.join(BROWSERS)}")
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - it may be missing
    except ImportError:
        missing("no Playwright: pip install playwright")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def all_tabs(browser: Browser) -> Tabs:
    return Tabs(browser)


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(all_tabs: Tabs) -> AsyncIterator[Tabs]:
    """Tabs of the browser. A message in a console or a request to another host fails the test."""
    yield all_tabs
    await all_tabs.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tab(tabs: Tabs) -> Tab:
    return await tabs.open()
