"""An asyncio batch client for VK Cloud Vision's photo restoration service.

    async with SmartyClient(token="…") as client:
        photo = await client.improve("old.jpg")
        async for result in client.improve_archive("archive/", out="restored/"):
            print(result.photo, result.outcome, result.outputs)

Names are imported when they are first used: importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smarty_async.client import SmartyClient
    from smarty_async.errors import (
        AuthorizationError,
        ConfigurationError,
        DiskError,
        DiskFull,
        MissingExtra,
        NotTheService,
        OptionsError,
        OutputInUse,
        PhotoError,
        PhotoFailed,
        PhotoRejected,
        RequestError,
        RequestRefused,
        ServiceUnavailable,
        SmartyError,
        StoreError,
    )
    from smarty_async.hooks import Hooks, RequestDetails, ResponseDetails, RetryDetails
    from smarty_async.local.embedded import EmbeddedService, embedded_service
    from smarty_async.options import ArchiveKeywords, Limits, Mode, OAuthCredentials, Retries, Timeouts
    from smarty_async.plan import plan_archive, read_status
    from smarty_async.progress import Progress
    from smarty_async.results import ErrorInfo, Failures, Kind, Outcome, Plan, Restored, Result, Status
    from smarty_async.run import ArchiveRun
    from smarty_async.wire.verdict import (
        Abort,
        Drop,
        Judge,
        Refresh,
        Retry,
        Shrink,
        SlowDown,
        Split,
        Verdict,
        judge,
    )

__version__: str
"""The version of the installed package."""

__all__ = [
    "Abort",
    "ArchiveKeywords",
    "ArchiveRun",
    "AuthorizationError",
    "ConfigurationError",
    "DiskError",
    "DiskFull",
    "Drop",
    "EmbeddedService",
    "ErrorInfo",
    "Failures",
    "Hooks",
    "Judge",
    "Kind",
    "Limits",
    "MissingExtra",
    "Mode",
    "NotTheService",
    "OAuthCredentials",
    "OptionsError",
    "Outcome",
    "OutputInUse",
    "PhotoError",
    "PhotoFailed",
    "PhotoRejected",
    "Plan",
    "Progress",
    "Refresh",
    "RequestDetails",
    "RequestError",
    "RequestRefused",
    "ResponseDetails",
    "Restored",
    "Result",
    "Retries",
    "Retry",
    "RetryDetails",
    "ServiceUnavailable",
    "Shrink",
    "SlowDown",
    "SmartyClient",
    "SmartyError",
    "Split",
    "Status",
    "StoreError",
    "Timeouts",
    "Verdict",
    "embedded_service",
    "judge",
    "plan_archive",
    "read_status",
]

_MODULES = (
    "errors",
    "options",
    "results",
    "progress",
    "hooks",
    "wire.verdict",
    "client",
    "run",
    "plan",
    "local.embedded",
)
"""Where the names live, the quick ones first."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - importing the package is quick

        return version("smarty_async")
    if name in __all__:
        for module_name in _MODULES:
            module = import_module(f"smarty_async.{module_name}")
            if name in module.__all__:
                value: object = getattr(module, name)
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
