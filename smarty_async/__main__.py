"""``python -m smarty_async``: the same program as ``smarty-async``."""

from __future__ import annotations

from smarty_async.cli import main

if __name__ == "__main__":
    main()
