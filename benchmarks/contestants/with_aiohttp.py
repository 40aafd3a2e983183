"""aiohttp, json and base64, with gather and a semaphore."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from benchmarks.contestants import PATH, QUERY, Job, chunks, outputs
from benchmarks.contestants.ticker import run_ticking


def run(job: Job) -> list[float] | None:
    """Do the job."""
    return run_ticking(_restore(job), ticking=job.ticking)


async def _restore(job: Job) -> None:
    permits = asyncio.Semaphore(job.concurrency)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def send(chunk: list[Path]) -> None:
            async with permits:
                with ExitStack() as files:
                    form = aiohttp.FormData()
                    for number, photo in enumerate(chunk):
                        file = files.enter_context(photo.open("rb"))
                        form.add_field(f"file_{number}", file, filename=photo.name, content_type="image/jpeg")
                    meta = {"mode": ["improve"], "images": [{"name": f"file_{n}"} for n in range(len(chunk))]}
                    form.add_field("meta", json.dumps(meta))
                    async with session.post(job.url + PATH, params=QUERY, data=form) as response:
                        answer = await response.json()
            for place, text in outputs(answer, chunk, job):
                await asyncio.to_thread(place.write_bytes, base64.b64decode(text))

        await asyncio.gather(*map(send, chunks(job.photos)))
