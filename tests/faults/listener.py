"""HTTP/1.1 by hand: a fault server must be able to say what no good server says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Gone(Exception):
    """The client has left."""


@dataclass
class Exchange:
    """One request and the way to answer it.

    Attributes:
        number: of this request on this server, from 0.
        method: as sent.
        path: without the query.
        query: its fields.
        headers: names in lower case.
        keep_alive: whether another request may follow on this connection; a fault sets it to False.
    """

    number: int
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep_alive: bool = True

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    async def body(self) -> bytes:
        """The request's body; raises Gone when it breaks off."""
        try:
            return await self.reader.readexactly(self.length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone from None

    async def some(self, size: int) -> None:
        """Read that much of the body, or less."""
        try:
            await self.reader.readexactly(min(size, self.length))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone from None

    async def send(self, data: bytes) -> None:
        """Hand `data` over to the system, all of it; raises Gone when nobody reads any more."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            raise Gone from None
        if self.reader.at_eof():
            raise Gone

    async def head(self, status: int, headers: dict[str, str]) -> None:
        """The status line and the headers."""
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def plain(self, status: int, text: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        await self.head(status, {"Content-Length": str(len(text))} | (headers or {}))
        await self.send(text)

    def abort(self) -> None:
        """End the connection with a reset."""
        self.keep_alive = False
        self.writer.transport.abort()

    def hang_up(self) -> None:
        """End the connection in good manners, though not in time."""
        self.keep_alive = False
        self.writer.close()


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass
class Listener:
    """A server on a free port of this machine, while its `async with` block lasts."""

    handler: Handler
    url: str = ""
    count: int = 0
    trouble: list[str] = field(default_factory=list[str])
    _open: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.calm()

    async def calm(self) -> None:
        """End every connection, and whatever is still being said on it."""
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        try:
            keep_alive = True
            while keep_alive and (exchange := await self._next(reader, writer)):
                await self.handler(exchange)
                keep_alive = exchange.keep_alive
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - the runner tells of it
            self.trouble.append(f"the fault server itself: {error!r}")
        finally:
            writer.close()

    async def _next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *rest = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.count += 1
        return Exchange(self.count - 1, method, parts.path, query, headers, reader, writer)


@dataclass(frozen=True)
class Part:
    """One part of a multipart body."""

    name: str
    filename: str | None
    content_type: str
    data: bytes


_FIELD = re.compile(r'(\w+)="([^"]*)"')


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart body (RFC 7578); raises ValueError when it is none."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    if not boundary or not body.startswith(b"--" + boundary) or not body.endswith(b"--" + boundary + b"--\r\n"):
        raise ValueError("no multipart body")
    parts: list[Part] = []
    for piece in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        fields = dict(_FIELD.findall(headers["Content-Disposition"]))
        parts.append(Part(fields["name"], fields.get("filename"), headers.get("Content-Type", ""), data))
    return parts
