"""`SmartyClient`, the front door."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from ssl import SSLContext
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast, get_args
from weakref import WeakSet

import aiohttp
from yarl import URL

from smarty_async.account import account_from_env
from smarty_async.archive.photos.reader import read_in_thread
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.argument_checks import check_concurrency, check_printable, check_size, check_type
from smarty_async.errors import ConfigurationError, OptionsError, RequestError, SmartyError
from smarty_async.hooks import Hooks, all_hooks
from smarty_async.inputs import PhotoInput
from smarty_async.options import (
    BASE_URL,
    PATH,
    PROVIDER,
    ArchiveKeywords,
    ArchiveOptions,
    Limits,
    Mode,
    OAuthCredentials,
    PathLike,
    Retries,
    Timeouts,
    check_modes,
    is_loopback,
)
from smarty_async.photo_in_memory import InputMemory, PhotoInMemory
from smarty_async.results import Restored
from smarty_async.run import ArchiveRun
from smarty_async.thread_limit import thread_limit
from smarty_async.transport.connection import Connection
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.http import make_session, service_url
from smarty_async.transport.item import Submitter
from smarty_async.transport.limiter import rate_limit
from smarty_async.transport.response import MemorySink
from smarty_async.transport.retry import Sleep
from smarty_async.transport.tokens import open_tokens
from smarty_async.wire.verdict import Abort, Drop, Judge, Refresh, Verdict, judge

if TYPE_CHECKING:
    from distributed import Client as DaskClient

    from smarty_async.cluster.connection import ClusterConnection

__all__ = ["SmartyClient"]

_LOWEST_RATE = 1e-6
"""Requests a second, at least: one in eleven days."""
_SMALLEST_WINDOW = 64
"""Photos alive, at least: a photo's dimensions are known that many photos before it is sent."""
_CHUNKS_ALIVE = 3
"""Chunks of photos alive for each permit: one being sent, one waiting, one being probed or committed."""
_REQUESTS_IN_MEMORY = 2
"""Requests whose photos may be in memory, for each one that may be open: it, and the next one."""

_TYPES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("base_url", "provider", "path"), (str,)),
    **dict.fromkeys(("token", "proxy"), (str, None)),
    "credentials": (OAuthCredentials, None),
    "session": (aiohttp.ClientSession, None),
    "ssl": (SSLContext, None),
    "rate": (int, float, None),
    "limits": (Limits, None),
    "retries": (Retries, None),
    "timeouts": (Timeouts, None),
    "hooks": (Iterable,),
    **dict.fromkeys(("judge", "sleep"), (Callable,)),
}
"""What a client's arguments must be."""


class SmartyClient:
    """A client of the photo restoration service; use it with ``async with``, and one for a whole event loop.

    Args:
        token: a service token.
        credentials: or what to ask for an access token with.
        base_url: the service's address. Plain http is refused except to this machine, where no token is needed.
        provider: ``oauth_provider``: ``mcs``, or the older ``mr``.
        path: the method's path; an older one ends in a slash.
        session: a session to send through. It is not closed, and its own proxy and TLS settings are used.
        proxy: the address of an http proxy; without it, ``HTTPS_PROXY`` and ``NO_PROXY`` of the environment decide.
        ssl: TLS settings; without them, ``SSL_CERT_FILE`` of the environment or the system's certificates.
        concurrency: requests open at once, at most; fewer while the service asks for it.
        rate: requests a second, at most; None for no limit.
        limits: what one request may carry.
        retries: how long to go on asking.
        timeouts: when to stop waiting.
        judge: what a failed request means.
        hooks: called with requests, responses, retries and photos; the standard log is written in any case.
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
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        ssl: SSLContext | None = None,
        concurrency: int = 8,
        rate: float | None = None,
        limits: Limits | None = None,
        retries: Retries | None = None,
        timeouts: Timeouts | None = None,
        judge: Judge = judge,
        hooks: Sequence[Hooks] = (),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        arguments = locals()
        for name, types in _TYPES.items():
            check_type(name, arguments[name], *types)
        check_concurrency(concurrency)
        if rate is not None and not rate >= _LOWEST_RATE:
            raise OptionsError(f"rate must be greater than 0 requests a second, not {rate}")
        check_size("rate", rate or 0)
        check_printable("token", token or "")
        check_printable("provider", provider)
        if not provider:
            raise OptionsError("provider must not be empty: mcs, or mr for older tokens")
        if token and credentials:
            raise OptionsError("token and credentials exclude each other: give one of them")
        if session is not None and (proxy is not None or ssl is not None):
            raise OptionsError("session goes without proxy and ssl: it has its own")
        self._session, self._proxy, self._ssl = session, proxy, ssl
        self._url = service_url(base_url, path)
        if credentials is not None:
            service_url(credentials.auth_url)
        elif not token and not is_loopback(self._url.raw_host or ""):
            raise ConfigurationError(
                "there is nothing to authorize with: give a token or credentials, or set SMARTY_TOKEN for from_env()"
            )
        self._token = token
        self._credentials = credentials
        self._provider = provider
        self._concurrency = concurrency
        self._rate = None if rate == math.inf else rate
        self._limits = limits or Limits()
        self._retries = retries or Retries()
        self._timeouts = timeouts or Timeouts()
        self._judge = _checked(judge)
        self._hooks = tuple(hooks)
        self._sleep = sleep
        per_request = max(self._limits.max_request_bytes, self._limits.max_image_bytes or 0)
        self._input_memory = InputMemory(_REQUESTS_IN_MEMORY * concurrency * per_request)
        self._opened = AsyncExitStack()
        self._is_open = False  # also while it is being opened or closed
        self._dispatcher: Dispatcher | None = None
        self._runs: WeakSet[ArchiveRun] = WeakSet()
        self._submitter = Submitter(  # of single photos
            MemorySink(), all_hooks(self._hooks), sleep=sleep, give_up_after=self._retries.give_up_single_after
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """A client for the account in the environment, as the command line reads it.

        Args:
            environ: the variables: ``SMARTY_TOKEN`` or ``SMARTY_TOKEN_FILE``, or ``SMARTY_CLIENT_ID`` with
                ``SMARTY_CLIENT_SECRET`` (and ``SMARTY_AUTH_URL``); ``SMARTY_BASE_URL``, ``SMARTY_PROVIDER``.
            **options: other arguments of `SmartyClient`.

        Raises:
            ConfigurationError: there is no account, half of one, or two.
            OptionsError: the options do not go together.
        """
        account = account_from_env(
            environ, base_url=options.pop("base_url", None), provider=options.pop("provider", None)
        )
        return cls(
            token=account.token,
            credentials=account.credentials,
            base_url=account.base_url or BASE_URL,
            provider=account.provider,
            **options,
        )

    def __repr__(self) -> str:
        return f"SmartyClient(base_url={str(self._url.origin())!r}, concurrency={self._concurrency})"

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise SmartyError("the client is open already: open it once, around everything that uses it")
        self._is_open = True
        self._opened.callback(self._has_closed)
        try:
            self._dispatcher = await self._new_dispatcher()
        except BaseException:
            await self._opened.aclose()
            raise
        self._opened.push_async_callback(self._dispatcher.close)
        return self

    def _has_closed(self) -> None:
        self._is_open = False

    async def _new_dispatcher(self) -> Dispatcher:
        session = await self._session_to(self._url)
        tokens = await open_tokens(
            token=self._token, credentials=self._credentials, timeouts=self._timeouts, session_to=self._session_to
        )
        connection = Connection(
            session,
            url=self._url,
            provider=self._provider,
            timeouts=self._timeouts,
            max_output_bytes=self._limits.max_output_bytes,
            in_thread=read_in_thread,
        )
        return Dispatcher(
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

    async def _session_to(self, url: URL) -> aiohttp.ClientSession:
        """The session for requests to `url`: the caller's, or one that is closed with this client."""
        if self._session is not None:
            return self._session
        session = make_session(url, timeouts=self._timeouts, proxy=self._proxy, ssl=self._ssl)
        return await self._opened.enter_async_context(session)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close at once: cancel what is under way, keep the answers that archives have received whole.

        Leaving the ``async with`` block does this, too; closing twice does no harm.

        Raises:
            SmartyError: another event loop runs than the one in which the client was opened.
        """
        if self._dispatcher is not None:
            self._dispatcher.check_loop()
        self._dispatcher = None  # from here on it takes nothing new
        await finish_despite_cancel(self._close())

    async def _close(self) -> None:
        async with self._opened:
            for run in list(self._runs):
                await run.aclose()

    async def improve(
        self,
        photo: PhotoInput,
        *,
        modes: Iterable[Mode] = ("improve",),
        rfactor: int | None = None,
        rtype: str | None = None,
        chain: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - a caller expects it here
    ) -> Restored:
        """Restore one photo in memory. Calls that run at the same time share requests.

        Args:
            photo: a path, the bytes of an image file, a binary file object (an asynchronous one, too), or a Pillow
                image.
            modes: ``improve``, ``resolution`` or both.
            rfactor: 2 or 4, for ``resolution``.
            rtype: ``photo`` (the default) or ``art``, for ``resolution``.
            chain: enlarge the restored picture instead of the photo itself; needs both modes.
            timeout: seconds until `TimeoutError` is raised; None to wait as long as it takes. An open request is
                paid for even when it is not awaited any more.

        Raises:
            OptionsError: the arguments do not go together, or the `judge` gave no verdict.
            PhotoRejected: the photo cannot be sent.
            PhotoFailed: the service, or the bound on attempts, said no.
            ConfigurationError: nothing can be sent as things are.
            ServiceUnavailable: the service has failed for `Retries.give_up_single_after`.
            DiskError: the system starts no more threads.
            TimeoutError: `timeout` seconds have passed.
            TypeError: `photo` is none of these, or a file that was opened as text.
            SmartyError: the client is not open, or was opened in another event loop.
        """
        check_type("timeout", timeout, int, float, None)
        if timeout is not None and math.isnan(timeout):
            raise OptionsError("timeout must be a number of seconds, not nan")
        specs = check_modes(modes, rfactor, rtype, chain=chain)
        dispatcher = self._open_dispatcher()
        dispatcher.check_loop()
        in_memory = PhotoInMemory(
            photo,
            specs,
            dispatcher=dispatcher,
            submitter=self._submitter,
            limits=self._limits,
            memory=self._input_memory,
        )
        with thread_limit():
            async with asyncio.timeout(timeout):
                return await in_memory.run()

    def improve_archive(
        self,
        source: PathLike | Sequence[PathLike] = (),
        *,
        out: PathLike,
        cluster: DaskClient | None = None,
        **keywords: Unpack[ArchiveKeywords],
    ) -> ArchiveRun:
        """Restore an archive to disk: iterate over what this returns with ``async for``.

        Results come as photos finish, each with its outputs already durable under `out`. A later run over the same
        `out` skips what is finished.

        Args:
            source: a folder, a photo, a glob or an address of a store, or several of them.
            out: the output folder, or its address in a store.
            cluster: an asynchronous client of a Dask cluster, whose workers send the requests; they must see the
                photos and `out` under the same paths. Needs the extra `cluster`.
            **keywords: what to do, see `ArchiveOptions`:
                `modes` (``improve``, ``resolution`` or both), `rfactor` (2 or 4) and `rtype` (``photo`` or ``art``)
                for ``resolution``, `chain` (enlarge the restored picture);
                `include` and `exclude` (patterns), `listed` (more paths, one photo or folder each);
                `fit`, `outputs`, `strip_metadata`; `retry_failed`, `redo_missing`;
                `max_photos`, `max_cost`, `max_cost_total`;
                `state` and `store_options` (for a store).

        Raises:
            OptionsError: the arguments do not go together.
            MissingExtra: `cluster` needs the extra of that name.
            ConfigurationError: the token would travel unencrypted to the cluster.
        """
        options = ArchiveOptions.of(source, out=out, **keywords)
        run = ArchiveRun(
            options,
            self._open_dispatcher(),
            hooks=self._hooks,
            limits=self._limits,
            window=max(_SMALLEST_WINDOW, self._concurrency * self._limits.max_images * _CHUNKS_ALIVE),
            sleep=self._sleep,
            others=self._runs,
            cluster=None if cluster is None else self._on_cluster(cluster),
        )
        self._runs.add(run)
        return run

    def _on_cluster(self, dask: DaskClient) -> ClusterConnection:
        """What the workers of a cluster send requests with.

        Raises:
            MissingExtra: the extra is not installed.
            OptionsError: the client has settings that cannot travel.
            ConfigurationError: the token would travel unencrypted.
        """
        from smarty_async.cluster import require_distributed  # noqa: PLC0415 - an extra

        require_distributed()
        from smarty_async.cluster.connection import ClusterConnection  # noqa: PLC0415 - as above
        from smarty_async.cluster.messages import Secret, ServiceAddress  # noqa: PLC0415

        if self._session is not None or self._ssl is not None:
            raise OptionsError("cluster goes without session and ssl: each worker has its own")
        service = ServiceAddress(
            url=str(self._url),
            provider=self._provider,
            proxy=Secret(self._proxy) if self._proxy else None,
            timeouts=self._timeouts,
            max_output_bytes=self._limits.max_output_bytes,
        )
        return ClusterConnection(dask, service=service, wait_seconds=self._retries.give_up_after)

    def _open_dispatcher(self) -> Dispatcher:
        if self._dispatcher is None:
            raise SmartyError("the client is not open: use it inside 'async with SmartyClient(…) as client'")
        return self._dispatcher


def _checked(judge: Judge) -> Judge:
    """`judge`, with an `OptionsError` where it fails, or returns something else than a verdict."""
    name = getattr(judge, "__qualname__", repr(judge))

    def verdict_of(error: RequestError, names: Collection[str], /) -> Verdict:
        try:
            verdict = cast("object", judge(error, names))
        except SmartyError:
            raise
        except Exception as failure:
            raise OptionsError(
                f"judge must return a verdict, but {name} raised {type(failure).__name__}: {failure}"
            ) from failure
        if not isinstance(verdict, Verdict):
            raise OptionsError(
                f"judge must return a verdict ({', '.join(one.__name__ for one in get_args(Verdict))}), "
                f"but {name} returned {verdict!r}"
            )
        if isinstance(verdict, Drop) and verdict.name not in names:
            raise OptionsError(f"judge may drop images of the request, but {name} returned {verdict!r}")
        if isinstance(verdict, Refresh | Abort) and not isinstance(cast("object", verdict.error), ConfigurationError):
            raise OptionsError(f"judge must give a ConfigurationError to end with, but {name} returned {verdict!r}")
        return verdict

    return verdict_of
