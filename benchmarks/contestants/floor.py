"""The floor: libcurl up and down, pybase64, files. It understands no JSON, keeps no journal, checks nothing.

Whatever stands between two quotes and is longer than any key is taken for base64, and the files are numbered.
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pybase64
import pycurl

from benchmarks.contestants import PATH, QUERY, Job, chunks

_BUFFER = 512 * 1024  # libcurl's largest; its own default is 16 KiB
_LONGEST_KEY = 64


class _Sink:
    """Cuts an answer at its quotes; each long string is decoded into a file when it is whole."""

    def __init__(self, out: Path, numbers: count[int]) -> None:
        self._out = out
        self._numbers = numbers
        self._inside = False
        self._text = bytearray()

    def take(self, data: bytes) -> None:
        view, start = memoryview(data), 0
        while (quote := data.find(b'"', start)) >= 0:
            if self._inside:
                self._text += view[start:quote]
                if len(self._text) > _LONGEST_KEY:
                    with (self._out / f"{next(self._numbers)}.jpg").open("wb", buffering=0) as file:
                        file.write(pybase64.b64decode(self._text, validate=True))
                self._text.clear()
            self._inside, start = not self._inside, quote + 1
        if self._inside:
            self._text += view[start:]


def run(job: Job) -> None:
    """Do the job: a thread a request, each with a handle of its own."""
    own, numbers = threading.local(), count()
    query = "&".join(f"{name}={value}" for name, value in QUERY.items())
    job.out.mkdir(parents=True, exist_ok=True)

    def send(chunk: list[Path]) -> None:
        if not hasattr(own, "curl"):
            own.curl = pycurl.Curl()
        curl = own.curl
        sink = _Sink(job.out, numbers)
        names = [f"file_{number}" for number in range(len(chunk))]
        meta = json.dumps({"mode": ["improve"], "images": [{"name": name} for name in names]})
        form = [
            (name, (pycurl.FORM_FILE, str(photo), pycurl.FORM_CONTENTTYPE, "image/jpeg"))
            for name, photo in zip(names, chunk, strict=True)
        ]
        curl.setopt(pycurl.URL, f"{job.url}{PATH}?{query}")
        curl.setopt(pycurl.HTTPPOST, [*form, ("meta", meta)])
        curl.setopt(pycurl.HTTPHEADER, ["Expect:"])
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.NOSIGNAL, 1)
        if job.trusted:
            curl.setopt(pycurl.CAINFO, job.trusted)
        curl.setopt(pycurl.WRITEFUNCTION, sink.take)
        curl.perform()

    with ThreadPoolExecutor(job.concurrency) as threads:
        for _ in threads.map(send, chunks(job.photos)):
            pass
