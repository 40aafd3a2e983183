"""The other end, in a process of its own: answers made beforehand, so that it is never what is waited for.

Threads and blocking sockets: the bytes of a photo are received into one buffer and forgotten, those of an answer
are sent from where they lie. The last kilobytes of a request are kept, for the names in its ``meta``.
"""

from __future__ import annotations

import base64
import json
import random
import re
import resource
import socket
import ssl
import sys
import threading
import time
from functools import lru_cache
from typing import Any

_ENDS = 16_384
_BUFFER = 1 << 20
_NAME = re.compile(rb'"name":\s*"([^"]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
KINDS = ("improved", "colorized_improved", "colorized")


class Server:
    """Answers requests as `options` say; see `benchmarks.service.Service` for what they mean."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._payload = base64.b64encode(picture(options["output_bytes"]))
        self._dice = random.Random(options["seed"])  # noqa: S311 - latencies, not secrets
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(options["slots"] or 1_000)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._tls: ssl.SSLContext | None = None
        if options["certificate"]:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(options["certificate"])
        self.port: int = self._listener.getsockname()[1]
        self._whole = lru_cache(maxsize=8)(self._answer)
        self.forget()

    def forget(self) -> None:
        """Count from nought."""
        self._counts: dict[str, Any] = {"requests": 0, "images": 0, "first": None, "last": None, "works": []}
        self._cpu_before = _cpu()

    def stats(self) -> dict[str, Any]:
        """What happened since `forget`: requests, images, monotonic seconds of the first and last, CPU seconds."""
        with self._lock:
            return self._counts | {"cpu": _cpu() - self._cpu_before}

    def listen(self) -> None:
        """Take connections, a thread each."""
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                buffer = bytearray(_BUFFER)
                while ends := _received(connection, buffer):
                    self._reply(connection, _names(*ends))
        except (OSError, ssl.SSLError):
            pass  # the client has left

    def _reply(self, connection: socket.socket, names: tuple[bytes, ...]) -> None:
        with self._lock:
            self._counts["requests"] += 1
            self._counts["images"] += len(names)
            self._counts["first"] = self._counts["first"] or time.monotonic()
            work, failed = self._draw(names)
            self._counts["works"].append(work)
        with self._slots:
            time.sleep(sum(work))
        body = self._answer(names, failed) if failed else self._whole(names, failed)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head)
        connection.sendall(body)
        with self._lock:
            self._counts["last"] = time.monotonic()

    def _draw(self, names: tuple[bytes, ...]) -> tuple[list[float], frozenset[bytes]]:
        """Seconds a request with `names` takes (its own, then each image's), and which of them fail for now."""
        options, dice = self._options, self._dice
        mean, tail = options["per_image"], options["tail"]
        # Pareto: its mean is `mean`; the smaller `tail` is above 1, the heavier.
        each = [mean * (tail - 1) / tail * dice.paretovariate(tail) if tail else mean for _ in names]
        failed = frozenset(name for name in names if dice.random() < options["temporary"])
        return [options["per_request"], *each], failed

    def _answer(self, names: tuple[bytes, ...], failed: frozenset[bytes]) -> bytes:
        outputs = b"".join(b',"%b":"%b"' % (kind.encode(), self._payload) for kind in self._options["kinds"])
        items = (
            b'{"status":2,"error":"temporary error","name":"%b"}' % name
            if name in failed
            else b'{"status":0,"name":"%b"%b,"bw":false}' % (name, outputs)
            for name in names
        )
        return b'{"status":200,"body":{"improve":[' + b",".join(items) + b']},"htmlencoded":false,"last_modified":0}\n'


def picture(size: int) -> bytes:
    """What stands for every output: `size` bytes that begin as a JPEG does."""
    return (b"\xff\xd8\xff" + random.Random(5).randbytes(max(0, size - 3)))[:size]  # noqa: S311 - not secrets


def _received(connection: socket.socket, buffer: bytearray) -> tuple[bytes, bytes] | None:
    """The beginning and the end of one request; None when the client has left."""
    view, head = memoryview(buffer), bytearray()
    while (end := head.find(b"\r\n\r\n")) < 0 or len(head) < min(_ENDS, end + 4 + _length(head, end)):
        if not (count := connection.recv_into(buffer)):
            return None
        head += view[:count]
    left = _length(head, end) - (len(head) - end - 4)
    tail = bytes(head[-_ENDS:])
    while left > 0:
        if not (count := connection.recv_into(buffer, min(left, _BUFFER))):
            return None
        left -= count
        if left < _ENDS:
            tail = (tail + bytes(view[max(0, count - _ENDS) : count]))[-_ENDS:]
    return bytes(head), tail


def _length(head: bytearray, end: int) -> int:
    length = _LENGTH.search(head, 0, end + 2)
    assert length, "a request with no Content-Length"
    return int(length[1])


def _names(head: bytes, tail: bytes) -> tuple[bytes, ...]:
    """The images' names, from the `meta` part: some put it last, some first."""
    text = tail if b'name="meta"' in tail else head
    return tuple(_NAME.findall(text, text.index(b'name="meta"') + 11))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Serve until standard input ends; a line there asks for what happened since the last one."""
    server = Server(json.loads(sys.argv[1]))
    threading.Thread(target=server.listen, daemon=True).start()
    print(server.port, flush=True)
    for line in sys.stdin:
        print(json.dumps(server.stats()), flush=True)
        if line.strip() == "forget":
            server.forget()


if __name__ == "__main__":
    main()
