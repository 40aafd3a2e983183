"""CPU time and memory of listing the photos of a bucket: python benchmarks/listing.py [--keys 100000].

The server is a thread of this process, and answers with pages made beforehand; the listing has a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 1000


def pages(keys: int) -> list[bytes]:
    """The answers to LIST requests over so many keys."""
    made: list[bytes] = []
    for start in range(0, keys, PAGE):
        last = start + PAGE >= keys
        contents = "".join(
            f"<Contents><Key>scans/{number // 1000:04}/IMG_{number:08}.jpg</Key>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{number:032x}&quot;</ETag>"
            f"<Size>{1_000_000 + number}</Size></Contents>"
            for number in range(start, min(start + PAGE, keys))
        )
        token = "" if last else f"<NextContinuationToken>{start // PAGE + 1}</NextContinuationToken>"
        truncated = "false" if last else "true"
        made.append(
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{token}{contents}</ListBucketResult>".encode()
        )
    return made


def serve(keys: int) -> str:
    """Start the server; its address."""
    answers = pages(keys)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            answer = answers[int(query.get("continuation-token", ["0"])[0])]
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def list_photos(endpoint: str) -> None:
    """List everything, and print what it took."""
    from smarty_async.archive.sources.object_store import BucketSource  # noqa: PLC0415 - only where it is measured
    from smarty_async.store_address import StoreAddress  # noqa: PLC0415

    options = {"endpoint": endpoint, "access_key_id": "x", "secret_access_key": "x", "region": "us-east-1"}
    source = BucketSource(StoreAddress("s3", "photos", "scans"), options=options)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    count, first = 0, 0.0
    for batch in source.scan():
        first = first or time.perf_counter() - began
        count += len(batch)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{count:,} keys in {time.perf_counter() - began:.1f} s, the first after {first * 1000:.0f} ms; "
        f"{cpu / count * 1e6:.1f} µs of CPU a key; memory {before.ru_maxrss / 1024:.0f} MiB before, "
        f"{after.ru_maxrss / 1024:.0f} MiB at most"
    )


def main() -> None:
    """Measure, or be what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--list", metavar="ENDPOINT", help=argparse.SUPPRESS)
    choices = parser.parse_args()
    if choices.list:
        list_photos(choices.list)
    else:
        subprocess.run([sys.executable, __file__, "--list", serve(choices.keys)], check=True)  # noqa: S603 - itself


if __name__ == "__main__":
    main()
