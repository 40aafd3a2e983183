"""One request and its response, and every way in which they can fail."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from support.clients import TOKEN
from support.fake_service import (
    PATH,
    Answer,
    FakeService,
    Request,
    answer_body,
    drop,
    envelope,
    expected,
    hold,
    http,
    items,
    raw,
    redirect,
    until,
)
from support.pictures import heavy, jpeg
from yarl import URL

from smarty_async.archive.photos.reader import FileBody
from smarty_async.errors import ConfigurationError, DiskError, PhotoRejected, RequestError
from smarty_async.options import Limits, ModeSpec, Timeouts
from smarty_async.redaction import Redactor, redactor
from smarty_async.transport.body import Body, BodyFailed, MemoryBody
from smarty_async.transport.connection import Connection, _translated
from smarty_async.transport.response import MemoryFile, MemorySink, OutputEditor, OutputSink, ReceivedItem, SinkFile

IMPROVE = (ModeSpec("improve"),)


class Inbox:
    """Takes each item once, and only by a name that was sent."""

    def __init__(self, count: int) -> None:
        self.names = {f"file_{number}" for number in range(count)}
        self.taken: dict[tuple[str, str], ReceivedItem] = {}
        self.refused: list[str] = []

    def __call__(self, received: ReceivedItem) -> bool:
        key = received.answered.name, received.answered.mode
        if key[0] not in self.names or key in self.taken:
            self.refused.append(key[0])
            return False
        self.taken[key] = received
        return True

    def outputs(self, number: int, mode: str = "improve") -> dict[str, bytes]:
        files = self.taken[f"file_{number}", mode].files
        return {kind: file.data for kind, file in files.items() if isinstance(file, MemoryFile)}


class WatchedFile(MemoryFile):
    """Knows the editor that it had when something was first written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.editor: OutputEditor | None = None
        self.first_editor: OutputEditor | None = None

    def edit_with(self, editor: OutputEditor) -> None:
        self.editor = editor

    def append(self, pieces: list[bytes]) -> None:
        if not self.data:
            self.first_editor = self.editor
        super().append(pieces)


class WatchedSink(MemorySink):
    """Knows what was opened and what was let go."""

    def __init__(self) -> None:
        self.files: list[WatchedFile] = []

    def open(self) -> MemoryFile:
        self.files.append(WatchedFile())
        return self.files[-1]

    @property
    def held(self) -> int:
        return sum(bool(file.data) for file in self.files)


class RecordedExchange:
    """An `Exchange` that records what the connection reports."""

    def __init__(self, bodies: Sequence[Body], specs: tuple[ModeSpec, ...], inbox: Inbox, sender: Sender) -> None:
        self.bodies = bodies
        self.specs = specs
        self.token = TOKEN
        self.sink = sender.sink
        self.bytes_sent = self.bytes_received = 0
        self.on_item = inbox
        self._sender = sender

    def editor_of(self, name: str) -> OutputEditor | None:
        return self._sender.editors.get(name)

    async def on_upload_started(self, size: int) -> None:
        self._sender.uploads.append(size)

    def on_response_complete(self, seconds: float) -> None:
        assert seconds > 0
        self._sender.completed += 1


class Sender:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sink: OutputSink = WatchedSink()
        self.editors: dict[str, OutputEditor] = {}
        self.uploads: list[int] = []
        self.completed = 0

    async def __call__(self, *bodies: Body, specs: tuple[ModeSpec, ...] = IMPROVE, inbox: Inbox | None = None) -> Inbox:
        inbox = inbox or Inbox(len(bodies))
        self.exchange = RecordedExchange(bodies, specs, inbox, self)
        await self.connection.send(self.exchange)
        return inbox


@asynccontextmanager
async def sender_to(url: str, *, silence: float = 20, connect: float = 5) -> AsyncIterator[Sender]:
    redactor.add(TOKEN)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Sender(
            Connection(
                session,
                url=URL(url + PATH),
                provider="mcs",
                timeouts=Timeouts(connect=connect, silence=silence),
                max_output_bytes=Limits().max_output_bytes,
            )
        )


def photo(seed: int = 0) -> MemoryBody:
    return MemoryBody(jpeg(seed=seed), "image/jpeg")


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def failure_of(answer: Answer, *, silence: float = 20) -> RequestError | ConfigurationError:
    """What one photo meets when the service answers with `answer`."""
    async with FakeService() as service, sender_to(service.url, silence=silence) as send:
        service.script(answer)
        with pytest.raises((RequestError, ConfigurationError)) as caught:
            await send(photo())
        assert isinstance(send.sink, WatchedSink)
        assert not send.sink.held
    for error in chain_of(caught.value):
        assert isinstance(error, RequestError | ConfigurationError), "a foreign exception"
        assert redactor.redact(str(error)) == str(error)
    assert isinstance(caught.value, RequestError | ConfigurationError)
    return caught.value


async def failure_of_bytes(answer: bytes) -> RequestError:
    """What one photo meets when these bytes are the response."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"--\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, sender_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as send:
        with pytest.raises(RequestError) as caught:
            await send(photo())
    for error in chain_of(caught.value):
        assert isinstance(error, RequestError)
    return caught.value


class TestGoodAnswer:
    async def test_every_output_reaches_its_photo(self) -> None:
        both = (ModeSpec("improve"), ModeSpec("resolution", 2, "photo"))
        async with FakeService() as service, sender_to(service.url) as send:
            inbox = await send(photo(0), photo(1), photo(2), specs=both)
        for number in range(3):
            image = jpeg(seed=number)
            kinds = ("improved", "colorized_improved", "colorized")
            assert inbox.outputs(number) == {kind: expected(kind, image) for kind in kinds}
            assert inbox.outputs(number, "resolution") == {"resolved": expected("resolved", image)}

    @pytest.mark.parametrize("size", [2_000, 262_144, 262_145, 800_000])
    async def test_content_length_is_exact_from_memory_and_from_disk(self, tmp_path: Path, size: int) -> None:
        data = heavy(size)
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        body = FileBody(path, size=size, version=str(path.stat().st_mtime_ns), content_type="image/jpeg")
        async with FakeService() as service, sender_to(service.url) as send:  # the service complains if it is not
            await send(MemoryBody(data, "image/jpeg"), body)
            assert list(service.requests[0].images.values()) == [data, data]
            assert send.exchange.bytes_sent == service.requests[0].content_length
            assert send.uploads == [service.requests[0].content_length]

    async def test_the_token_is_encoded_in_the_query(self) -> None:
        async with FakeService(valid_tokens={TOKEN}) as service, sender_to(service.url) as send:
            await send(photo())
            assert service.requests[0].query == {"oauth_provider": "mcs", "oauth_token": TOKEN}

    async def test_large_outputs_are_written_as_they_arrive(self) -> None:
        big = b"\xff\xd8\xff" + bytes(3_000_000)

        async def respond(request: Request) -> web.StreamResponse:
            body = answer_body(request, {}, {})
            encoded = __import__("base64").b64encode(big).decode()
            body["improve"][0]["improved"] = encoded
            return await envelope(200, body)(request)

        async with FakeService() as service, sender_to(service.url) as send:
            service.script(respond)
            inbox = await send(photo())
        assert inbox.outputs(0)["improved"] == big


class Stuck(MemorySink):
    """A disk that takes nothing until it is let."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.asked = 0

    async def write(self, batches: Sequence[tuple[SinkFile, list[bytes]]]) -> None:
        self.asked += sum(len(piece) for _, pieces in batches for piece in pieces)
        await self.free.wait()
        await super().write(batches)


class TestASlowDisk:
    async def test_a_response_is_complete_before_its_outputs_are_written(self) -> None:
        sink, inbox = Stuck(), Inbox(3)
        async with FakeService() as service, sender_to(service.url) as send:
            send.sink = sink
            sending = asyncio.create_task(send(*map(photo, range(3)), inbox=inbox))
            await until(lambda: send.completed == 1)
            assert not inbox.taken
            assert not sending.done()
            sink.free.set()
            await sending
        assert len(inbox.taken) == 3

    async def test_a_failed_response_is_never_complete(self) -> None:
        async with FakeService() as service, sender_to(service.url) as send:
            service.script(envelope(500, "no"))
            with pytest.raises(RequestError):
                await send(photo())
            assert send.completed == 0

    async def test_the_memory_used_while_the_disk_is_slow_is_limited(self) -> None:
        big = b"\xff\xd8\xff" + bytes(9_000_000)

        async def respond(request: Request) -> web.StreamResponse:
            body = answer_body(request, {}, {})
            body["improve"][0]["improved"] = base64.b64encode(big).decode()
            return await envelope(200, body)(request)

        sink = Stuck()
        async with FakeService() as service, sender_to(service.url) as send:
            service.script(respond)
            send.sink = sink
            sending = asyncio.create_task(send(photo()))
            await until(lambda: sink.asked > 0)
            for _ in range(200):
                await asyncio.sleep(0)
            assert send.exchange.bytes_received < 4_000_000
            assert not send.completed
            sink.free.set()
            assert (await sending).outputs(0)["improved"] == big


class TestForeignExceptions:
    async def test_nothing_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        async with sender_to(f"http://127.0.0.1:{port}") as send:
            with pytest.raises(RequestError, match=r"127\.0\.0\.1") as caught:
                await send(photo())
        assert caught.value.status is None
        assert len(list(chain_of(caught.value))) == 1

    async def test_the_name_does_not_resolve(self) -> None:
        async with sender_to("http://nowhere.invalid") as send:
            with pytest.raises(RequestError) as caught:
                await send(photo())
        assert len(list(chain_of(caught.value))) == 1

    def test_an_untrusted_certificate_is_a_configuration_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del tmp_path, monkeypatch
        error = aiohttp.ClientConnectorCertificateError(
            aiohttp.client_reqrep.ConnectionKey("h", 443, True, True, None, None, None),  # noqa: FBT003
            __import__("ssl").SSLCertVerificationError("self-signed"),
        )
        assert isinstance(_translated(error), ConfigurationError)

    @pytest.mark.parametrize(
        "answer",
        [
            b"not http at all\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
            b"",
        ],
        ids=["no HTTP", "bad length", "bad chunk", "cut short", "huge header", "nothing"],
    )
    async def test_answers_that_are_not_http(self, answer: bytes) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"--\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server, sender_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as send:
            with pytest.raises(RequestError) as caught:
                await send(photo())
        assert caught.value.status is None or caught.value.status >= 400
        for error in chain_of(caught.value):
            assert isinstance(error, RequestError)
            assert redactor.redact(str(error)) == str(error)

    @pytest.mark.parametrize("after", [0, 1, 100])
    async def test_the_connection_is_lost(self, after: int) -> None:
        error = await failure_of(drop(after_bytes=after))
        assert isinstance(error, RequestError)
        assert error.status is None

    @pytest.mark.parametrize("size", [300, 3_000_000])
    async def test_the_disk_refuses_an_output(self, size: int) -> None:
        class Full(MemoryFile):
            def append(self, _: list[bytes]) -> None:
                raise DiskError("no space left")

        class FullDisk(MemorySink):
            def open(self) -> MemoryFile:
                return Full()

        async with FakeService() as service, sender_to(service.url) as send:
            send.sink = FullDisk()
            output = base64.b64encode(bytes(size)).decode()
            service.script(items({"file_0": {"improved": output}}))
            with pytest.raises(DiskError):
                await send(photo())
            assert not service.complaints


class NoEditor:
    """An `OutputEditor` that changes nothing."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def edited_start(self, start: Sequence[bytes]) -> Sequence[bytes]:
        return start

    def copy_to(self, output: str) -> int:
        return Path(output).stat().st_size


class TestEditors:
    @pytest.mark.parametrize(("size", "last"), [(20, False), (20, True), (200_000, False)])
    async def test_an_output_has_the_editor_of_its_item_when_it_is_written(self, *, size: int, last: bool) -> None:
        assert await self._editors(size, last=last) == (True, True)

    async def test_a_long_output_whose_name_comes_last_is_written_before_it_has_its_editor(self) -> None:
        assert await self._editors(200_000, last=True) == (False, True)

    @staticmethod
    async def _editors(size: int, *, last: bool) -> tuple[bool, bool]:
        """Whether an output of `size` triples has its editor when it is first written, and in the end."""
        editor, name, text = NoEditor(), '"status":0,"name":"file_0"', "QUJD" * size
        output = f'"improved":"{text}"'
        item = ",".join((output, name) if last else (name, output))
        async with FakeService() as service, sender_to(service.url) as send:
            send.editors["file_0"] = editor
            service.script(raw(b'{"status":200,"body":{"improve":[{%b}]}}' % item.encode()))
            inbox = await send(photo())
        assert isinstance(send.sink, WatchedSink)
        assert inbox.outputs(0) == {"improved": b"ABC" * size}
        (file,) = send.sink.files
        return file.first_editor is editor, file.editor is editor

    async def test_an_item_with_two_names_is_not_taken(self) -> None:
        text = "QUJD" * 200_000
        item = f'"status":0,"name":"file_0","improved":"{text}","name":"file_1"'
        async with FakeService() as service, sender_to(service.url) as send:
            send.editors["file_0"] = NoEditor()
            service.script(raw(b'{"status":200,"body":{"improve":[{%b}]}}' % item.encode()))
            inbox = await send(photo(), photo(1))
        assert inbox.taken == {}
        assert isinstance(send.sink, WatchedSink)
        assert send.sink.held == 0


class TestSilence:
    async def test_an_answer_that_does_not_begin(self) -> None:
        error = await failure_of(hold(asyncio.Event()), silence=0.05)
        assert "no byte for too long" in str(error)

    async def test_an_answer_that_stalls(self) -> None:
        gate = asyncio.Event()

        async def respond(request: Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request.http)
            await response.write(b'{"status": 200, "body": {"improve": [')
            await gate.wait()
            return response

        assert "no byte for too long" in str(await failure_of(respond, silence=0.05))

    async def test_an_upload_that_stalls(self) -> None:
        gate = asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.wait()  # and read nothing
            writer.close()
            del reader

        server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1)
        async with server, sender_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", silence=0.05) as send:
            bodies = [MemoryBody(heavy(7_000_000), "image/jpeg") for _ in range(4)]
            with pytest.raises(RequestError, match="no byte for too long"):
                await send(*bodies)
            assert send.exchange.bytes_sent < 28_000_000
            gate.set()

    @pytest.mark.slow
    async def test_a_slow_body_that_moves_is_no_silence(self) -> None:
        class Slow(MemoryBody):
            async def read(self) -> AsyncIterator[bytes]:
                for at in range(10):
                    await asyncio.sleep(0.1)
                    yield self._data[at : at + 1]
                yield self._data[10:]

        async with FakeService() as service, sender_to(service.url, silence=0.5) as send:
            inbox = await send(Slow(jpeg(16, 12), "image/jpeg"))  # one second in all
        assert inbox.taken

    async def test_a_body_that_does_not_move_is_silence(self) -> None:
        class Stuck(MemoryBody):
            async def read(self) -> AsyncIterator[bytes]:
                yield self._data[:1]
                await asyncio.Event().wait()

        async with FakeService() as service, sender_to(service.url, silence=0.05) as send:
            with pytest.raises(RequestError, match="no byte for too long"):
                await send(Stuck(jpeg(), "image/jpeg"))


class TestBodies:
    @staticmethod
    def changed(path: Path, how: str) -> None:
        data = path.read_bytes()
        match how:
            case "longer":
                path.write_bytes(data + b"x")
            case "shorter":
                path.write_bytes(data[:-1])
            case "touched":
                os.utime(path, ns=(1, 1))
            case _:
                path.unlink()

    @pytest.mark.parametrize("how", ["longer", "shorter", "touched", "gone"])
    @pytest.mark.parametrize("size", [2_000, 700_000])
    async def test_a_file_that_changed_since_it_was_probed_is_detected(
        self, tmp_path: Path, how: str, size: int
    ) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(heavy(size))
        body = FileBody(path, size=size, version=str(path.stat().st_mtime_ns), content_type="image/jpeg")
        self.changed(path, how)
        async with FakeService() as service, sender_to(service.url) as send:
            with pytest.raises(BodyFailed) as caught:
                await send(photo(), body, photo(1))
            await until(lambda: not service.open_now)
            assert not service.requests
        assert caught.value.number == 1
        assert isinstance(caught.value.error, PhotoRejected)
        assert caught.value.error.type == ("unreadable" if how == "gone" else "changed")


class TestErrors:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_not_followed(self, status: int) -> None:
        async with FakeService() as service, FakeService() as other, sender_to(service.url) as send:
            service.script(redirect(other.url + PATH, status))
            with pytest.raises(RequestError) as caught:
                await send(photo())
            assert caught.value.status == status
            assert not other.requests
            assert len(service.requests) == 1

    async def test_a_compressed_answer_was_not_asked_for(self) -> None:
        async def respond(request: Request) -> web.StreamResponse:
            text = gzip.compress(json.dumps({"status": 200, "body": answer_body(request, {}, {})}).encode())
            return web.Response(body=text, headers={"Content-Encoding": "gzip"})

        assert "compressed" in str(await failure_of(respond))

    @pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
    async def test_an_answer_whose_encoding_is_none(self, encoding: str) -> None:
        async def respond(request: Request) -> web.StreamResponse:
            text = json.dumps({"status": 200, "body": answer_body(request, {}, {})})
            return web.Response(text=text, headers={"Content-Encoding": encoding})

        async with FakeService() as service, sender_to(service.url) as send:
            service.script(respond)
            await send(photo())

    async def test_a_compressed_error_is_not_quoted(self) -> None:
        async def respond(_: Request) -> web.StreamResponse:
            return web.Response(status=400, body=gzip.compress(b"no"), headers={"Content-Encoding": "gzip"})

        error = await failure_of(respond)
        assert isinstance(error, RequestError)
        assert (str(error), error.status) == ("400 Bad Request", 400)

    async def test_html_is_not_quoted(self) -> None:
        error = await failure_of(http(502, "<html><h1>Bad\n\n gateway</h1></html>"))
        assert isinstance(error, RequestError)
        assert (str(error), error.status, error.enveloped) == ("502 Bad Gateway", 502, False)

    async def test_a_short_plain_text_is_quoted(self) -> None:
        error = await failure_of(http(502, "no\n\n upstream"))
        assert isinstance(error, RequestError)
        assert (str(error), error.status, error.enveloped) == ("502 Bad Gateway: no upstream", 502, False)

    async def test_html_with_status_200_is_not_an_answer(self) -> None:
        error = await failure_of(http(200, "<html>please log in</html>"))
        assert isinstance(error, RequestError)
        assert (error.status, error.enveloped) == (200, False)

    @pytest.mark.parametrize("http_status", [200, None])
    @pytest.mark.parametrize("status", [400, 401, 403, 413, 500])
    async def test_the_status_in_the_envelope_counts(self, status: int, http_status: int | None) -> None:
        error = await failure_of(envelope(status, f"no: {TOKEN}", http_status or status))
        assert isinstance(error, RequestError)
        assert (str(error), error.status, error.enveloped) == ("no: <redacted>", status, True)

    async def test_an_envelope_with_status_200_under_an_http_error_is_an_error(self) -> None:
        error = await failure_of(envelope(200, "odd", 500))
        assert isinstance(error, RequestError)
        assert (error.status, error.enveloped) == (500, True)

    async def test_an_error_without_a_text(self) -> None:
        error = await failure_of(envelope(500, {}))
        assert str(error) == "status 500"

    async def test_the_length_of_an_error_is_limited(self) -> None:
        async with FakeService() as service, sender_to(service.url) as send:
            service.script(raw(b"no " * 100_000, status=400))
            with pytest.raises(RequestError) as caught:
                await send(photo())
            assert len(str(caught.value)) <= 500

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("7", 7),
            ("0", 0),
            ("007", 7),
            ("9" * 400, float("inf")),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("٧", None),
        ],
    )
    async def test_retry_after_in_seconds(self, header: str, seconds: float | None) -> None:
        error = await failure_of(http(503, headers={"Retry-After": header}))
        assert isinstance(error, RequestError)
        assert error.retry_after == seconds

    async def test_retry_after_as_a_date(self) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        error = await failure_of(http(429, headers={"Retry-After": date}))
        assert isinstance(error, RequestError)
        assert error.retry_after is not None
        assert 3000 < error.retry_after <= 3600

    @pytest.mark.parametrize(
        "date",
        [
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "Mon, 01 Jan 0001 00:00:00 +2359",
            "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
            "Wed, 99 Oct 2015 99:99:99 GMT",
            "\x00",
        ],
    )
    async def test_retry_after_as_an_absurd_date(self, date: str) -> None:
        head = f"HTTP/1.1 503 Busy\r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n"
        error = await failure_of_bytes(head.encode())
        assert error.status in (503, None, 400)

    @pytest.mark.parametrize(
        "reason", [b"\xff\xfe\xfa", "занят".encode("cp1251"), b"\x1b[2J", b"", "\u200b\u202e".encode()]
    )
    async def test_a_reason_phrase_of_any_bytes_is_printable_text(self, reason: bytes) -> None:
        error = await failure_of_bytes(b"HTTP/1.1 503 " + reason + b"\r\nContent-Length: 0\r\n\r\n")
        str(error).encode()
        assert str(error).isprintable()

    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    @pytest.mark.parametrize("status", [200, 400, 503])
    async def test_a_deeply_nested_body_is_no_envelope(self, status: int, opening: str, closing: str) -> None:
        deep = '{"status": 400, "body": ' + opening * 20_000 + "1" + closing * 20_000 + "}"
        error = await failure_of(http(status, deep))
        assert isinstance(error, RequestError)
        assert error.status in (status, 400, None)
        assert len(str(error)) <= 500

    async def test_a_token_cut_by_invisible_characters_is_redacted(self) -> None:
        error = await failure_of(http(503, "\u200b".join(TOKEN)))
        assert "s3cr" not in str(error).replace("\u200b", "")

    @pytest.mark.parametrize("date", ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 -0000"])
    async def test_retry_after_as_a_date_in_the_past(self, date: str) -> None:
        error = await failure_of(http(429, headers={"Retry-After": date}))
        assert isinstance(error, RequestError)
        assert error.retry_after == 0


class TestBrokenOffAnswers:
    async def test_items_that_closed_before_a_cut_are_kept_wherever_it_is(self) -> None:
        async with FakeService() as service, sender_to(service.url) as send:
            await send(photo(0), photo(1))
            whole = json.dumps(
                {"status": 200, "body": answer_body(service.requests[0], {}, {}), "htmlencoded": False}
            ).encode()
            closes = [at + 1 for at in range(len(whole)) if whole[at : at + 1] == b"}"][:2]
            cuts = {*range(1, len(whole), 61), *(at + by for at in closes for by in (-1, 0, 1)), len(whole) - 1}
            for cut in sorted(cuts):
                service.script(raw(whole[:cut], chunk=1 << 20))
                send.sink = sink = WatchedSink()
                inbox = Inbox(2)
                with pytest.raises(RequestError, match="broke off"):
                    await send(photo(0), photo(1), inbox=inbox)
                assert len(inbox.taken) == sum(cut >= at for at in closes)
                assert sink.held == 3 * len(inbox.taken)  # and nothing of what is not whole

    async def test_items_that_closed_before_an_abort_are_kept(self) -> None:
        async with FakeService() as service, sender_to(service.url) as send:
            await send(photo(0), photo(1))
            whole = json.dumps(
                {
                    "status": 200,
                    "body": answer_body(service.requests[0], {}, {}),
                    "htmlencoded": False,
                    "last_modified": 0,
                }
            )
            first = whole.index("}") + 1
            service.script(drop(after_bytes=first + 10))
            inbox = Inbox(2)
            with pytest.raises(RequestError):
                await send(photo(0), photo(1), inbox=inbox)
            assert [name for name, _ in inbox.taken] == ["file_0"]


class TestUnrequestedItems:
    @pytest.mark.parametrize(
        "name", ["file_7", "../../x", "/etc/passwd", "", "file_0 ", "FILE_0", "a\n", "\u0000", "x" * 300]
    )
    async def test_an_item_with_an_unknown_name_is_ignored(self, name: str) -> None:
        async with FakeService() as service, sender_to(service.url) as send:
            service.script(items({name: {"status": 0, "improved": "/9j/"}}))
            inbox = await send(photo())
            assert isinstance(send.sink, WatchedSink)
            assert send.sink.held == 3
        assert inbox.refused == [name]
        assert len(inbox.taken) == 1

    async def test_the_first_of_two_answers_counts(self) -> None:
        async def respond(request: Request) -> web.StreamResponse:
            body = answer_body(request, {}, {})
            body["improve"] += [body["improve"][0] | {"improved": "/9j/"}]
            return await envelope(200, body)(request)

        async with FakeService() as service, sender_to(service.url) as send:
            service.script(respond)
            inbox = await send(photo())
        assert inbox.outputs(0)["improved"] == expected("improved", jpeg())
        assert inbox.refused == ["file_0"]

    async def test_the_error_of_an_item_is_one_short_line_without_the_token(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with FakeService() as service, sender_to(service.url) as send:
            service.script(items({"file_0": {"status": 1, "error": f"bad\n{TOKEN} {'k3y' * 20} " + "xxx " * 2_000}}))
            inbox = await send(photo())
        error = inbox.taken["file_0", "improve"].answered.error
        assert error
        assert error.startswith("bad <redacted> … xxx")
        assert len(error) == 500

    async def test_of_a_long_error_only_the_start_is_searched_and_a_token_cut_there_is_not_shown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        searched: list[int] = []
        redact = Redactor.redact

        def spy(self: Redactor, text: str, **options: bool) -> str:
            searched.append(len(text))
            return redact(self, text, **options)

        monkeypatch.setattr(Redactor, "redact", spy)
        before = ("x" * 63 + " ") * 32  # long words, of which little is shown
        error = before[: -len(TOKEN) // 2] + " " + TOKEN + " %41 &amp; \\n" * 4_000
        async with FakeService() as service, sender_to(service.url) as send:
            service.script(items({"file_0": {"status": 1, "error": error}}))
            inbox = await send(photo())
        shown = inbox.taken["file_0", "improve"].answered.error
        assert shown
        assert set(shown) == {"…", " "}
        assert max(searched) <= 2_048
