"""The before/after page: served on loopback, or written as a file to send to someone."""

from __future__ import annotations

from smarty_async.report.page.server import view
from smarty_async.report.page.static_page import write_static

__all__ = ["view", "write_static"]
