"""Coverage-guided fuzzing of what a request meets: the response's head and body, as bytes on a real connection.

    tox -e fuzz-response                       # a short run
    tox -e fuzz-response -- -runs=1000000      # a long one; libFuzzer's options

Whatever the bytes are, the connection returns, or raises an error of this package whose text is one short printable
line without the token. A violation stops the run and leaves the input in a file; give that file as the only argument
to see it again.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import atheris
from yarl import URL

with atheris.instrument_imports(include=["smarty_async.transport", "smarty_async.wire"]):
    from smarty_async.errors import ConfigurationError, RequestError
    from smarty_async.options import Limits, ModeSpec, Timeouts
    from smarty_async.redaction import redactor
    from smarty_async.transport.body import MemoryBody
    from smarty_async.transport.connection import Connection
    from smarty_async.transport.response import MemorySink, ReceivedItem

TOKEN = "t0ken-t0-redact"
HEADS = (
    b"",  # the input is the whole response
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nConnection: close\r\nRetry-After: ",
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 403 ",
)


class RecordedExchange:
    """The exchange of one small photo."""

    def __init__(self) -> None:
        self.bodies = [MemoryBody(b"\xff\xd8\xff\xd9", "image/jpeg")]
        self.specs = (ModeSpec("improve"),)
        self.token = TOKEN
        self.sink = MemorySink()
        self.bytes_sent = self.bytes_received = 0

    async def on_upload_started(self, size: int) -> None:
        """Nothing to record."""

    def editor_of(self, name: str) -> None:
        """Outputs stay as they are."""

    def on_item(self, received: ReceivedItem) -> bool:
        return received.answered.name == "file_0"

    def on_response_complete(self, seconds: float) -> None:
        """Nothing to record."""


class Harness:
    """A server that answers each request with the bytes of the moment, and a connection to it."""

    def __init__(self) -> None:
        self.response = b""

    async def start(self) -> None:
        redactor.add(TOKEN)
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.connection = Connection(
            aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(force_close=True)),
            url=URL(f"http://127.0.0.1:{port}/"),
            provider="mcs",
            timeouts=Timeouts(connect=5, silence=5),
            max_output_bytes=Limits().max_output_bytes,
        )

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"--\r\n")
        writer.write(self.response)
        writer.close()

    async def check(self, response: bytes) -> None:
        """One request that is answered with these bytes."""
        self.response = response
        try:
            await self.connection.send(RecordedExchange())
        except (RequestError, ConfigurationError) as error:
            text = str(error)
        else:
            return
        if len(text) > 500 or not text.isprintable() or TOKEN in text:
            raise AssertionError(repr(text))


SEEDS = (
    b"\x00HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"\x00HTTP/1.1 503 \xff\xfe\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 -2359\r\nContent-Length: 0\r\n\r\n",
    b"\x00HTTP/1.1 307 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    b"\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"\x00HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: a=b;;=\r\nContent-Length: 2\r\n\r\n{}",
    b'\x01{"status":200,"body":{"improve":[{"status":0,"name":"file_0","improved":"/9j/"}]}}',
    b'\x01{"status":400,"body":"could not get image by name file_0: t0ken-t0-redact"}',
    b"\x02Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n",
    b'\x03{"status": 400, "body": ' + b"[" * 900,
    b"\x04Forbidden\r\n\r\n<html>t0ken-t0-redact</html>",
)


def main() -> None:
    """Run until stopped, from a few responses on."""
    own = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    corpus = Path(own[0]) if own else Path(".tox/fuzz/responses")
    if not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS):
            (corpus / f"seed_{number}").write_bytes(seed)
    loop, harness = asyncio.new_event_loop(), Harness()
    loop.run_until_complete(harness.start())

    def check(data: bytes) -> None:
        if data:
            loop.run_until_complete(harness.check(HEADS[data[0] % len(HEADS)] + data[1:]))

    arguments = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    atheris.Setup([sys.argv[0], "-max_len=2048", *arguments, str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
