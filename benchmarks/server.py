"""The other end, in a process of its own: answers made beforehand, so that it is never what is waited for.

Threads and blocking sockets: the bytes of a photo are received into one buffer and forgotten, those of an answer
are sent from where they lie. The last kilobytes of a request are kept, for the names in its ``meta``; all of it
where photos have fates of their own.
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
_WHOLE = 1 << 22
_BUFFER = 1 << 20
_NAME = re.compile(rb'"name":\s*"([^"]+)"')
_PART = re.compile(rb'\bname="(file_\d+)"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
ID_MARK = b"\xff\xe4\x00\x0a"
"""Begins the JPEG segment whose eight bytes tell a photo from others."""
_FRAME = bytes.fromhex("ffd8 ffe00010 4a46494600010100000100010000 ffc0000b 080040004001011100 ffda0008 0101 00003f00")
"""A JPEG's markers up to its scan: JFIF, a gray frame of 64 by 64, the scan's header."""
SCAN = 20
"""Where the frame begins, behind what a client may write again."""
KINDS = ("improved", "colorized_improved", "colorized")


class Server:
    """Answers requests as `options` say; see `benchmarks.service.Service` for what they mean."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._payload = base64.b64encode(picture(options["output_bytes"]))
        self._fateful = bool(options["temporary"] or options["tail"])
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
        self._counts: dict[str, Any] = {"requests": 0, "images": 0, "first": None, "last": None, "photos": {}}
        self._cpu_before = _cpu()

    def stats(self) -> dict[str, Any]:
        """What happened since `forget`: see `benchmarks.service.Service.stats`."""
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
                while ends := _received(connection, buffer, _WHOLE if self._fateful else _ENDS):
                    self._reply(connection, _names(*ends), _photos(ends[0]) if self._fateful else {})
        except (OSError, ssl.SSLError):
            pass  # the client has left

    def _reply(self, connection: socket.socket, names: tuple[bytes, ...], photos: dict[bytes, str]) -> None:
        with self._lock:
            self._counts["requests"] += 1
            self._counts["images"] += len(names)
            self._counts["first"] = self._counts["first"] or time.monotonic()
            seconds, failed = self._draw(names, photos)
        with self._slots:
            time.sleep(seconds)
        body = self._answer(names, failed) if failed else self._whole(names, failed)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head)
        connection.sendall(body)
        with self._lock:
            self._counts["last"] = time.monotonic()

    def _draw(self, names: tuple[bytes, ...], photos: dict[bytes, str]) -> tuple[float, frozenset[bytes]]:
        """Seconds a request with `names` takes, and which of them fail for now."""
        options, each = self._options, self._counts["photos"]
        if not photos:
            return options["per_request"] + options["per_image"] * len(names), frozenset()
        failed: set[bytes] = set()
        for name in names:
            photo = each.setdefault(photos[name], {"seconds": self._seconds(photos[name]), "times": 0})
            photo["times"] += 1
            if self._dice(photos[name], photo["times"]).random() < options["temporary"]:
                failed.add(name)
        images: float = sum(each[photos[name]]["seconds"] for name in names)
        request: float = options["per_request"]
        return request + images, frozenset(failed)

    def _seconds(self, photo: str) -> float:
        """Of this photo, whenever it comes. Pareto: its mean is `per_image`; the nearer to 1 `tail` is, the heavier."""
        mean: float = self._options["per_image"]
        tail: float = self._options["tail"]
        return mean * (tail - 1) / tail * self._dice(photo, 0).paretovariate(tail) if tail else mean

    def _dice(self, photo: str, time: int) -> random.Random:
        """So that a photo has the same fate in whatever order photos come."""
        return random.Random(f"{self._options['seed']} {photo} {time}")  # noqa: S311 - not secrets

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
    """What stands for every output: `size` bytes that a reader of markers takes for a JPEG, and no decoder does."""
    noise = random.Random(5).randbytes(max(0, size - len(_FRAME) - 2)).replace(b"\xff", b"\xfe")  # noqa: S311 - not secrets
    return _FRAME + noise + b"\xff\xd9"


def _received(connection: socket.socket, buffer: bytearray, ends: int) -> tuple[bytes, bytes] | None:
    """The beginning and the end of one request; None when the client has left."""
    view, head = memoryview(buffer), bytearray()
    while (end := head.find(b"\r\n\r\n")) < 0 or len(head) < min(ends, end + 4 + _length(head, end)):
        if not (count := connection.recv_into(buffer)):
            return None
        head += view[:count]
    left = _length(head, end) - (len(head) - end - 4)
    tail = bytes(head[-ends:])
    while left > 0:
        if not (count := connection.recv_into(buffer, min(left, _BUFFER))):
            return None
        left -= count
        if left < ends:
            tail = (tail + bytes(view[max(0, count - ends) : count]))[-ends:]
    return bytes(head), tail


def _length(head: bytearray, end: int) -> int:
    length = _LENGTH.search(head, 0, end + 2)
    assert length, "a request with no Content-Length"
    return int(length[1])


def _names(head: bytes, tail: bytes) -> tuple[bytes, ...]:
    """The images' names, from the `meta` part: some put it last, some first."""
    text = tail if b'name="meta"' in tail else head
    return tuple(_NAME.findall(text, text.index(b'name="meta"') + 11))


def _photos(body: bytes) -> dict[bytes, str]:
    """By name, what tells each photo of a whole request from others."""
    body = body[body.index(b"\r\n\r\n") + 2 :]
    boundary = body[: body.index(b"\r\n", 2)]
    parts = body.split(boundary)
    return {name[1]: _id(part) for part in parts if (name := _PART.search(part))}


def _id(part: bytes) -> str:
    begin = part.index(ID_MARK) + len(ID_MARK)
    return part[begin : begin + 8].hex()


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
