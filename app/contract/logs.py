"""Log records as lines for people or as JSON objects, with the request, the run and the worker that they concern."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

FIELDS: Final = ("request", "run", "worker")
"""What a record may concern. ``extra`` of a logging call names it, otherwise `concerning` and `set_concern` do."""
_CONCERNS: ContextVar[Mapping[str, str]] = ContextVar("concerns", default=MappingProxyType({}))
_of_process: dict[str, str] = {}


def set_concern(**names: str) -> None:
    """Name what all later records of this task or thread concern."""
    _CONCERNS.set({**_CONCERNS.get(), **names})


def set_process_concern(**names: str) -> None:
    """Name what all later records of this process concern."""
    _of_process.update(names)


@contextmanager
def concerning(**names: str) -> Iterator[None]:
    """Name what the records within concern."""
    token = _CONCERNS.set({**_CONCERNS.get(), **names})
    try:
        yield
    finally:
        _CONCERNS.reset(token)


def concern(name: str) -> str:
    """What records written here concern; empty if nothing is named."""
    return _CONCERNS.get().get(name) or _of_process.get(name, "")


class LineFormatter(logging.Formatter):
    """Time (UTC), level, logger and message, for people."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One JSON object: time (UTC), level, logger, message, whichever of FIELDS are known, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in FIELDS:
            value = getattr(record, name, None) or concern(name)
            if value:
                line[name] = str(value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        # Escaped, so that half a character of a broken name does not prevent the line.
        return json.dumps(line, ensure_ascii=True)


def formatter(log_format: str) -> logging.Formatter:
    """The formatter of RUNYARD_LOG_FORMAT."""
    return JsonFormatter() if log_format == "json" else LineFormatter()
