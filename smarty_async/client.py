"""The front door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import aiohttp

from smarty_async.archive_options import Job
from smarty_async.errors import ConfigurationError, OptionsError, PhotoFailed, PhotoRejected, SmartyError
from smarty_async.inputs import PhotoSource, Source, body_of, name_of, sources_of
from smarty_async.options import (
    BASE_URL,
    PATH,
    PROVIDER,
    Limits,
    Mode,
    ModeSpec,
    OAuthCredentials,
    Retries,
    Timeouts,
    check_modes,
)
from smarty_async.photo import ask
from smarty_async.results import Kind, Progress, Restored
from smarty_async.run import ArchiveRun
from smarty_async.transport.address import address, is_loopback
from smarty_async.transport.connection import Connection
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.limiter import rate_limit
from smarty_async.transport.request import BatchGroup, ImageBudget, Item
from smarty_async.transport.response import MemoryFile, MemorySink, ReceivedItem
from smarty_async.transport.retry import Sleep, item_retrying
from smarty_async.transport.tokens import OAuthTokens, ServiceToken, Tokens
from smarty_async.wire.verdict import Judge, judge

__all__ = ["SmartyClient"]

_NO_TOKEN = "no-token-given"  # noqa: S105 - that is what it says
"""What goes to a loopback service that needs none: it must be there, and like no word of an error's text."""
_CHUNKS_ALIVE = 3
"""Chunks a slot that may be alive at a time: one sent, one waiting, one being looked at or written."""


class SmartyClient:
    """A client of the photo restoration service; use it with ``async with``, and one for a whole process.

    Args:
        token: a service token.
        credentials: or what to ask for an access token with.
        base_url: the service's address. Plain http is refused except to this machine, where no token is needed.
        provider: ``oauth_provider``: ``mcs``, or the older ``mr``.
        path: the method's path; an older one ends in a slash.
        concurrency: requests open at once, at most; fewer while the service asks for it.
        rate: requests a second, at most; None for no limit.
        limits: what one request may carry.
        retries: how long to go on asking.
        timeouts: when to stop waiting.
        judge: what a failed request means.
        sleep: waits between tries, in seconds; tests give one that does not.

    Raises:
        OptionsError: the choices do not go together.
        ConfigurationError: there is nothing to authorize with, or the token would travel in the open.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        credentials: OAuthCredentials | None = None,
        base_url: str = BASE_URL,
        provider: str = PROVIDER,
        path: str = PATH,
        concurrency: int = 8,
        rate: float | None = None,
        limits: Limits | None = None,
        retries: Retries | None = None,
        timeouts: Timeouts | None = None,
        judge: Judge = judge,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if concurrency < 1:
            raise OptionsError(f"concurrency must be at least 1, not {concurrency}")
        if rate is not None and not rate > 0:
            raise OptionsError(f"rate must be greater than 0 requests a second, not {rate}")
        if token and credentials:
            raise OptionsError("token and credentials exclude each other: give one of them")
        self._url = address(base_url, path)
        if credentials is not None:
            address(credentials.auth_url, "")
        elif not token and not is_loopback(self._url):
            raise ConfigurationError("there is nothing to authorize with: give a token or credentials")
        self._token = token or _NO_TOKEN
        self._credentials = credentials
        self._provider = provider
        self._concurrency = concurrency
        self._rate = rate
        self._limits = limits or Limits()
        self._retries = retries or Retries()
        self._timeouts = timeouts or Timeouts()
        self._judge = judge
        self._sleep = sleep
        self._opened = AsyncExitStack()
        self._dispatcher: Dispatcher | None = None
        self._runs: list[ArchiveRun] = []
        self._groups: dict[tuple[ModeSpec, ...], BatchGroup] = {}

    def __repr__(self) -> str:
        return f"SmartyClient(base_url={str(self._url.origin())!r}, concurrency={self._concurrency})"

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._timeouts.connect, sock_connect=self._timeouts.connect, sock_read=None
        )
        session = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": f"smarty_async/{version('smarty_async')}"},
        )
        self._opened.push_async_callback(session.close)
        tokens: Tokens = (
            OAuthTokens(self._credentials, session, timeouts=self._timeouts)
            if self._credentials
            else ServiceToken(self._token)
        )
        connection = Connection(
            session,
            url=self._url,
            provider=self._provider,
            timeouts=self._timeouts,
            redact=tokens.redact,
            max_output_bytes=self._limits.max_output_bytes,
        )
        self._dispatcher = Dispatcher(
            connection,
            tokens,
            limits=self._limits,
            retries=self._retries,
            concurrency=self._concurrency,
            rate=None if self._rate is None else rate_limit(self._rate),
            judge=self._judge,
            sleep=self._sleep,
            clock=monotonic,
        )
        self._opened.push_async_callback(self._dispatcher.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._dispatcher = None  # from here on it takes nothing new
        async with self._opened:
            for run in self._runs:
                await run.aclose()

    async def improve(
        self,
        photo: PhotoSource,
        *,
        modes: Iterable[Mode] = ("improve",),
        rfactor: int | None = None,
        rtype: str | None = None,
    ) -> Restored:
        """Restore one photo in memory. Calls that run at the same time share requests.

        Args:
            photo: a path, the bytes of an image file, or a binary file object.
            modes: ``improve``, ``resolution`` or both.
            rfactor: 2 or 4, for ``resolution``.
            rtype: ``photo`` (when not given) or ``art``, for ``resolution``.

        Raises:
            OptionsError: the choices do not go together.
            PhotoRejected: it cannot be sent.
            PhotoFailed: the service, or the bound on attempts, said no.
            ConfigurationError: nothing can be sent as things are.
            ServiceUnavailable: the service was given up on.
        """
        specs, dispatcher = check_modes(modes, rfactor, rtype), self._open_dispatcher()
        files: dict[Kind, bytes] = {}
        bw: list[bool] = []

        async def keep(_: ModeSpec, arrived: ReceivedItem) -> None:
            if arrived.answered.bw is not None:
                bw.append(arrived.answered.bw)
            for kind, file in arrived.files.items():
                assert isinstance(file, MemoryFile)  # noqa: S101 - what MemorySink opens
                files[kind] = file.data

        try:
            with dispatcher.announce():
                body = await body_of(photo, self._limits)
            asked = await ask(
                specs,
                make_item=lambda missing: Item(body, self._group(missing)),
                submit=dispatcher.submit,
                keep=keep,
                policy=partial(item_retrying, self._retries, sleep=partial(dispatcher.backoff, sleep=self._sleep)),
            )
        except PhotoRejected as error:
            error.photo = name_of(photo)
            raise
        restored = Restored(
            outcome="restored" if files else "already_good", bw=bw[0] if bw else None, attempts=asked.attempts, **files
        )
        if asked.error is None:
            return restored
        failed = PhotoFailed(asked.error.message, photo=name_of(photo), type=asked.error.type, attempts=asked.attempts)
        failed.restored = restored if files else None
        raise failed

    def improve_archive(
        self,
        source: Source | Sequence[Source] = (),
        *,
        out: Source,
        modes: Iterable[Mode] = ("improve",),
        rfactor: int | None = None,
        rtype: str | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        listed: Iterable[str | bytes] = (),
        fit: bool = False,
        retry_failed: bool = False,
        redo_missing: bool = False,
        max_photos: int | None = None,
        max_cost: float | None = None,
    ) -> ArchiveRun:
        """Restore an archive to disk: iterate over what this gives with ``async for``.

        Results come as photos finish, each with its outputs already durable under `out`. A later run over the same
        `out` skips what is finished.

        Args:
            source: a folder, a photo, a glob, or several of them.
            out: the output folder.
            modes: ``improve``, ``resolution`` or both.
            rfactor: 2 or 4, for ``resolution``.
            rtype: ``photo`` (when not given) or ``art``, for ``resolution``.
            include: patterns of photos to take; all when empty.
            exclude: patterns of photos to leave out.
            listed: more paths, one photo or folder each.
            fit: make photos that are over the limits smaller instead of rejecting them.
            retry_failed: try again what failed in an earlier run.
            redo_missing: do again, and pay for, photos of which outputs are no longer there.
            max_photos: photos sent in this run, at most.
            max_cost: ₽ spent in this run, at most, by the estimate.

        Raises:
            OptionsError: the choices do not go together.
        """
        dispatcher = self._open_dispatcher()
        if max_photos is not None and max_photos < 0:
            raise OptionsError(f"max_photos must not be negative, but is {max_photos}")
        if max_cost is not None and not max_cost >= 0:
            raise OptionsError(f"max_cost must not be negative, but is {max_cost}")
        job = Job(
            sources=sources_of(source),
            listed=listed,
            out=Path(out).absolute(),
            specs=check_modes(modes, rfactor, rtype),
            include=tuple(include),
            exclude=tuple(exclude),
            limits=self._limits,
            retries=self._retries,
            window=self._concurrency * self._limits.max_images * _CHUNKS_ALIVE,
            fit=fit,
            retry_failed=retry_failed,
            redo_missing=redo_missing,
            max_photos=max_photos,
            max_cost=max_cost,
        )
        self._runs = [run for run in self._runs if run.active]
        run = ArchiveRun(job, dispatcher, sleep=self._sleep)
        self._runs.append(run)
        return run

    def _open_dispatcher(self) -> Dispatcher:
        if self._dispatcher is None:
            raise SmartyError("the client is not open: use it inside 'async with SmartyClient(…) as client'")
        return self._dispatcher

    def _group(self, specs: tuple[ModeSpec, ...]) -> BatchGroup:
        if specs not in self._groups:
            self._groups[specs] = BatchGroup(specs, MemorySink(), Progress(), ImageBudget())
        return self._groups[specs]
