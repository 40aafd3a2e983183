"""Runs with photos and outputs in the bucket of a test's S3 server, and looks at what they left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.results import Result
from smarty_async.store_address import StoreAddress
from support.archives import IMPROVED, client, output_of, photo
from support.fake_service import FakeService, expected
from support.s3_server import S3Server

__all__ = ["StorePlace"]


class StorePlace:
    """A prefix of a bucket with photos below ``scans``, and outputs below ``restored``.

    Attributes:
        s3: the server.
        scans: the address of the photos.
        out: the address of the outputs.
        state: the folder of the state.
        warnings: those of the last run.
    """

    def __init__(self, s3: S3Server, address: str, state: Path) -> None:
        self.s3 = s3
        self.scans = f"{address}/scans"
        self.out = f"{address}/restored"
        self.state = state
        self.warnings: list[str] = []
        self._prefix = StoreAddress.parse(address).prefix

    def fill(self, *names: str) -> dict[str, bytes]:
        """Put a photo of its own under each of `names`, and give their bytes by name."""
        photos = {name: photo(name) for name in names}
        self.s3.put(photos, prefix=f"{self._prefix}/scans/")
        return photos

    def outputs(self, state: Path | None = None) -> OutputBucket:
        """The outputs, for a run with its state in `state`."""
        return OutputBucket(StoreAddress.parse(self.out), options=self.s3.options, state=state or self.state)

    async def restore(
        self, service: FakeService, source: Any = None, out: Any = None, *, state: Path | None = None, **choices: Any
    ) -> list[Result]:
        """One whole run."""
        choices |= {} if isinstance(out, Path) else {"state": state or self.state}
        limits, concurrency = choices.pop("limits", None), choices.pop("concurrency", 8)
        async with client(service, limits=limits, concurrency=concurrency) as open_client:
            run = open_client.improve_archive(
                source or self.scans, out=out or self.out, store_options=self.s3.options, **choices
            )
            results = [result async for result in run]
            self.warnings = run.progress.warnings
        return results

    def tree(self) -> dict[str, bytes]:
        """The outputs, by kind and place."""
        found = self.s3.objects(f"{self._prefix}/restored/")
        return {key: data for key, data in found.items() if not key.startswith((".smarty-async/", "results/"))}

    def segments(self) -> list[str]:
        """The names of the log's segments."""
        return sorted(self.s3.objects(f"{self._prefix}/restored/.smarty-async/log/"))

    def lines(self) -> list[dict[str, Any]]:
        """The list of results."""
        parts = sorted(self.s3.objects(f"{self._prefix}/restored/results/").items())
        return [json.loads(line) for _, part in parts for line in part.splitlines()]

    def put_output(self, key: str, data: bytes) -> None:
        """Put something that no run made among the outputs."""
        self.s3.put({key: data}, prefix=f"{self._prefix}/restored/")

    def remove_output(self, key: str) -> None:
        bucket = StoreAddress.parse(self.out).bucket
        self.s3.client().delete_object(Bucket=bucket, Key=f"{self._prefix}/restored/{key}")

    def assert_right(self, photos: dict[str, bytes], *, kinds: Iterable[str] = IMPROVED) -> None:
        """Every output of `photos` is there, each its own photo's byte for byte, and nothing else is."""
        right = {f"{kind}/{output_of(name)}": expected(kind, data) for name, data in photos.items() for kind in kinds}
        assert self.tree() == right
