"""One request to the service and its response, over aiohttp; foreign exceptions are translated here."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from yarl import URL

from smarty_async.errors import ConfigurationError, RequestError
from smarty_async.options import ModeSpec, Timeouts
from smarty_async.redaction import quotable, redactor, without_long_words
from smarty_async.transport.body import Body, InThread, stream
from smarty_async.transport.http import UNCOMPRESSED, read_prefix, request_options, translate_error
from smarty_async.transport.response import OutputEditor, OutputSink, ReceivedItem, ResponseReader, foreign_data
from smarty_async.wire.messages import Envelope, Image, Multipart, parse_envelope

__all__ = ["Connection", "Exchange", "SilenceTimer"]

_TICK_SECONDS = 1.0
"""How often silence is measured: far below the timeout, and no load with a timer for each open request."""

_TEXT_LENGTH = 500
"""Characters of a foreign text that are kept: enough for a sentence or two in a terminal or a report."""
_READING_ON_SECONDS = 1.0
"""How long what lies in the socket is read when the request is cancelled."""
_TURNS_TO_READ = 3
"""Turns of the event loop in which it reads the socket of a response that was paused."""


class Exchange(Protocol):
    """One request and its response: what a connection sends, and the callbacks for its progress.

    Attributes:
        bytes_sent: bytes of the body that were sent; counted by the connection.
        bytes_received: bytes of the answer, likewise.
    """

    bytes_sent: int
    bytes_received: int

    @property
    def bodies(self) -> Sequence[Body]:
        """The images, in order."""
        ...

    @property
    def specs(self) -> Sequence[ModeSpec]:
        """What is asked of each image."""
        ...

    @property
    def token(self) -> str:
        """What the request is authorized with."""
        ...

    @property
    def sink(self) -> OutputSink:
        """Where outputs are written."""
        ...

    async def on_upload_started(self, size: int) -> None:
        """The connection is established and the first of `size` bytes is about to be sent."""
        ...

    def editor_of(self, name: str) -> OutputEditor | None:
        """What is to be done to the outputs of the item with a name, while they are written; None for nothing."""
        ...

    def on_item(self, received: ReceivedItem) -> bool:
        """An item is complete and written; False when it is not wanted, and is to be discarded."""
        ...

    def on_response_complete(self, seconds: float) -> None:
        """A good response was read to its end, `seconds` after the request started; outputs may still be written."""
        ...


class Connection:
    """Sends requests to one address.

    Args:
        session: what requests go through.
        url: the service's address and path.
        provider: ``oauth_provider``.
        timeouts: when to stop waiting.
        max_output_bytes: what one output may decode to.
        in_thread: makes a blocking call in a thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: URL,
        provider: str,
        timeouts: Timeouts,
        max_output_bytes: int,
        in_thread: InThread = asyncio.to_thread,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session = session
        self._url = url
        self._provider = provider
        self._silence = timeouts.silence
        self._options = request_options(timeouts)
        self._max_output_bytes = max_output_bytes
        self._in_thread = in_thread
        self._clock = clock

    async def send(self, exchange: Exchange) -> None:
        """Send one request and hand over each item of its response when its object has closed and is written.

        Raises:
            RequestError: the request failed, or the response broke off after the items that were handed over.
            BodyFailed: an image could not be read.
            ConfigurationError: no request could succeed this way.
        """
        if self._session.closed:
            raise ConfigurationError("the session given to the client is closed: close it after the client")
        failed: list[Exception] = []
        began = self._clock()
        try:
            async with (
                SilenceTimer(self._silence, clock=self._clock) as silence,
                self._responding(exchange, silence, failed) as response,
            ):
                await self._read(response, exchange, silence, began)
        except (aiohttp.ClientError, OSError, TimeoutError, RequestError) as error:
            problem = failed[0] if failed else _translated(error)
        else:
            return
        raise problem  # outside of the handler: the foreign exception's text holds the address, and so the token

    @asynccontextmanager
    async def _responding(
        self, exchange: Exchange, silence: SilenceTimer, failed: list[Exception]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send the request; its response, as soon as the head is there."""
        multipart = Multipart([Image(body.content_type, body.size) for body in exchange.bodies], exchange.specs)
        with foreign_data("the answer's head"):
            response = await self._session.post(
                self._url.with_query(oauth_provider=self._provider, oauth_token=exchange.token),
                data=_upload(stream(multipart, exchange.bodies, self._in_thread), multipart, exchange, silence, failed),
                headers={
                    **UNCOMPRESSED,
                    "Content-Type": multipart.content_type,
                    "Content-Length": str(multipart.length),
                },
                **self._options,
            )
        async with response:
            yield response

    async def _read(
        self, response: aiohttp.ClientResponse, exchange: Exchange, silence: SilenceTimer, began: float
    ) -> None:
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise await _refusal(response)
        if _compressed(response):
            raise RequestError("the answer came compressed, which was not asked for", status=response.status)
        reader = ResponseReader(
            exchange.sink,
            exchange.on_item,
            editor_of=exchange.editor_of,
            clean=_clean,
            max_output_bytes=self._max_output_bytes,
        )
        try:
            joined = response.content_length is None  # HTTP's chunks may be small
            async for data in _arriving(response.content, joined=joined):
                exchange.bytes_received += len(data)
                if reader.feed(data):
                    silence.pause()  # our own disk is not the service
                    await reader.wait_for_sink()
                silence.restart()
            envelope = reader.finish()
            if envelope.status != HTTPStatus.OK:
                raise _refused(envelope, response)
            exchange.on_response_complete(self._clock() - began)
        except asyncio.CancelledError:
            with suppress(RequestError):
                async for data in _lying_in_socket(response.content):
                    exchange.bytes_received += len(data)
                    if reader.feed(data):
                        await reader.wait_for_sink()
            raise
        finally:
            silence.pause()
            await reader.drain()


async def _upload(
    body: AsyncIterator[bytes], multipart: Multipart, exchange: Exchange, silence: SilenceTimer, failed: list[Exception]
) -> AsyncIterator[bytes]:
    """The request's body; each piece that the service takes shows that it listens."""
    try:
        silence.pause()
        await exchange.on_upload_started(multipart.length)
        silence.restart()
        async for piece in body:
            yield piece
            exchange.bytes_sent += len(piece)
            silence.restart()
    except Exception as error:  # noqa: BLE001 - raised again by `send`
        failed.append(error)
        raise OSError(str(error)) from None  # the one exception that makes aiohttp give the request up


async def _arriving(content: aiohttp.StreamReader, *, joined: bool) -> AsyncIterator[bytes]:
    """The response as it comes. When it breaks off, what came before is yielded too: aiohttp withholds that.

    Args:
        content: the response's body.
        joined: whether all that lies there comes as one piece. Joining large pieces copies them once more.
    """
    try:
        while data := await content.readany() if joined else (await content.readchunk())[0]:
            yield data
    except (aiohttp.ClientError, OSError):
        if rest := _arrived(content):
            yield rest
        raise


async def _lying_in_socket(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """What has arrived of a response that nobody waits for any more: it is paid for."""
    until = monotonic() + _READING_ON_SECONDS
    while (data := _arrived(content)) and monotonic() < until:
        yield data
        for _ in range(_TURNS_TO_READ):
            await asyncio.sleep(0)


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """What has been read from the socket, without waiting for more."""
    return content._read_nowait(-1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - every public way raises the error instead


def _translated(error: Exception) -> RequestError | ConfigurationError:
    if isinstance(error, RequestError):
        error.args = (_clean(str(error)),)
        return error
    return translate_error(error, clean=_clean)


def _clean(text: str) -> str:
    """A foreign text as one line of printable characters, of limited length, without secrets."""
    # Invisible characters go first: a secret that they cut into pieces would not be recognised.
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")
    printable = "".join(char if char.isprintable() else " " for char in redactor.redact_foreign(visible))
    return without_long_words(printable)[:_TEXT_LENGTH]


async def _refusal(response: aiohttp.ClientResponse) -> RequestError:
    """The error that a response other than 200 is, with the service's text where there is one."""
    text = b"" if _compressed(response) else await read_prefix(response)
    try:
        with foreign_data("the error"):
            envelope = parse_envelope(text)
    except RequestError:
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
    return response.headers.get("Content-Encoding", "").lower() not in ("", "identity")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """``Retry-After`` in seconds from now, given as a number or a date (RFC 9110, 10.2.3); None when it is neither."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return None


class SilenceTimer:
    """Ends an ``async with`` block with TimeoutError after a time in which nothing was heard.

    Only time in which the process was able to listen counts. It is measured in ticks; a late tick shows that the
    process was stopped, the computer asleep or the event loop busy. What arrived in that time is in the socket and is
    read before the next tick, so a late tick does not count and never ends the block.

    Args:
        seconds: how long the silence may last.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._tick_seconds = min(_TICK_SECONDS, seconds / 5)
        self._limit = asyncio.timeout(None)
        self._listening = True
        self._silent = 0.0  # seconds
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._schedule()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    def restart(self) -> None:
        """Something was heard, or taken by the other side: measure from zero."""
        self._listening = True
        self._silent = 0.0

    def pause(self) -> None:
        """Nobody listens until `restart`."""
        self._listening = False

    def _schedule(self) -> None:
        self._ticked_at = self._clock()
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    def _tick(self) -> None:
        late = self._clock() - self._ticked_at > 2 * self._tick_seconds
        if self._listening and not late:
            self._silent += self._tick_seconds
            if self._silent >= self._seconds:
                self._limit.reschedule(asyncio.get_running_loop().time())
                return
        self._schedule()
