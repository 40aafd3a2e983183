"""The options of one `improve` command."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from smarty_async.account import Account
from smarty_async.archive.sources.scan_roots import ListFile, read_list
from smarty_async.errors import OptionsError
from smarty_async.local.engine import best_engine
from smarty_async.local.memory import largest_output, largest_photo
from smarty_async.options import ArchiveKeywords, Limits, Retries, Timeouts
from smarty_async.report.estimate import Unit, pace_key
from smarty_async.results import KINDS, Kind
from smarty_async.store_address import local_path

__all__ = [
    "ClientOptions",
    "ClusterOptions",
    "DisplayOptions",
    "ImproveOptions",
    "default_concurrency",
    "default_out",
    "kinds",
    "limits_for",
]

_LOCAL_IMAGES: Final = 2
"""Photos in one request to the embedded service: a request once begun is finished, so Ctrl-C waits for all of them."""
_LOCAL_REQUEST_BYTES: Final = 1_000_000_000
_REQUESTS: Final = 8
"""Requests that one process has open at once."""
_CLUSTER_REQUESTS: Final = 64
"""Requests that a cluster has open at once."""


class DisplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is displayed, and how."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    bar: bool = True


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `SmartyClient` that have nothing to do with the account.

    Attributes:
        path: the method's path.
        concurrency: requests open at once, at most.
        rate: requests a second, at most; None for no limit.
        limits: what one request may carry.
        retries: how long to go on asking.
        timeouts: when to stop waiting.
    """

    path: str
    concurrency: int
    rate: float | None
    limits: Limits
    retries: Retries
    timeouts: Timeouts


class ClusterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends the requests in place of this process.

    Attributes:
        scheduler: the address of a Dask scheduler.
        workers: or how many processes on this machine.
    """

    scheduler: str | None = None
    workers: int | None = None

    @classmethod
    def of(cls, *, scheduler: str | None, workers: int | None, local: bool) -> ClusterOptions | None:
        """The options of a command; None when this process sends the requests.

        Args:
            scheduler: the address of a Dask scheduler.
            workers: or how many processes on this machine.
            local: whether the embedded service is used.

        Raises:
            OptionsError: they do not go together.
        """
        if scheduler is None and workers is None:
            return None
        if scheduler is not None and workers is not None:
            raise OptionsError("--scheduler and --workers exclude each other: leave one of them out")
        if workers is not None and workers < 1:
            raise OptionsError(f"--workers must be at least 1, not {workers}")
        if scheduler is not None and local:
            raise OptionsError(
                "--scheduler needs an account or --base-url: no other machine reaches this one's service"
            )
        return cls(scheduler=scheduler, workers=workers)


class ImproveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one command is to do.

    Attributes:
        sources: folders, photos, patterns, addresses of stores.
        from_file: a list of photos, ``-`` for stdin, None when there is none.
        out: the output folder, or its address in a store.
        account: the account, or the embedded service.
        engine_options: options of `serve` for the embedded service.
        metrics_port: the port of the Prometheus metrics; None for none.
        cluster: who sends the requests; None for this process.
        display: what is displayed.
        client: options of the client.
        keywords: the other keywords of `SmartyClient.improve_archive`.
    """

    sources: tuple[str, ...]
    from_file: str | None
    out: str
    account: Account
    engine_options: tuple[str, ...] = ()
    metrics_port: int | None
    cluster: ClusterOptions | None = None
    display: DisplayOptions
    client: ClientOptions
    keywords: ArchiveKeywords

    @property
    def unit(self) -> Unit:
        """What makes photos take long: their pixels on this machine, their bytes on the way to a service."""
        return "pixels" if self.account.local else "bytes"

    @property
    def pace_key(self) -> str:
        """The key of this command's pace among those of other commands."""
        service = f"embedded:{best_engine()}" if self.account.local else str(self.account.base_url)
        settings = (*self.keywords.get("modes", ()), self.keywords.get("rfactor") or 1)
        return pace_key(service, settings)

    @property
    def nothing_found(self) -> OptionsError:
        """The error when there is not a single photo: most likely a wrong folder or pattern."""
        places = [repr(source) for source in self.sources]
        if self.from_file is not None:
            places.append("the list")
        return OptionsError(f"no photos found in {', '.join(places)}: check the place, --include and --exclude")

    @contextmanager
    def listed(self) -> Generator[Iterable[str], None, None]:
        """The paths of ``--from-file``; open while this lasts.

        Raises:
            OptionsError: the list cannot be read.
        """
        if self.from_file is None:
            yield ()
        elif self.from_file == "-":
            yield read_list(sys.stdin.buffer)
        elif (path := Path(local_path(self.from_file, option="--from-file"))).is_file():
            yield ListFile(path)
        else:  # a pipe can be read only once
            try:
                file = path.open("rb")
            except OSError as error:
                raise OptionsError(f"cannot read the list {self.from_file!r}: {error.strerror}") from None
            with file:
                yield read_list(file)


def default_concurrency(*, local: bool, scheduler: bool = False, workers: int | None = None) -> int:
    """Requests open at once: a service's own choice, or as many as keep every CPU of this machine at work.

    Args:
        local: whether the embedded service is used.
        scheduler: whether the workers of a cluster send the requests, whose threads are the bound then.
        workers: how many processes on this machine send them; None for this one.
    """
    if local:
        return (os.cpu_count() or 1) // _LOCAL_IMAGES + 1
    return _CLUSTER_REQUESTS if scheduler else _REQUESTS * (workers or 1)


def limits_for(*, local: bool, enlarged: int = 1, **given: int | None) -> Limits:
    """The limits of one request: those that were `given`, and the endpoint's own for the others.

    Args:
        local: whether the embedded service is used, which takes what the memory of this machine bears.
        enlarged: how many times the sides of a photo become longer.
        **given: fields of `Limits`; None for those that were not given.
    """
    defaults: dict[str, Any] = (
        {
            "max_images": _LOCAL_IMAGES,
            "max_image_bytes": None,
            "max_dimensions": None,
            "max_pixels": min(largest_photo(), largest_output() // enlarged**2),
            "max_request_bytes": _LOCAL_REQUEST_BYTES,
        }
        if local
        else {}
    )
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return Limits(**{**defaults, **chosen})


def default_out(sources: tuple[str, ...]) -> str:
    """The output folder when none is given: ``<source>-restored`` beside the only source.

    Raises:
        OptionsError: there are several sources, none, a pattern, or one that is not on the disk or may not be read.
    """
    try:
        is_there = len(sources) == 1 and Path(sources[0]).exists()
    except OSError as error:
        raise OptionsError(f"cannot read {sources[0]!r}: {error.strerror}") from None
    if not is_there:
        if len(sources) == 1 and not (glob.has_magic(sources[0]) or "://" in sources[0]):
            raise OptionsError(f"there is no {sources[0]!r}: check the path")
        raise OptionsError("say where the results go: --out DIR (it can only be left out with one folder or photo)")
    source = Path(sources[0]).absolute()
    if not source.name:
        raise OptionsError(f"say where the results go: --out DIR (there is nothing beside {sources[0]!r})")
    return str(source.with_name(f"{source.stem if source.is_file() else source.name}-restored"))


def kinds(text: str | None) -> tuple[Kind, ...]:
    """The kinds of output in `text`, parted by commas; `ArchiveOptions` checks them.

    Raises:
        OptionsError: there is none between the commas.
    """
    if not text:
        return ()
    named = tuple(filter(None, text.replace(" ", "").split(",")))
    if not named:
        raise OptionsError(f"--outputs names no kind of result: choose from {', '.join(KINDS)}, or leave it out")
    return cast("tuple[Kind, ...]", named)
