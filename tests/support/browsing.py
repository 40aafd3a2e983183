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

    Attributes:
        complaints: what consoles said and scripts threw.
        hosts: the hosts of every request.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.hosts: set[str] = set()

    async def open(self, **profile: Any) -> Tab:
        """A tab; `profile` as Playwright's `new_context` takes it."""
        context = await self._browser.new_context(**{"viewport": {"width": 1200, "height": 800}} | profile)
        self._contexts.append(context)
        context.set_default_timeout(20_000)
        tab = await context.new_page()
        tab.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: self._note(request.url))
        return tab

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(parts.hostname or parts.scheme)

    async def close(self) -> None:
        """Close all tabs; there must have been no complaint, and no request but to this machine.

        A test's server calls it before it stops: a picture on its way would be complained about.
        """
        contexts, self._contexts = self._contexts, []
        complaints = list(self.complaints)
        for context in contexts:
            await context.close()
        if contexts:
            self._check(complaints)

    def _check(self, complaints: list[str]) -> None:
        assert complaints == []
        assert self.hosts <= {"127.0.0.1", "file"}
