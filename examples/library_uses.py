"""Uses of the library, each as one would write it; the type checkers read this file too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from smarty_async import (
    ErrorInfo,
    Limits,
    OAuthCredentials,
    PhotoFailed,
    PhotoRejected,
    RequestDetails,
    ResponseDetails,
    Restored,
    Result,
    Retries,
    RetryDetails,
    ServiceUnavailable,
    SmartyClient,
    Timeouts,
    embedded_service,
    plan_archive,
    read_status,
)
from smarty_async.testing import FakeService, kind_of


async def one_photo(source: Path, target: Path) -> None:
    """One photo, restored and enlarged, with the account in the environment."""
    async with SmartyClient.from_env() as client:
        restored = await client.improve(source, modes=("improve", "resolution"), rfactor=2, chain=True)
    if restored.best is None:
        print(f"{source} is already good")
    else:
        restored.save(target)
        print(f"{source}: {restored.to_pil().size} pixels")


async def many_photos(token: str, paths: list[Path]) -> list[Restored]:
    """Calls that run at the same time share requests."""
    async with SmartyClient(token=token) as client:
        return await asyncio.gather(*map(client.improve, paths))


async def for_a_user_who_waits(client: SmartyClient, upload: bytes) -> bytes | str:
    """The picture, or the reason why there is none, within a minute."""
    try:
        restored = await client.improve(upload, timeout=60)
    except PhotoRejected as error:
        return f"not sent ({error.type}): {error.message}"
    except PhotoFailed as error:
        return f"failed after {error.attempts} attempts: {error.message}"
    except (ServiceUnavailable, TimeoutError):
        return "try again later"
    return restored.best or upload


async def an_archive(token: str) -> list[tuple[str, ErrorInfo]]:
    """An archive to disk; run it again to continue where it stopped."""
    failed: list[tuple[str, ErrorInfo]] = []
    async with SmartyClient(token=token, concurrency=4, timeouts=Timeouts(silence=600)) as client:
        run = client.improve_archive(
            "archive/", out="restored/", modes=("improve", "resolution"), rfactor=2, rtype="photo", max_cost_total=500
        )
        async for result in run:
            print(f"{run.progress.done} of {run.progress.found}: {result.photo} {result.outcome} {result.outputs}")
            if result.error is not None:
                failed.append((result.photo, result.error))
    return failed


async def with_oauth_credentials(client_id: str, client_secret: str) -> list[dict[str, object]]:
    """OAuth credentials instead of a token, smaller requests, more attempts."""
    credentials = OAuthCredentials(client_id=client_id, client_secret=client_secret)
    async with SmartyClient(
        credentials=credentials, limits=Limits(max_images=8), retries=Retries(max_attempts=8), rate=2.0
    ) as client:
        run = client.improve_archive(["scans/", "more/*.png"], out="restored/", outputs=["improved"])
        return [result.to_dict() async for result in run]


async def without_an_account(photo: bytes) -> Restored:
    """On this machine, with the embedded service."""
    async with embedded_service() as url, SmartyClient(base_url=url) as client:
        return await client.improve(photo)


async def before_and_after_a_run() -> None:
    """What would be sent, and what has been done."""
    plan = await plan_archive("archive/", out="restored/")
    print(f"{plan.photos} photos in {plan.requests} requests, about {plan.cost:.2f} ₽")
    status = await read_status("restored/")
    print(status.outcomes, status.unfinished)


class Slowest:
    """Hooks that remember the slowest request and how many photos failed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.failed = 0

    def on_request(self, details: RequestDetails) -> None:
        """A request is about to be sent."""

    def on_response(self, details: ResponseDetails) -> None:
        """A request has ended."""
        self.seconds = max(self.seconds, details.seconds)

    def on_retry(self, details: RetryDetails) -> None:
        """A failed request is going to be retried."""
        logging.getLogger(__name__).warning("next try in %.0f s: %s", details.wait, details.error)

    def on_photo(self, result: Result) -> None:
        """A photo of an archive has come to an end."""
        self.failed += result.outcome == "failed"


async def measured(token: str, sources: Iterable[str]) -> Slowest:
    """An archive, with hooks."""
    slowest = Slowest()
    async with SmartyClient(token=token, hooks=[slowest]) as client:
        async for _ in client.improve_archive(list(sources), out="restored/"):
            pass
    return slowest


async def in_a_test(photo: bytes) -> tuple[str, int]:
    """Code that uses the library, against a fake service whose first answer is an error."""
    async with FakeService() as service:
        service.fail_next(503, retry_after=0)
        async with SmartyClient(base_url=service.url) as client:
            restored = await client.improve(photo)
    return kind_of(restored.best or b""), len(service.requests)  # "colorized_improved", 2
