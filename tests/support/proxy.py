"""A real CONNECT proxy on loopback, and TLS servers with certificates of a private authority."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trustme

__all__ = ["ConnectProxy", "PrivateAuthority", "connect_proxy", "tls_in_front_of"]


class PrivateAuthority:
    """A certificate authority that no system trusts."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def write(self, path: Path) -> Path:
        """Write its certificate, as `SSL_CERT_FILE` names it."""
        self._authority.cert_pem.write_to_path(str(path))
        return path

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("localhost", "127.0.0.1", "service.example").configure_cert(context)
        return context


class ConnectProxy:
    """What a proxy was asked, and how it answers.

    Attributes:
        asked: the target of each CONNECT, in order.
        heads: the head of each request, in order.
        status: what it answers; 200 opens the tunnel.
        statuses: what it answers first, before `status`.
        login: the `user:password` it wants, None for no login.
        routes: where it connects to instead of a target.
        url: its address.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.status = 200
        self.statuses: deque[int] = deque()
        self.login: str | None = None
        self.routes: dict[str, tuple[str, int]] = {}
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            assert method == "CONNECT"
            self.asked.append(target)
            self.heads.append(head)
            if self.login and f"Basic {b64encode(self.login.encode()).decode()}" not in head:
                await _answer(writer, 407, head)
            elif (status := self.statuses.popleft() if self.statuses else self.status) != 200:
                await _answer(writer, status, head)
            else:
                host, port = self.routes.get(target, (target.rsplit(":", 1)[0], int(target.rsplit(":", 1)[1])))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _tunnel(reader, writer, *await asyncio.open_connection(host, port))
        finally:
            writer.close()


async def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    body = text.encode()
    writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()


async def _tunnel(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()

    try:
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    finally:
        far_writer.close()
        writer.close()


@asynccontextmanager
async def _serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve on loopback; give the port. At the end whatever is still open is closed."""
    open_now: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        open_now[task] = writer
        task.add_done_callback(open_now.pop)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in list(open_now.items()):
            task.cancel()
            writer.transport.abort()
        if open_now:
            await asyncio.wait(open_now)
        await asyncio.sleep(0)


@asynccontextmanager
async def connect_proxy() -> AsyncIterator[ConnectProxy]:
    """Run a proxy that opens tunnels."""
    proxy = ConnectProxy()
    async with _serving(proxy.handle) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


@asynccontextmanager
async def tls_in_front_of(http_port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve TLS in front of a plain server on loopback; give the port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _tunnel(reader, writer, *await asyncio.open_connection("127.0.0.1", http_port))

    async with _serving(handle, context) as port:
        yield port
