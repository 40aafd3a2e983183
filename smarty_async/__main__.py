"""``smarty-async`` and ``python -m smarty_async``: the same program."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the program; Ctrl-C while it is still being loaded ends it with no traceback, and with the usual status."""
    try:
        from smarty_async.cli import main as run  # noqa: PLC0415 - it is what takes its time
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
