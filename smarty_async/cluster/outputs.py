"""Outputs that workers make durable: what they need for it, and what they hand back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smarty_async.archive.entries import PhotoEntry, StoredOutput
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.temp_file import TempFile
from smarty_async.results import Kind

__all__ = ["FinishedFile", "PhotoOutputs"]


class PhotoOutputs:
    """What makes the outputs of a photo durable elsewhere than here; an `OutputEditor`.

    Args:
        entry: the photo.
        metadata: gives the outputs the photo's metadata; None for nothing.
        kinds: the kinds that are kept; all when empty.
    """

    def __init__(self, entry: PhotoEntry, metadata: MetadataCopier | None, kinds: frozenset[Kind]) -> None:
        self.entry = entry
        self.warnings: list[str] = [] if metadata is None else metadata.warnings
        self.kinds = kinds
        self._metadata = metadata

    def edited_start(self, start: Sequence[bytes]) -> None:
        """Outputs are edited when they are complete."""

    def copy_to(self, output: str) -> int:
        """Give the file `output` the photo's metadata; its size in bytes then; blocks.

        Raises:
            DiskError: the disk refuses.
        """
        return Path(output).stat().st_size if self._metadata is None else self._metadata.copy_to(output)


class FinishedFile(TempFile):
    """An output that a worker has finished: it has its metadata, and is durable.

    Args:
        folder: the folder it is in.
        output: what is known of it.
        is_stored: whether it is at its place already, and no temporary file any more.
    """

    is_finished = True

    def __init__(self, folder: str, output: StoredOutput, *, is_stored: bool) -> None:
        super().__init__(folder, output.temporary)
        self.is_stored = is_stored
        self._output = output

    def stored(self, size: int) -> StoredOutput:  # noqa: ARG002 - the worker has noted its size
        """What the worker noted of it."""
        return self._output

    async def discard(self) -> None:
        """Remove the temporary file; what is at its place is the photo's output, and stays."""
        if not self.is_stored:
            await super().discard()
