"""httpx, json and base64, with gather and a semaphore."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks.contestants import PATH, QUERY, Job, chunks, outputs
from benchmarks.contestants.ticker import run_ticking


def run(job: Job) -> list[float] | None:
    """Do the job."""
    return run_ticking(_restore(job), ticking=job.ticking)


async def _restore(job: Job) -> None:
    permits = asyncio.Semaphore(job.concurrency)
    verify = ssl.create_default_context(cafile=job.trusted) if job.trusted else True
    async with httpx.AsyncClient(timeout=None, verify=verify) as client:  # noqa: S113 - answers take minutes

        async def send(chunk: list[Path]) -> None:
            async with permits:
                with ExitStack() as opened:
                    files = {
                        f"file_{number}": (photo.name, opened.enter_context(photo.open("rb")), "image/jpeg")
                        for number, photo in enumerate(chunk)
                    }
                    meta = {"mode": ["improve"], "images": [{"name": name} for name in files]}
                    data = {"meta": json.dumps(meta)}
                    response = await client.post(job.url + PATH, params=QUERY, data=data, files=files)
            for place, text in outputs(response.json(), chunk, job):
                await asyncio.to_thread(place.write_bytes, base64.b64decode(text))

        await asyncio.gather(*map(send, chunks(job.photos)))
