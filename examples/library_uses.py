"""Uses of the library, each as one would write it; the type checkers read this file too."""

from __future__ import annotations

import asyncio
from pathlib import Path

from smarty_async import (
    ErrorInfo,
    Limits,
    OAuthCredentials,
    PhotoFailed,
    PhotoRejected,
    Restored,
    Result,
    Retries,
    SmartyClient,
    Timeouts,
    embedded_service,
    plan_archive,
    read_status,
)


async def one_photo(token: str) -> bytes | None:
    """One photo, in memory."""
    async with SmartyClient(token=token) as client:
        photo: Restored = await client.improve("old.jpg")
        return photo.colorized_improved if photo.bw else photo.improved


async def many_photos(token: str, paths: list[Path]) -> list[Restored]:
    """Calls that run at the same time share requests by themselves."""
    async with SmartyClient(token=token) as client:
        return await asyncio.gather(*map(client.improve, paths))


async def an_archive(token: str) -> list[tuple[str, ErrorInfo]]:
    """An archive to disk; run it again to go on where it stopped."""
    failed: list[tuple[str, ErrorInfo]] = []
    async with SmartyClient(token=token, concurrency=4, timeouts=Timeouts(silence=600)) as client:
        run = client.improve_archive(
            "archive/", out="restored/", modes=("improve", "resolution"), rfactor=2, rtype="photo"
        )
        async for result in run:
            print(f"{run.progress.done} of {run.progress.found}: {result.photo} {result.outcome} {result.outputs}")
            if result.error is not None:
                failed.append((result.photo, result.error))
    return failed


async def with_an_account(client_id: str, client_secret: str) -> None:
    """OAuth credentials instead of a token; smaller requests, more patience."""
    credentials = OAuthCredentials(client_id=client_id, client_secret=client_secret)
    async with SmartyClient(
        credentials=credentials, limits=Limits(max_images=8), retries=Retries(max_attempts=8), rate=2.0
    ) as client:
        async for result in client.improve_archive(["scans/", "more/*.png"], out="restored/", max_cost=100.0):
            line: Result = result
            print(line.photo, line.outcome)


async def with_no_account(photo: bytes) -> Restored | None:
    """On this machine, with the embedded service."""
    async with embedded_service() as url, SmartyClient(base_url=url) as client:
        try:
            return await client.improve(photo)
        except PhotoRejected as error:
            print("not sent:", error.type, error)
        except PhotoFailed as error:
            print(f"failed after {error.attempts} attempts: {error}")
        return None


async def before_and_after() -> None:
    """What would be sent, and what has been done."""
    plan = await plan_archive("archive/", out="restored/")
    print(f"{plan.photos} photos in {plan.requests} requests, about {plan.cost:.2f} ₽")
    status = await read_status("restored/")
    print(status.outcomes, status.unfinished)
