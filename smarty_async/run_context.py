"""What the photos of one run share: its options, its rooms, and what may still be spent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from tenacity import AsyncRetrying

from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.duplicates import Duplicates
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.hooks import Hooks
from smarty_async.options import ArchiveOptions, Limits, ModeSpec, Retries
from smarty_async.results import InFlight, Progress
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.request import BatchGroup, ImageBudget, Item, Reply, RequestSender, Stopped
from smarty_async.transport.retry import Sleep, item_retrying

__all__ = ["RunContext", "Spending"]


class Spending:
    """How much one run may still send.

    Args:
        progress: the run's counters, which say when a limit was reached.
        photos: photos, at most; None for no limit.

    Attributes:
        images: the budget that requests are paid from.
    """

    def __init__(self, progress: Progress, *, photos: int | None) -> None:
        self._progress = progress
        self._photos = ImageBudget(photos)
        self.images = ImageBudget()

    def limit_images(self, images: int | None) -> None:
        """Pay for at most `images` from now on; a photo that is sent again counts again. None for no limit."""
        self.images.limit(images)

    def take_photo(self) -> None:
        """Count one photo that is about to be sent.

        Raises:
            Stopped: the limit on photos is reached.
        """
        if not self._photos.take(1):
            self.note_limit()
            raise Stopped

    def note_limit(self) -> None:
        """Note that a photo is left because of a limit."""
        self._progress.limit_reached = True


class RunContext(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What the photos of one run share.

    Attributes:
        options: what the run is to do.
        limits: what one request may carry.
        retries: how long to go on asking.
        source: where photos come from.
        directory: where outputs go.
        journal: what is known of every photo.
        committer: makes answers durable.
        duplicates: finds photos with the same content.
        dispatcher: sends items to the service.
        hooks: called with what happens to the run's requests and photos.
        progress: the run's counters.
        spending: what may still be sent.
        groups: the batch group of each combination of mode specs, made when it is first needed.
        in_flight: items that wait for their reply, and the photos they are of.
        probing: probes that have not ended.
        stopping: set when nothing new is sent.
        sleep: waits, in seconds.
        sender: what requests go through; None for the client's own connection.
        prober: looks into photos elsewhere; None to do it here.
    """

    options: ArchiveOptions
    limits: Limits
    retries: Retries
    source: PhotoSource
    directory: OutputStore
    journal: Journal
    committer: OutputCommitter
    duplicates: Duplicates
    dispatcher: Dispatcher
    hooks: Hooks
    progress: Progress
    spending: Spending
    groups: dict[tuple[ModeSpec, ...], BatchGroup]
    in_flight: dict[Item, InFlight]
    probing: set[asyncio.Future[Probed]]
    stopping: asyncio.Event
    sleep: Sleep
    sender: RequestSender | None = None
    prober: Callable[[PhotoFile], Awaitable[Probed]] | None = None

    def group(self, specs: tuple[ModeSpec, ...]) -> BatchGroup:
        """The batch group of items that need `specs`."""
        if specs not in self.groups:
            self.groups[specs] = BatchGroup(
                specs,
                self.directory,
                self.hooks,
                self.spending.images,
                request_log=self.journal,
                source=self.spending,
                sender=self.sender,
            )
        return self.groups[specs]

    async def probe(self, file: PhotoFile) -> Probed:
        """Look into `file`; raises what `PhotoSource.probe` does.

        Raises:
            Stopped: the run stops: photos that are not probed yet are left for another run.
        """
        if self.stopping.is_set():
            raise Stopped
        if self.prober is not None:
            probing = asyncio.ensure_future(self.prober(file))
        else:
            probing = asyncio.ensure_future(self.source.probe(file, limits=self.limits, fit=self.options.fit))
        self.probing.add(probing)
        try:
            return await probing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.stopping.is_set() and probing.cancelled() and not (task and task.cancelling()):
                raise Stopped from None
            raise
        finally:
            self.probing.discard(probing)

    async def submit(self, item: Item, *, photo: InFlight) -> Reply:
        """Send `item` of `photo`, unless the run is stopping; raises what `Dispatcher.submit` does.

        Raises:
            Stopped: the run sends nothing more.
        """
        if self.stopping.is_set():
            raise Stopped
        self.in_flight[item] = photo
        try:
            return await self.dispatcher.submit(item)
        except Stopped:
            if not self.stopping.is_set():
                self.spending.note_limit()
            raise
        finally:
            self.in_flight.pop(item, None)

    async def backoff(self, seconds: float) -> None:
        """Wait before a photo is sent again; ends early when the run is stopping."""
        waits = [asyncio.ensure_future(self.sleep(seconds)), asyncio.ensure_future(self.stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def retry_policy(self) -> AsyncRetrying:
        """When a photo with a temporary error is sent again."""
        return item_retrying(
            self.retries,
            sleep=partial(self.dispatcher.backoff, sleep=self.backoff, source=self.spending),
            hooks=self.hooks,
        )
