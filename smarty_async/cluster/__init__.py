"""The same run with workers: requests are sent by the workers of a Dask cluster.

The caller scans, forms chunks, holds the token, the limits and the journal, and sends each chunk as one task. A worker
sends it to the service, writes the outputs into the temporary files of the output folder, and reports; it keeps no
state. Nothing but this package imports ``distributed`` (the extra `cluster`). What reads the answers that workers have
left (`log_reports`, and what it needs) does without: a run without workers takes them over, too.
"""

from __future__ import annotations

from importlib.util import find_spec

from smarty_async.errors import MissingExtra

__all__ = ["require_distributed"]


def require_distributed() -> None:
    """Make sure that the extra is installed.

    Raises:
        MissingExtra: it is not.
    """
    if find_spec("distributed") is None:
        raise MissingExtra("dask.distributed, which spreads the work over several machines,", "cluster")
