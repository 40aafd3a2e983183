"""One chunk to the service and its answered items back, over aiohttp; foreign exceptions end here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import monotonic

import aiohttp
import msgspec
from yarl import URL

from smarty_async.errors import ConfigurationError, RequestError
from smarty_async.options import ModeSpec, Timeouts
from smarty_async.redaction import quotable
from smarty_async.results import Progress
from smarty_async.transport.body import Body, BodyFailed, stream
from smarty_async.transport.http import read_prefix, request_options, translate_error
from smarty_async.transport.response import ResponseReader
from smarty_async.transport.sinks import OutputSink, ReceivedItem
from smarty_async.wire.messages import Envelope, parse_envelope
from smarty_async.wire.multipart import Image, Multipart

__all__ = ["Connection"]


class Connection:
    """Sends chunks to one address.

    Args:
        session: what requests go through.
        url: the service's address and path.
        provider: ``oauth_provider``.
        timeouts: when to stop waiting.
        redact: takes secrets out of a text.
        max_output_bytes: what one output may decode to.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: URL,
        provider: str,
        timeouts: Timeouts,
        redact: Callable[[str], str],
        max_output_bytes: int,
    ) -> None:
        self._session = session
        self._url = url
        self._provider = provider
        self._timeouts = timeouts
        self._redact = redact
        self._max_output_bytes = max_output_bytes

    async def send(
        self,
        bodies: Sequence[Body],
        specs: Sequence[ModeSpec],
        *,
        token: str,
        sink: OutputSink,
        depart: Callable[[], None],
        deliver: Callable[[ReceivedItem], bool],
        land: Callable[[], None],
        progress: Progress,
    ) -> None:
        """Send `bodies` in one request and deliver each item of the answer as its object closes.

        `depart` is called when the connection stands and the first byte goes out, `land` when a good answer has come
        whole and only the spool is waited for. `deliver` says whether it took the item; what it does not take is
        discarded.

        Raises:
            RequestError: the request failed, or the answer broke off after what was delivered.
            BodyFailed: an image could not be read.
            ConfigurationError: no request could succeed this way.
        """
        multipart = Multipart([Image(body.content_type, body.size) for body in bodies], specs)
        failed: list[BodyFailed] = []
        began = monotonic()

        def landed() -> None:
            progress.latencies.add(monotonic() - began)
            land()

        try:
            async with (
                self._silence_limit() as silence,
                self._session.post(
                    self._url.with_query(oauth_provider=self._provider, oauth_token=token),
                    data=_stream(multipart, bodies, depart=depart, silence=silence, failed=failed, progress=progress),
                    **request_options(
                        self._timeouts,
                        headers={"Content-Type": multipart.content_type, "Content-Length": str(multipart.length)},
                    ),
                ) as response,
            ):
                unpacker = ResponseReader(sink, deliver, clean=self._clean, max_output_bytes=self._max_output_bytes)
                await self._read(response, unpacker, land=landed, silence=silence, progress=progress)
        except (aiohttp.ClientError, OSError, TimeoutError, RequestError) as error:
            problem = failed[0] if failed else self._translated(error)
        else:
            return
        raise problem  # out here, where it takes no context along: the foreign error's text holds the address

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        unpacker: ResponseReader,
        *,
        land: Callable[[], None],
        silence: _Silence,
        progress: Progress,
    ) -> None:
        if response.status != HTTPStatus.OK:
            raise await _refusal(response)
        if _compressed(response):
            raise RequestError("the answer came compressed, which was not asked for")
        try:
            async for data in _arriving(response.content):
                progress.bytes_received += len(data)
                silence.pause()  # our own disk is not the service
                await unpacker.feed(data)
                silence.start()
            envelope = unpacker.finish()
            if envelope.status != HTTPStatus.OK:
                raise _refused(envelope, response)
            land()
        finally:
            silence.pause()
            await unpacker.close()

    @asynccontextmanager
    async def _silence_limit(self) -> AsyncGenerator[_Silence]:
        """Ends what is inside when nothing was heard for too long."""
        async with asyncio.timeout(self._timeouts.silence) as limit:
            yield _Silence(limit, self._timeouts.silence)

    def _translated(self, error: Exception) -> RequestError | ConfigurationError:
        if isinstance(error, RequestError):
            error.args = (self._clean(str(error)),)
            return error
        return translate_error(error, clean=self._clean)

    def _clean(self, text: str) -> str:
        """Text from outside as one line of bearable length, without secrets."""
        return " ".join(self._redact(text).split())[:500]


async def _stream(
    multipart: Multipart,
    bodies: Sequence[Body],
    *,
    depart: Callable[[], None],
    silence: _Silence,
    failed: list[BodyFailed],
    progress: Progress,
) -> AsyncIterator[bytes]:
    """The request's body; whatever of it the service takes shows that it listens."""
    depart()
    try:
        async for piece in stream(multipart, bodies):
            yield piece
            progress.bytes_sent += len(piece)
            silence.start()
    except BodyFailed as failure:
        failed.append(failure)
        raise OSError(str(failure.error)) from None  # the one thing that makes aiohttp give the request up


async def _arriving(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The answer as it comes. When it breaks off, what had come before is given out too: aiohttp keeps that back."""
    try:
        async for data in content.iter_any():
            yield data
    except (aiohttp.ClientError, OSError, asyncio.CancelledError):
        if rest := content._read_nowait(-1):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - every public way raises the error instead
            yield rest
        raise


class _Silence:
    """How long nothing was heard.

    Args:
        limit: what ends the request.
        seconds: how long it may last.
    """

    def __init__(self, limit: asyncio.Timeout, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds

    def start(self) -> None:
        """From now on something should be heard, or taken."""
        self._reschedule(asyncio.get_running_loop().time() + self._seconds)

    def pause(self) -> None:
        """Until it starts again nobody listens."""
        self._reschedule(None)

    def _reschedule(self, when: float | None) -> None:
        if not self._limit.expired():
            self._limit.reschedule(when)


async def _refusal(response: aiohttp.ClientResponse) -> RequestError:
    """The error a non-200 answer is, with the service's text where there is one."""
    text = b"" if _compressed(response) else await read_prefix(response)
    try:
        envelope = parse_envelope(text)
    except msgspec.DecodeError:
        said = quotable(text.decode("utf-8", "replace"))
        message = f"{response.status} {response.reason or ''}: {said}".rstrip(": ")
        return RequestError(message, status=response.status, retry_after=_retry_after(response))
    if envelope.status == HTTPStatus.OK:
        envelope = Envelope(response.status, envelope.body)
    return _refused(envelope, response)


def _refused(envelope: Envelope, response: aiohttp.ClientResponse) -> RequestError:
    return RequestError(
        envelope.body or f"status {envelope.status}",
        status=envelope.status,
        retry_after=_retry_after(response),
        enveloped=True,
    )


def _compressed(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() != "identity"


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """``Retry-After`` in seconds from now, given as a number or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
