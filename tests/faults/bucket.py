"""The outputs of a schedule in a bucket: what is there is copied into the folder that the invariants look at."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from support.s3_server import BUCKET, S3Server

from smarty_async.results import KINDS

_STATE = ".smarty-async"
_ESCAPED = re.compile("[\x01-\x1f\x7f\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})")
_OF_THE_LOG = ("log", "address")
"""What the state folder of a bucket holds besides what that of a folder does."""


class FaultBucket:
    """Outputs at ``s3://…/SEED``, with the state in the folder ``out/.smarty-async``.

    Args:
        s3: the server.
        seed: of the schedule.
        out: the folder that the invariants look at.
    """

    def __init__(self, s3: S3Server, seed: int, out: Path) -> None:
        self._s3 = s3
        self._prefix = f"{seed}"
        self._out = out

    @property
    def arguments(self) -> list[str]:
        """Where outputs go, for the program."""
        return ["--out", f"s3://{BUCKET}/{self._prefix}", "--state", str(self._out / _STATE)]

    @property
    def environment(self) -> dict[str, str]:
        """The account of the store."""
        return self._s3.environment

    @staticmethod
    def spelled(path: str) -> str:
        """A path as a key has it: what is no UTF-8, control characters, and what would read as an escape, escaped."""
        return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])), path)

    def copy(self) -> None:
        """Copy what is in the bucket into the folder, as a run into a folder would have left it."""
        for kind in KINDS:
            shutil.rmtree(self._out / kind, ignore_errors=True)
        results: list[bytes] = []
        for key, data in sorted(self._s3.objects(f"{self._prefix}/").items()):
            if key.startswith("results/"):
                results.append(data)
            elif not key.startswith(_STATE):
                path = self._out / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        if self._out.exists():
            (self._out / "results.jsonl").write_bytes(b"".join(results))

    def forget_state(self) -> None:
        """Remove what is only of a bucket from the state folder, for the last look at it."""
        for name in _OF_THE_LOG:
            path = self._out / _STATE / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
