"""One `improve`, as it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from smarty_async.archive.sources.photo_list import ListFile, read_list
from smarty_async.cli.account import Account
from smarty_async.errors import OptionsError
from smarty_async.options import Limits

__all__ = ["Job", "View"]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown, and how.

    Attributes:
        json: result lines on stdout.
        quiet: problems only.
        verbose: one line a photo.
        bar: a moving bar where there is a terminal for it.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    bar: bool = True


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        sources: folders, photos, patterns.
        from_file: a list of photos, ``-`` for stdin, None when there is none.
        out: the output folder.
        account: whom to send to.
        metrics_port: where counters are told; None for nowhere.
        view: what is shown.
        limits: what one request may carry.
        choices: the other keywords of `SmartyClient.improve_archive`.
        sending: the other keywords of `SmartyClient`.
    """

    sources: tuple[Path, ...]
    from_file: str | None
    out: Path
    account: Account
    metrics_port: int | None
    view: View
    limits: Limits
    choices: dict[str, Any]
    sending: dict[str, Any]

    @property
    def nothing_found(self) -> OptionsError:
        """Most likely a slip: a folder too high or too low, or a pattern that leaves everything out."""
        places = [repr(str(source)) for source in self.sources]
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
        elif Path(self.from_file).is_file():
            yield ListFile(self.from_file)
        else:  # a pipe can be read only once
            try:
                file = Path(self.from_file).open("rb")  # noqa: SIM115 - closed below
            except OSError as error:
                raise OptionsError(f"cannot read the list {self.from_file!r}: {error.strerror}") from None
            with file:
                yield read_list(file)
