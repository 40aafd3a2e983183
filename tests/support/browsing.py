"""A headless browser's tabs, watched for complaints and for requests to other hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

    Tab = Page
else:
    Tab = Any

__all__ = ["Tab", "Tabs"]


class Tabs:
    """Makes tabs of `browser`, each with a profile of its own.

    The one of the usual profile is kept for the next test, as a tab's processes take a second to start. Nothing else is
    kept: each test has a server of its own, and what a page stores is by the server's address.

    Attributes:
        complaints: what consoles said and scripts threw.
        hosts: the hosts of every request.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._kept: Tab | None = None
        self._is_kept_open = False
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.hosts: set[str] = set()

    async def open(self, **profile: Any) -> Tab:
        """A tab; `profile` as Playwright's `new_context` takes it."""
        if profile or self._is_kept_open:
            tab = await self._new_tab(**profile)
            self._contexts.append(tab.context)
            return tab
        self._kept = self._kept or await self._new_tab()
        self._is_kept_open = True
        return self._kept

    async def _new_tab(self, **profile: Any) -> Tab:
        context = await self._browser.new_context(**{"viewport": {"width": 1200, "height": 800}} | profile)
        context.set_default_timeout(20_000)
        tab = await context.new_page()
        tab.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: self._note(request.url))
        return tab

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("about", "data", "blob"):
            self.hosts.add(parts.hostname or parts.scheme)

    async def close(self) -> None:
        """Close all tabs; there must have been no complaint, and no request but to this machine.

        A test's server calls it before it stops: a picture on its way would be complained about.
        """
        complaints, hosts = list(self.complaints), set(self.hosts)
        contexts, self._contexts = self._contexts, []
        for context in contexts:
            await context.close()
        if self._kept and self._is_kept_open:
            await self._kept.goto("about:blank")
            self._is_kept_open = False
        self.complaints.clear()
        self.hosts.clear()
        assert complaints == []
        assert hosts <= {"127.0.0.1", "file"}
