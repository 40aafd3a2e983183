"""A real aiohttp server that answers as the service does, or as a test scripts it to.

Written from the published documents alone, so that it can contradict the client: it imports nothing of the package.
What the service would refuse, it refuses; what the service would bear though the contract does not allow it is
collected in `FakeService.complaints`, and leaving the server's block with any there fails the test.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

import aiohttp
from aiohttp import web

KINDS = {"improve": ("improved", "colorized_improved", "colorized"), "resolution": ("resolved",)}
PATH = "/api/v1/photo/improve"
AUTH_PATH = "/auth/oauth/v1/token"


@dataclass(frozen=True)
class Part:
    name: str | None
    filename: str | None  # None: not given, which makes it a plain field; "" is a file
    content_type: str | None
    data: bytes


@dataclass(frozen=True)
class Request:
    """One request as it came; for the token endpoint `meta` is the JSON body and `parts` is empty."""

    service: FakeService
    http: web.Request
    parts: list[Part]
    meta: dict[str, Any]  # parsed; empty when it is missing or no JSON object
    content_length: int | None
    raw_path: str
    query: dict[str, str]
    headers: Mapping[str, str]

    @property
    def images(self) -> dict[str, bytes]:
        return {str(part.name): part.data for part in self.parts if part.filename is not None}

    @property
    def names(self) -> list[str]:
        return [image["name"] for image in self.meta["images"]]


Respond = Callable[[Request], Awaitable[web.StreamResponse]]
Answer = web.StreamResponse | Respond
"""What to answer with. A response object serves once; what the factories below return serves any number of times."""


@lru_cache(maxsize=1000)
def disposition_of(header: str) -> tuple[str | None, str | None]:
    """The name and the file name in a ``Content-Disposition``: aiohttp takes a millisecond to read it."""
    _, parameters = aiohttp.parse_content_disposition(header)
    return (
        aiohttp.content_disposition_filename(parameters, "name"),
        aiohttp.content_disposition_filename(parameters, "filename"),
    )


async def response_of(answer: Answer, request: Request) -> web.StreamResponse:
    return answer if isinstance(answer, web.StreamResponse) else await answer(request)


def expected(kind: str, image: bytes) -> bytes:
    """The output of `kind` that this server makes of `image`: each photo's own, and no other's."""
    return b"\xff\xd8\xff" + f"{kind}:{hashlib.sha256(image).hexdigest()}".encode() + b"\xff\xd9"


def expected_bw(image: bytes) -> bool:
    return len(image) % 2 == 1


def right_item(mode: str, name: str, image: bytes) -> dict[str, Any]:
    outputs = {kind: base64.b64encode(expected(kind, image)).decode() for kind in KINDS[mode]}
    return {"status": 0, "name": name} | outputs | ({"bw": expected_bw(image)} if mode == "improve" else {})


Overrides = Mapping[str, Mapping[str, Any] | None]


def answer_body(request: Request, overrides: Overrides, rename: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The body that answers `request` as `items` tells: for a test that sends it in its own way."""
    body: dict[str, list[dict[str, Any]]] = {mode: [] for mode in request.meta["mode"]}
    names = dict.fromkeys([*request.names, *overrides])
    for mode, name in ((mode, name) for mode in body for name in names):
        change = overrides.get(name, {})
        if change is not None and (change := change.get(mode, change)) is not None:
            item = {"status": 0, "name": name}
            if not change.get("status") and name in request.images:
                item = right_item(mode, name, request.images[name])
            whole = item | {key: value for key, value in change.items() if key not in KINDS}
            body[mode].append({rename.get(key, key): value for key, value in whole.items() if value is not None})
    return body


def ok() -> Respond:
    """Every image answered right."""
    return items({})


def items(overrides: Overrides, *, rename: Mapping[str, str] | None = None) -> Respond:
    """Every image answered right, but for `overrides`: {name: {field: value}}.

    A field that is None is left out, and a name that is None is not answered; a status that is not 0 takes the
    outputs away. Under the key of a mode stand changes for that mode alone. A name that was not asked for is added.
    `rename` respells fields: {"colorized": "colored"}.
    """

    async def respond(request: Request) -> web.StreamResponse:
        return await envelope(200, answer_body(request, overrides, rename or {}))(request)

    return respond


def envelope(status: int, body: Any, http_status: int = 200) -> Respond:
    """The service's own envelope; errors may come under HTTP 200."""
    whole = {"status": status, "body": body, "htmlencoded": False, "last_modified": 0}
    return http(http_status, json.dumps(whole), {"Content-Type": "application/json"})


def http(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> Respond:
    """A plain HTTP answer, as from a proxy on the way."""

    async def respond(_: Request) -> web.StreamResponse:
        return web.Response(status=status, body=text.encode(), headers=headers)

    return respond


def redirect(location: str, status: int = 307) -> Respond:
    return http(status, headers={"Location": location})


def raw(body: bytes, *, chunk: int = 1 << 16, status: int = 200) -> Respond:
    """These bytes in pieces of `chunk`, each on the wire before the next, with no Content-Length."""

    async def respond(request: Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
        await response.prepare(request.http)
        for start in range(0, len(body), chunk):
            await response.write(body[start : start + chunk])
            await _sent(request)
        await response.write_eof()
        return response

    return respond


def drop(*, after_bytes: int = 0, of: Answer | None = None) -> Respond:
    """The connection is lost after so many bytes of the body `of` an answer (None: the default one).

    With 0 not even the status line is sent.
    """

    async def respond(request: Request) -> web.StreamResponse:
        whole = await response_of(request.service.default(request) if of is None else of, request)
        assert isinstance(whole, web.Response), "an answer that has its body at hand"
        assert isinstance(whole.body, bytes), "an answer that has its body at hand"
        response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
        response.content_length = len(whole.body)
        if after_bytes:
            await response.prepare(request.http)
            await response.write(whole.body[:after_bytes])
            await _sent(request)
        if request.http.transport is not None:
            request.http.transport.abort()
        return response

    return respond


def part(items: int) -> Respond:
    """So many items of the right answer, and then nothing more: the request stays open."""

    async def respond(request: Request) -> web.StreamResponse:
        whole = await response_of(ok(), request)
        assert isinstance(whole, web.Response)
        assert isinstance(whole.body, bytes)
        ends = [found.end() for found in re.finditer(rb"},", whole.body)]
        response = web.StreamResponse()
        await response.prepare(request.http)
        await response.write(whole.body[: ends[items - 1]])
        await asyncio.Event().wait()
        return response

    return respond


def hold(event: asyncio.Event, then: Answer | None = None) -> Respond:
    """Wait for `event`, then answer with `then` (None: the default answer)."""

    async def respond(request: Request) -> web.StreamResponse:
        await event.wait()
        return await response_of(request.service.default(request) if then is None else then, request)

    return respond


def late(seconds: float) -> Respond:
    """Every image answered right, after so long."""

    async def respond(request: Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await response_of(ok(), request)

    return respond


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; for what tells no event of its own. Gives up after 20 seconds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def _sent(request: Request) -> None:
    """Wait until all that was written has left for the kernel: an abort would throw the rest away."""
    await asyncio.sleep(0)
    await until(lambda: (out := request.http.transport) is None or not out.get_write_buffer_size())


@dataclass
class FakeService:
    """The server, listening while its `async with` block lasts.

    `requests` and `grants` hold what came whole, in order; `abandoned` counts the requests whose caller left before
    the answer was out. `script` and `script_grants` say the next answers; after those come the defaults.
    """

    max_images: int = 48
    max_image_bytes: int = 8_000_000
    max_request_bytes: int = 30_000_000
    valid_tokens: set[str] | None = None  # None: any token will do
    error_http_status: int | None = 200  # HTTP status of enveloped errors; None: the envelope's own
    requests: list[Request] = field(default_factory=list[Request])
    grants: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    complaints: list[str] = field(default_factory=list[str])
    open_now: int = 0
    most_open: int = 0
    abandoned: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self.default: Callable[[Request], Answer] = self.answer_rightly
        self.default_grant: Callable[[Request], Answer] = self.fresh_tokens
        self._answers: deque[Answer] = deque()
        self._grant_answers: deque[Answer] = deque()

    @property
    def auth_url(self) -> str:
        return self.url + AUTH_PATH

    def script(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    def script_grants(self, *answers: Answer) -> None:
        self._grant_answers.extend(answers)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.post(PATH, self._improve), web.post(PATH + "/", self._improve)])
        app.add_routes([web.post(AUTH_PATH, self._token)])
        # A handler is cancelled when its caller leaves: open_now then tells the truth.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._runner.cleanup()
        assert kind is not None or not self.complaints, self.complaints

    async def _improve(self, came: web.Request) -> web.StreamResponse:
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            request = self._request(came, parts := await self._parts(came), meta_of(parts))
            self.requests.append(request)
            return await response_of(self._answers.popleft() if self._answers else self.default(request), request)
        except (asyncio.CancelledError, aiohttp.ClientPayloadError, ConnectionError):
            self.abandoned += 1
            raise
        finally:
            self.open_now -= 1

    async def _parts(self, came: web.Request) -> list[Part]:
        parts: list[Part] = []
        async for part in await came.multipart():
            assert isinstance(part, aiohttp.BodyPartReader), "a multipart inside the multipart"
            kind = part.headers.get("Content-Type")
            named, file = disposition_of(part.headers.get("Content-Disposition", ""))
            parts.append(Part(named, file, kind, bytes(await part.read())))
        await came.content.read()  # what may follow the last boundary counts too
        if came.content_length != came.content.total_bytes:
            self.complaints.append(f"Content-Length {came.content_length}, body {came.content.total_bytes} bytes")
        return parts

    def _request(self, came: web.Request, parts: list[Part], meta: bytes) -> Request:
        try:
            parsed = dict[str, Any](json.loads(meta))
        except (ValueError, TypeError):
            parsed = {}
        query, headers = dict(came.query), came.headers.copy()
        return Request(self, came, parts, parsed, came.content_length, came.raw_path, query, headers)

    async def _token(self, came: web.Request) -> web.StreamResponse:
        request = self._request(came, [], await came.read())
        self.grants.append(request.meta)
        answer = self._grant_answers.popleft() if self._grant_answers else self.default_grant(request)
        return await response_of(answer, request)

    def fresh_tokens(self, request: Request) -> Answer:
        """A new pair for either grant; the access token is valid from now on."""
        known = {"client_credentials": "client_secret", "refresh_token": "refresh_token"}
        needed = known.get(str(request.meta.get("grant_type")))
        if needed is None or not request.meta.get("client_id") or not request.meta.get(needed):
            return web.json_response({"error": "invalid_request"}, status=400)
        number = len(self.grants)
        if self.valid_tokens is not None:
            self.valid_tokens.add(f"access-{number}")
        tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
        return web.json_response(tokens | {"expired_in": "3600", "scope": "objects"})

    def answer_rightly(self, request: Request) -> Answer:
        """What the service would say: its refusal, or every image answered."""
        token, sent = request.query.get("oauth_token", ""), request.http.content.total_bytes
        if not token or not request.query.get("oauth_provider"):
            return self._refuse(401, "authorization failed: oauth_token and oauth_provider are required")
        if self.valid_tokens is not None and token not in self.valid_tokens:
            return self._refuse(403, f"authorization failed: mcs: Access Token invalid: {token}")
        if len(request.images) > 1 and sent > self.max_request_bytes:
            return http(413, "413 Request Entity Too Large")
        if text := next(refusals(request), None):
            return self._refuse(400, text)
        self.complaints.extend(sloppiness(request))
        return ok()

    def _refuse(self, status: int, text: str) -> Answer:
        return envelope(status, text, self.error_http_status or status)


def meta_of(parts: list[Part]) -> bytes:
    metas = [part.data for part in parts if part.name == "meta" and part.filename is None]
    return metas[0] if len(metas) == 1 else b""


def refusals(request: Request) -> Iterator[str]:
    """The texts of the 400s that `request` deserves; the service says the first."""
    meta, service = request.meta, request.service
    if not meta.get("mode") or not meta.get("images") or not set(meta["mode"]) <= set(KINDS):
        yield "could not parse meta"
        return
    if "resolution" in meta["mode"]:
        if meta.get("rfactor") not in (2, 4):
            yield "rfactor must be 2 or 4"
        if meta.get("rtype", meta.get("ftype")) not in ("art", "photo"):
            yield "rtype must be art or photo"
    if len(request.names) > service.max_images:
        yield f"too many images: {len(request.names)}"
    for names in (request.names, [str(part.name) for part in request.parts]):
        yield from (f"duplicate name {name}" for name, times in Counter(names).items() if times > 1)
    for name in request.names:
        image = request.images.get(name)
        if image is None:
            yield f"could not get image by name {name}: http: no such file"
        elif not 0 < len(image) <= service.max_image_bytes:
            yield f"image {name} is too large" if image else "empty image"


def sloppiness(request: Request) -> Iterator[str]:
    """What the service bears in `request` though the contract does not allow it."""
    meta, order = request.meta, [part.name for part in request.parts]
    images = [part for part in request.parts if part.name != "meta"]
    if order != [*request.names, "meta"]:
        yield f"the parts are not the images in the order of meta, and then meta: {order}"
    if not all(str(part.content_type).startswith("image/") for part in images):
        yield "an image does not go as an image type"
    if any(str(part.filename).split(".")[0] not in ("", part.name) for part in images):
        yield "a file name went to the service"
    if "resolution" in meta["mode"]:
        if "rtype" not in meta or meta.get("ftype") != meta["rtype"]:
            yield "ftype and rtype are not both there, and the same"
    elif set(meta) & {"rfactor", "ftype", "rtype"}:
        yield "rfactor, ftype or rtype without resolution"
