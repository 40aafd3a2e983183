"""``--log-file`` and ``--log-format``: Python's logging under ``smarty_async``, written to a file without secrets."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from smarty_async.errors import DiskError
from smarty_async.redaction import redactor

__all__ = ["LogFormat", "logging_to"]

LogFormat = Literal["text", "json"]
"""How a log file is written."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every log record has; the others are its `extra` fields."""


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return redactor.redact(super().format(record))


class _JsonFormatter(_TextFormatter):
    """One JSON object a line: time, level, logger, message, the record's `extra` fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        # Text by text: in JSON an escape could hide a part of a secret.
        redacted = {name: redactor.redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        return msgspec.json.encode(redacted, enc_hook=str).decode()


@contextmanager
def logging_to(path: Path | None, *, form: LogFormat = "text") -> Generator[None, None, None]:
    """Append all log records of this package, and Python's warnings, to `path`, if there is one, during the block.

    Raises:
        DiskError: it cannot be opened.
    """
    if path is None:
        yield
        return
    loggers = [logging.getLogger(name) for name in ("smarty_async", "py.warnings")]
    levels = [logger.level for logger in loggers]
    handler = _opened(path, form)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            logging.captureWarnings(capture=True)
            try:
                yield
            finally:
                logging.captureWarnings(capture=False)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        handler.close()


def _opened(path: Path, form: LogFormat) -> logging.Handler:
    try:
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise DiskError.of(error, path, "write the log to") from None
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    return handler


class _File(logging.FileHandler):
    """A log file whose disk may become full: no reason to stop, and nothing to print."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()
