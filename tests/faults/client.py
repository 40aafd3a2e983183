"""The program with short waits: ``python client.py improve …`` is ``python -m smarty_async improve …`` otherwise."""

from __future__ import annotations

from functools import partial

from smarty_async import options
from smarty_async.cli import main

_SHORT = {"first_wait": 0.01, "longest_wait": 0.05, "longest_retry_after": 0.05, "give_up_before_first": 4.0}

if __name__ == "__main__":
    options.Retries = partial(options.Retries, **_SHORT)  # type: ignore[assignment,misc,arg-type]
    main()
