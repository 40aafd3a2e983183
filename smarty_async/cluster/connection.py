"""Requests that workers send: what a run has in place of the client's own connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

from distributed import Client

from smarty_async.archive.entries import PhotoEntry
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.photos.reader import FileBody
from smarty_async.archive.sources.object_store import ObjectBody
from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.cluster.chunk_log import NEVER_SENT, ChunkLog
from smarty_async.cluster.log_reports import final_report
from smarty_async.cluster.messages import VERSION, ChunkJob, ChunkReport, FinishedItem, Secret, ServiceAddress
from smarty_async.cluster.outputs import FinishedFile, PhotoOutputs
from smarty_async.cluster.probing import ClusterProbes
from smarty_async.cluster.storage import ChunkStorage, FolderStorage, storage_of
from smarty_async.cluster.worker import send_chunk
from smarty_async.cluster.workers import ClusterWorkers, is_private, unreachable
from smarty_async.errors import ConfigurationError, DiskError, OptionsError, PhotoError, RequestError, StoreError
from smarty_async.options import ArchiveOptions, Limits
from smarty_async.progress import Progress
from smarty_async.results import Kind
from smarty_async.transport.body import Body, BodyFailed, MemoryBody
from smarty_async.transport.request import ChunkRequest
from smarty_async.transport.response import OutputEditor, ReceivedItem, SinkFile
from smarty_async.wire.messages import Image, Multipart, item_name

__all__ = ["ClusterConnection"]

_log = logging.getLogger("smarty_async")

_NO_WORKER: Final = "the cluster has no worker that can be used: waiting for one"
_ITEMS_PER_TURN: Final = 8
"""Items handed over in one turn of the event loop."""


class ClusterConnection:
    """The `RequestSender` whose requests are sent by the workers of a cluster, each at most once.

    Args:
        dask: an asynchronous client of the cluster.
        service: where and how workers send requests.
        wait_seconds: how long to wait for a worker when there is none.

    Raises:
        OptionsError: the client is not asynchronous.
        ConfigurationError: the token would travel unencrypted to the scheduler.
    """

    def __init__(self, dask: Client, *, service: ServiceAddress, wait_seconds: float) -> None:
        if not getattr(dask, "asynchronous", False):  # nor anything else, such as an address
            raise OptionsError("cluster must be an asynchronous client: distributed.Client(…, asynchronous=True)")
        self._dask = cast("Any", dask)  # its methods are coroutines or not, which their types do not tell
        address: str = self._dask.scheduler.address
        if not is_private(address):
            raise ConfigurationError(f"the token would travel unencrypted to the scheduler at {address}: use tls://")
        self._service = service
        self._wait_seconds = wait_seconds
        self._folder = ""
        self._kinds: frozenset[Kind] = frozenset()
        self._storage: ChunkStorage = FolderStorage("")
        self._removing: set[asyncio.Task[None]] = set()
        self._workers: ClusterWorkers | None = None
        self._probes: ClusterProbes | None = None

    @asynccontextmanager
    async def opened(
        self,
        outputs: OutputStore,
        *,
        source: PhotoSource,
        options: ArchiveOptions,
        limits: Limits,
        progress: Progress,
        set_capacity: Callable[[int], int],
        stopping: asyncio.Event,
    ) -> AsyncGenerator[None]:
        """Use the cluster during the block, for one run.

        Args:
            outputs: where its outputs go.
            source: where its photos come from.
            options: of the run.
            limits: what one request may carry.
            progress: where workers are counted.
            set_capacity: called with the requests that the workers can have open at once, whenever these change; how
                many may be open then.
            stopping: set when the run is to end.

        Raises:
            ConfigurationError: none of the workers can be used.
            ServiceUnavailable: there is no worker, or no scheduler.
            DiskError: the folder cannot be written to.
        """

        def on_change(workers: int, threads: int) -> None:
            progress.workers = workers
            if not workers:
                progress.status_message = _NO_WORKER
            elif progress.status_message == _NO_WORKER:
                progress.status_message = None
            progress.permits = set_capacity(max(1, threads))

        self._folder = str(outputs.temp_path(""))
        self._kinds = options.outputs
        self._storage = storage_of(outputs)
        self._workers = ClusterWorkers(
            self._dask,
            storage=self._storage,
            sources=options.sources,
            store_options=options.store_options.values,
            wait_seconds=self._wait_seconds,
            on_change=on_change,
            on_refused=progress.warnings.append,
            stopping=stopping,
        )
        self._probes = ClusterProbes(self._dask, self._workers, source=source, limits=limits, fit=options.fit)
        async with self._workers.watched():
            try:
                yield
            finally:
                await self._probes.aclose()
                await finish_despite_cancel(asyncio.gather(*self._removing, return_exceptions=True))

    def probe(self, file: PhotoFile) -> asyncio.Future[Probed]:
        """Have a worker look into a photo; the future fails as `PhotoSource.probe` does."""
        assert self._probes is not None, "it is not opened"  # noqa: S101 - the run opens it
        return self._probes.probe(file)

    def editor(self, entry: PhotoEntry, metadata: MetadataCopier | None) -> OutputEditor:
        """What workers need to make the outputs of a photo durable.

        Args:
            entry: the photo.
            metadata: gives the outputs the photo's metadata; None for nothing.
        """
        return PhotoOutputs(entry, metadata, entry.kept(self._kinds))

    async def send(self, request: ChunkRequest, /) -> None:
        """Have one request sent by a worker, and hand over what was answered; see `RequestSender`.

        When this is cancelled, a worker that has not begun to send the request does not send it. One that is on its way
        is given up, and paid for all the same: what was answered and made durable by then is handed over.
        """
        assert self._workers is not None, "it is not opened"  # noqa: S101 - the run opens it
        addresses = await self._workers.usable()
        job = await self._job(request)
        multipart = Multipart([Image(body.content_type, body.size) for body in request.bodies], request.specs)
        await request.on_upload_started(multipart.length)
        log = self._storage.log(job.id)
        try:
            report = await self._sent_by_worker(job, addresses)
            if report is None or report.refused:
                report = await self._adopted(log, report)
        except asyncio.CancelledError:
            await finish_despite_cancel(self._give_up(request, log))
            raise
        await self._hand_over(report, request, log)

    async def _job(self, request: ChunkRequest) -> ChunkJob:
        bodies: Sequence[Body] = tuple(request.bodies)
        if not self._storage.shares_temp_files:
            bodies = await asyncio.gather(*(self._portable(body) for body in bodies))
        return ChunkJob(
            id=secrets.token_hex(8),
            version=VERSION,
            service=self._service,
            token=Secret(request.token),
            specs=request.specs,
            bodies=bodies,
            editors=tuple(request.editors),
            storage=self._storage,
        )

    async def _portable(self, body: Body) -> Body:
        """`body`, in memory when it is a temporary file, which workers do not see."""
        if not isinstance(body, FileBody) or not body.is_in(self._folder):
            return body
        return MemoryBody(b"".join([piece async for piece in body.read()]), body.content_type)

    async def _sent_by_worker(self, job: ChunkJob, addresses: frozenset[str]) -> ChunkReport | None:
        """The report of the worker that sent `job`; None when it is lost.

        Raises:
            ServiceUnavailable: Dask's client has closed itself, as it does some time after its scheduler is gone.
        """
        assert self._workers is not None  # noqa: S101 - see `send`
        try:
            future = self._dask.submit(
                send_chunk, job, key=f"chunk-{job.id}", workers=list(addresses), pure=False, retries=0
            )
        except Exception as error:  # noqa: BLE001 - whatever it raises then
            raise unreachable(error) from None
        waits = asyncio.create_task(_result(future)), asyncio.create_task(self._workers.gone(addresses))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[0].result() if waits[0].done() else None
        finally:
            for wait in waits:
                wait.cancel()
            future.release()

    async def _adopted(self, log: ChunkLog, report: ChunkReport | None) -> ChunkReport:
        """What the log says of a chunk whose worker went, or whose result was lost; waits while one still sends it.

        Raises:
            RequestError: it was never begun, and never will be.
        """
        if await log.begin(NEVER_SENT):  # which also tells that the caller may, where a worker may not
            refused = report.refused if report is not None else None
            if report is not None and report.refused and report.suspect:
                assert self._workers is not None  # noqa: S101 - see `send`
                await self._workers.refuse(report.suspect, report.refused)
            raise RequestError(refused or "no worker of the cluster took the request", sent=False)
        logged = await final_report(log, beat_seconds=self._storage.beat_seconds)
        _log.info("adopted %d answers of a worker that is gone", len(logged.items))
        return logged

    async def _give_up(self, request: ChunkRequest, log: ChunkLog) -> None:
        """Let no worker send `request` or report of it any more, and hand over what was reported: it is paid for."""
        with suppress(DiskError):
            await log.close()
        with suppress(DiskError):
            report, _ = await log.read()
            await self._hand_over_items(report, request, log)

    async def _hand_over(self, report: ChunkReport, request: ChunkRequest, log: ChunkLog) -> None:
        """Tell `request` how it ended, and give it its items.

        Raises:
            RequestError: the request failed, or its worker is gone.
            SmartyError: no request like it can succeed.
            BodyFailed: an image could not be read.
        """
        end = report.end
        if end is not None:
            request.bytes_sent += end.bytes_sent
            request.bytes_received += end.bytes_received
            if end.failure is None:
                request.on_response_complete(end.seconds)
        await finish_despite_cancel(self._hand_over_items(report, request, log))
        if end is None:
            raise RequestError("the worker that had sent the request is gone")
        if end.failure is not None:
            error = end.failure.error(sent=end.sent)
            raise await self._error_of_worker(report.suspect, error, request) if report.suspect else error

    async def _error_of_worker(self, address: str, error: Exception, request: ChunkRequest) -> Exception:
        """What to raise for `error` of a worker that could not read an image, or store an output.

        Where this process can, the worker is to blame: it is not used any more, and another one sends the request.
        """
        own = await self._own_failure(error, request)
        if own is not None:
            return own
        assert self._workers is not None  # noqa: S101 - see `send`
        await self._workers.refuse(address, str(error))
        # Of a request that an image broke off, nothing is paid for.
        return RequestError(f"the worker {address} failed: {error}", sent=not isinstance(error, BodyFailed))

    async def _own_failure(self, error: Exception, request: ChunkRequest) -> Exception | None:
        """How this process fails at what a worker could not do; None when it can."""
        try:
            if isinstance(error, BodyFailed):
                async for _ in request.bodies[error.number].read():
                    pass
            else:
                await asyncio.to_thread(self._try_storage, request.size)
        except (PhotoError, StoreError) as own:
            return BodyFailed(error.number, own) if isinstance(error, BodyFailed) else own
        except DiskError as own:
            return own
        return None

    def _try_storage(self, size: int) -> None:
        """Put something into the storage, and remove it; blocks.

        Args:
            size: bytes: as many as the request has, because a disk or quota that is nearly full takes little.

        Raises:
            DiskError: the storage refuses.
        """
        name = f"cluster-{secrets.token_hex(8)}"
        try:
            self._storage.mark(name, size)
        finally:
            with suppress(DiskError, OSError):
                self._storage.clear(name)

    async def _hand_over_items(self, report: ChunkReport, request: ChunkRequest, log: ChunkLog) -> None:
        """Give its items to `request`; the log is removed when all are taken: until then the next run needs it.

        Raises:
            DiskError: outputs cannot be fetched; all others are handed over.
        """
        refused: DiskError | None = None
        unplaced = report.unplaced
        numbers = {item_name(number): number for number in range(len(request.items))}
        bodies, editors = request.bodies, request.editors
        left = len(report.items)
        if not left:
            self._start_removal(log, ())

        def taken() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._start_removal(log, report.items)

        for count, item in enumerate(report.items):
            if count and not count % _ITEMS_PER_TURN:
                await asyncio.sleep(0)
            number = numbers[item.answered.name]
            body, editor = bodies[number], editors[number]
            self._note(item, body, editor)
            if item.answered.name in unplaced:
                try:
                    item = await self._fetched(item, editor)  # noqa: PLW2901
                except DiskError as error:
                    refused = refused or error
                    continue
            received = ReceivedItem(item.answered, self._files_of(item), taken)
            if not request.on_item(received):
                await received.discard()
        if refused is not None:
            raise refused

    async def _fetched(self, item: FinishedItem, editor: OutputEditor | None) -> FinishedItem:
        """`item` with its outputs in temporary files here: the store did not take them, or those of another mode."""
        place = editor.entry.place if isinstance(editor, PhotoOutputs) else ""
        return await self._storage.fetch(item, self._folder, place=place)

    def _start_removal(self, log: ChunkLog, items: Sequence[FinishedItem]) -> None:
        """Remove a log whose answers are all taken, and what is beside it."""
        removal = asyncio.create_task(self._remove(log, items), name="smarty_async log")
        self._removing.add(removal)
        removal.add_done_callback(self._removing.discard)

    async def _remove(self, log: ChunkLog, items: Sequence[FinishedItem]) -> None:
        await self._storage.remove(items)
        await log.remove()

    def _note(self, item: FinishedItem, body: Body, editor: OutputEditor | None) -> None:
        """Note what the worker has learnt of an image and its outputs."""
        if item.digest is not None and isinstance(body, FileBody | ObjectBody):
            body.digest = item.digest
        if editor is not None and item.warnings:
            editor.warnings += [warning for warning in item.warnings if warning not in editor.warnings]

    def _files_of(self, item: FinishedItem) -> dict[Kind, SinkFile]:
        return {
            kind: FinishedFile(self._folder, output, is_stored=item.stored) for kind, output in item.outputs.items()
        }


async def _result(future: Any) -> ChunkReport | None:
    """The result of a task; None when it has none."""
    try:
        report: ChunkReport = await future
    except Exception as error:  # noqa: BLE001 - whatever it is, the chunk's log tells what was done
        _log.debug("a request's task failed: %s: %s", type(error).__name__, error)
        return None
    return report
