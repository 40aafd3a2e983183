"""What runs on a worker: one request for each task, in an event loop of its own.

The loop is not the worker's: when a worker retires, Dask cancels what runs in its loop, and the requests that are
open are paid for. `DrainPlugin` waits for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from itertools import count
from time import monotonic
from typing import Any, Final, TypeVar, cast

import aiohttp
import msgspec
from distributed import Worker, WorkerPlugin, get_worker
from yarl import URL

from smarty_async.archive.object_store import Bucket
from smarty_async.archive.outputs.temp_file import Appendable, TempFile, append_all
from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.photos.reader import read_in_thread
from smarty_async.archive.sources.source import Prober
from smarty_async.archive.threads import first_error, threaded
from smarty_async.cluster.chunk_log import ChunkLog, ChunkUnwanted
from smarty_async.cluster.messages import (
    VERSION,
    ChunkBegin,
    ChunkEnd,
    ChunkJob,
    ChunkReport,
    Failure,
    FinishedItem,
    PhotoKey,
    ServiceAddress,
)
from smarty_async.cluster.outputs import PhotoOutputs
from smarty_async.cluster.storage import ChunkStorage
from smarty_async.errors import SmartyError
from smarty_async.group_queue import GroupQueue
from smarty_async.options import Limits, ModeSpec
from smarty_async.redaction import redactor
from smarty_async.results import Kind
from smarty_async.transport.body import Body, BodyFailed
from smarty_async.transport.connection import Connection
from smarty_async.transport.http import make_session
from smarty_async.transport.response import ReceivedItem
from smarty_async.wire.messages import item_name, judge_item

__all__ = ["PLUGIN", "DrainPlugin", "look_into", "prepare", "send_chunk"]

T = TypeVar("T")

PLUGIN: Final = "smarty_async"
"""The name of `DrainPlugin` on a worker."""
_THIS_WORKER: Final = "this worker"
"""What stands for a worker's address where none is known."""
_DRAIN_SECONDS: Final = 300.0
"""How long a worker that retires waits for its open requests: as long as one may be silent."""


class _RequestLoop:
    """A thread with the event loop that requests run in, one for a process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._open: set[Future[Any]] = set()
        self._connections: dict[ServiceAddress, Connection] = {}
        self._sessions: list[aiohttp.ClientSession] = []
        threading.Thread(target=self.loop.run_forever, name="smarty_async requests", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` in the loop."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def connection(self, service: ServiceAddress) -> Connection:
        """The connection to `service`; to be called in the loop."""
        if service not in self._connections:
            url = URL(service.url)
            proxy = service.proxy.reveal() if service.proxy else None
            session = make_session(url, timeouts=service.timeouts, proxy=proxy)
            self._sessions.append(session)
            self._connections[service] = Connection(
                session,
                url=url,
                provider=service.provider,
                timeouts=service.timeouts,
                max_output_bytes=service.max_output_bytes,
                in_thread=read_in_thread,
            )
        return self._connections[service]

    async def drain(self) -> None:
        """Wait until no request is open, from another loop; then close the connections."""
        if self._open:
            await asyncio.wait(map(asyncio.wrap_future, tuple(self._open)), timeout=_DRAIN_SECONDS)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), self.loop))

    async def _close(self) -> None:
        self._connections.clear()
        while self._sessions:
            await self._sessions.pop().close()


@cache
def _requests() -> _RequestLoop:
    return _RequestLoop()


class DrainPlugin(WorkerPlugin):
    """Lets a worker that retires finish the requests that are paid for."""

    name = PLUGIN

    async def teardown(self, worker: Worker) -> None:
        """Wait for the open requests."""
        del worker
        await _requests().drain()


async def prepare(
    storage: ChunkStorage, mark: str, sources: Sequence[str | Bucket], *, dask_worker: Worker
) -> tuple[str, str | None]:
    """Make the worker ready for chunks; the version of its package, and what it cannot see, None when it sees all."""
    if PLUGIN not in dask_worker.plugins:
        await dask_worker.plugin_add(DrainPlugin(), name=PLUGIN)
    try:
        return VERSION, await asyncio.to_thread(storage.unseen, mark, sources)
    except (OSError, SmartyError) as error:  # what is raised here could be taken for a worker that has left
        return VERSION, str(error)


async def look_into(probers: Sequence[Prober], *, limits: Limits, fit: bool, pool: str) -> list[Probed | None]:
    """Look into photos; None for each that cannot be sent, or whose store does not answer: the caller finds out why.

    Args:
        probers: look into one photo each.
        limits: what the endpoint takes.
        fit: whether to make smaller what is over the limits.
        pool: which threads do it, see `threaded`.
    """
    looking = _requests().start(_look_into(probers, limits=limits, fit=fit, pool=pool))
    return await asyncio.shield(asyncio.wrap_future(looking))


async def _look_into(probers: Sequence[Prober], *, limits: Limits, fit: bool, pool: str) -> list[Probed | None]:
    look = threaded(_looked, pool=pool)
    return await asyncio.gather(*(look(prober, limits=limits, fit=fit) for prober in probers))


def _looked(prober: Prober, *, limits: Limits, fit: bool) -> Probed | None:
    with suppress(SmartyError):
        # A worker sends the photo and reads it again then: the caller needs none of its bytes.
        return msgspec.structs.replace(prober(limits=limits, fit=fit), whole=None)
    return None


async def send_chunk(job: ChunkJob) -> ChunkReport:
    """Send one chunk, once: a second run of the task is refused, whatever the reason for it.

    The request goes on when this is cancelled. When nobody waits for the chunk any more, nothing is sent, up to the
    moment before its first byte; a request that is on its way by then is broken off, and paid for.
    """
    if job.version != VERSION:
        return ChunkReport(refused=f"the worker has version {VERSION} of smarty_async")
    report = await asyncio.shield(asyncio.wrap_future(_requests().start(_send_chunk(job))))
    return msgspec.structs.replace(report, suspect=_address()) if report.suspect else report


def _address() -> str:
    """The address of this worker."""
    try:
        return str(cast("Any", get_worker()).address)
    except ValueError:
        return _THIS_WORKER


async def _send_chunk(job: ChunkJob) -> ChunkReport:
    redactor.add(job.token.reveal())
    log = job.storage.log(job.id)
    try:
        if not await log.begin(*_begin_of(job)):
            return ChunkReport(refused="it was begun before")
    except SmartyError as error:  # its mount or its credentials are others than the caller's, or its disk is full
        return ChunkReport(refused=str(error), suspect=_THIS_WORKER)
    request = _WorkerRequest(job, log)
    began = monotonic()
    problem = await _send(request, job, log)
    if isinstance(problem, ChunkUnwanted):
        await request.discard()
        return ChunkReport(refused="nobody waits for it")
    end = ChunkEnd(
        seconds=monotonic() - began,
        sent=request.sent,
        bytes_sent=request.bytes_sent,
        bytes_received=request.bytes_received,
        failure=None if problem is None else Failure.of(problem),
    )
    with suppress(ChunkUnwanted, SmartyError):
        await log.append(end)
    suspect = _THIS_WORKER if end.failure is not None and end.failure.is_of_storage else ""
    return ChunkReport(request.items, end, suspect=suspect)


def _begin_of(job: ChunkJob) -> Sequence[ChunkBegin]:
    """What a log begins with."""
    outputs = [editor for editor in job.editors if isinstance(editor, PhotoOutputs)]
    if not outputs or len(outputs) < len(job.editors):
        return ()
    photos = tuple(PhotoKey.of(each.entry) for each in outputs)
    specs = tuple(spec.text for spec in job.specs)
    kinds = frozenset[Kind]().union(*(each.kinds for each in outputs))
    return [ChunkBegin(specs=specs, photos=photos, kinds=tuple(sorted(kinds)))]


async def _send(request: _WorkerRequest, job: ChunkJob, log: ChunkLog) -> Exception | None:
    """Send `request` and make its items durable; the error it ended with, None when there was none."""
    problem: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            beat = tasks.create_task(_beat(log, job.storage.beat_seconds))
            try:
                await _requests().connection(job.service).send(request)
            except (SmartyError, BodyFailed) as error:
                problem = error
            await request.finish()
            beat.cancel()
    except ExceptionGroup as group:
        first: Exception = first_error(group)
        return first
    return problem


async def _beat(log: ChunkLog, seconds: float) -> None:
    """Show that this worker lives. What the storage refuses now is no reason to break off a request that is paid for.

    Raises:
        ChunkUnwanted: nobody waits for the chunk any more.
    """
    while True:
        await asyncio.sleep(seconds)
        await _show_life(log)


async def _show_life(log: ChunkLog) -> None:
    """Show once that this worker lives, and find out whether somebody waits for the chunk; see `_beat`."""
    with suppress(SmartyError):
        await log.append()


class _WorkerRequest:
    """The `Exchange` and the sink of a request on a worker.

    Attributes:
        items: what was answered and is durable.
        bytes_sent: bytes of the body that were sent.
        bytes_received: bytes of the answer.
        sent: whether any of it was sent.
    """

    def __init__(self, job: ChunkJob, log: ChunkLog) -> None:
        self.items: list[FinishedItem] = []
        self.bytes_sent = self.bytes_received = 0
        self.sent = False
        self._job = job
        self._log = log
        self._folder = job.storage.temp_folder()
        self._numbers = {item_name(number): number for number in range(len(job.bodies))}
        self._files: dict[str, TempFile] = {}
        self._names = map(f"{job.id}-%d".__mod__, count())
        self._finishing = GroupQueue(self._finish_group, self._fail, name="smarty_async outputs")
        self._error: BaseException | None = None

    # the exchange

    @property
    def bodies(self) -> Sequence[Body]:
        """The images, in order."""
        return self._job.bodies

    @property
    def specs(self) -> Sequence[ModeSpec]:
        """What is asked of each image."""
        return self._job.specs

    @property
    def token(self) -> str:
        """What the request is authorized with."""
        return self._job.token.reveal()

    @property
    def sink(self) -> _WorkerRequest:
        """Where outputs are written."""
        return self

    async def on_upload_started(self, size: int) -> None:  # noqa: ARG002 - the caller has journalled it
        """The first byte is about to be sent: the last moment to find out that nobody waits for the chunk any more.

        Raises:
            ChunkUnwanted: nobody does.
        """
        await _show_life(self._log)
        self.sent = True

    def editor_of(self, name: str) -> None:
        """Nothing is done to outputs before they are complete."""

    def on_item(self, received: ReceivedItem) -> bool:
        """Take an item that was asked for, and make its outputs durable; the others are not wanted."""
        if received.answered.name not in self._numbers:
            return False
        self._finishing.add([received])
        return True

    def on_response_complete(self, seconds: float) -> None:
        """Do nothing: the caller learns it with the end."""

    # the sink

    def open(self) -> TempFile:
        """A new temporary file."""
        file = TempFile(self._folder, next(self._names))
        self._files[file.name] = file
        return file

    async def write(self, batches: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file."""
        await append_all(batches)

    async def discard(self) -> None:
        """Remove its files, but for those that the log names: they are the caller's."""
        await self._finishing.cancel()
        for file in self._files.values():
            await file.discard()

    # items

    async def finish(self) -> None:
        """Wait until every item that was answered is durable and in the log."""
        try:
            await self._finishing.wait()
        except asyncio.CancelledError:
            await self._finishing.cancel()
            raise
        if self._error is not None:
            raise self._error

    async def _finish_group(self, group: list[ReceivedItem]) -> None:
        ended = await asyncio.gather(*map(self._finished, group), return_exceptions=True)
        items = [one for one in ended if isinstance(one, FinishedItem)]
        if items:
            await self._log.append(*items)
            self.items += items
            for output in [output for item in items for output in item.outputs.values()]:
                self._files.pop(output.temporary, None)
        for one in ended:
            if isinstance(one, BaseException):
                raise one

    def _fail(self, _: ReceivedItem, error: BaseException) -> None:
        self._error = self._error or error

    async def _finished(self, received: ReceivedItem) -> FinishedItem:
        answered = received.answered
        number = self._numbers[answered.name]
        digest = getattr(self._job.bodies[number], "digest", None)
        spec = next((spec for spec in self._job.specs if spec.mode == answered.mode), None)
        if spec is None or judge_item(answered)[0] != "done":
            await received.discard()
            return FinishedItem(answered=answered, digest=digest)
        files = cast("dict[Kind, TempFile]", received.files)  # see `open`
        editor = self._job.editors[number]
        finished = await self._job.storage.make_durable(answered, files, spec, editor)
        warnings = () if editor is None else tuple(editor.warnings)
        return msgspec.structs.replace(finished, digest=digest, warnings=warnings)
