"""Starting and asking `benchmarks.server`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Service", "certificate", "service"]


class Service:
    """A server that runs.

    Attributes:
        url: its address, without a path.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def stats(self, *, forget: bool = True) -> dict[str, Any]:
        """What happened since it was last forgotten: requests, images, first and last (monotonic s), cpu (s).

        And of photos with fates of their own (`tail`, `temporary`): seconds each takes, times it came.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("forget\n" if forget else "look\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


@contextmanager
def service(
    *,
    output_bytes: int = 1_000,
    kinds: tuple[str, ...] = ("improved", "colorized_improved", "colorized"),
    per_request: float = 0.0,
    per_image: float = 0.0,
    tail: float = 0.0,
    temporary: float = 0.0,
    permits: int = 0,
    seed: int = 1,
    tls: Path | None = None,
) -> Generator[Service, None, None]:
    """Run the server while the block lasts.

    Args:
        output_bytes: of each output.
        kinds: the outputs of each photo.
        per_request: seconds every request takes.
        per_image: seconds each of its images adds; their mean when there is a `tail`.
        tail: shape of the Pareto distribution the images' seconds are drawn from; 0 for none.
        temporary: share of items answered with status 2.
        permits: requests worked on at once; 0 for no bound.
        seed: of what is drawn.
        tls: a certificate with its key; None for plain http.
    """
    options = {
        "output_bytes": output_bytes,
        "kinds": kinds,
        "per_request": per_request,
        "per_image": per_image,
        "tail": tail,
        "temporary": temporary,
        "slots": permits,
        "seed": seed,
        "certificate": str(tls) if tls else None,
    }
    command = [sys.executable, "-m", "benchmarks.server", json.dumps(options)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stdin
    assert process.stdout
    try:
        port = int(process.stdout.readline())
        yield Service(process, f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}")
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost with its key, and the authority to be trusted for it."""
    import trustme  # noqa: PLC0415 - only where TLS is measured

    authority, chain, trusted = trustme.CA(), folder / "server.pem", folder / "trusted.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(trusted)
    return chain, trusted
