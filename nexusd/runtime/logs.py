"""Logging: structlog to stderr, one line an event, never a secret, never in the daemon's way.

`app.py` and the commands call `logs_configured` once, around everything. Every other room writes
`log = structlog.get_logger()` and `log.info("past_tense_event", field=…)`. What the libraries log (aiohttp,
APScheduler, Alembic, warnings) comes through here from WARNING up.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from nexusd.core.text import printable
from nexusd.runtime.logs_text import cleaned, json_line
from nexusd.runtime.logs_writer import LogWriter, sink_of

Format = Literal["auto", "console", "json"]


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`format` auto: console on a terminal, JSON otherwise. `level`: debug, info, warning or error."""

    level: str = "info"
    format: Format = "auto"


@contextmanager
def logs_configured(options: LogOptions, stream: TextIO | None = None) -> Iterator[LogWriter]:
    """Log to `stream` (default: stderr) until the block ends; what is queued is written before it returns."""
    target = stream if stream is not None else sys.stderr
    render = _renderer(options, target)
    writer = LogWriter(sink_of(target), lambda count: render(_dropped_event(count)))
    handler = _FromStandardLibrary()
    root = logging.getLogger()
    level_before, config_before = root.level, structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_annotations(), _Write(render, writer)],
        wrapper_class=_filtered(options.level),
        logger_factory=lambda *_: None,
        cache_logger_on_first_use=False,
    )
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    try:
        yield writer
    finally:
        logging.captureWarnings(capture=False)
        root.setLevel(level_before)
        root.removeHandler(handler)
        structlog.configure(**config_before)
        writer.close()


def set_level(level: str) -> None:
    """Another level from now on (a reload). Raises `KeyError` for one that does not exist."""
    structlog.configure(wrapper_class=_filtered(level))


def _filtered(level: str) -> type[Any]:
    return structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])


def _annotations() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


class _Render:
    """An event's fields to text: one line, but for a traceback on the console, which is indented below it."""

    def __init__(self, console: structlog.dev.ConsoleRenderer | None) -> None:
        self._console = console

    def __call__(self, event: EventDict) -> str:
        safe = cast("EventDict", cleaned(event))
        if self._console is None:
            return json_line(safe)
        trace = str(safe.pop("exception", ""))
        shown = {printable(key): value for key, value in safe.items()}  # the values are shown by repr()
        line = str(self._console(None, "", {**shown, "event": printable(str(safe.get("event", "")))}))
        return "\n".join([line, *(f"    {printable(part)}" for part in trace.split("\n") if part)])


def _renderer(options: LogOptions, target: TextIO) -> _Render:
    terminal = target.isatty()
    if options.format == "json" or (options.format == "auto" and not terminal):
        return _Render(None)
    colors = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return _Render(structlog.dev.ConsoleRenderer(colors=colors, repr_native_str=True, pad_event_to=0))


class _Write:
    """The last processor: renders, queues, and ends the chain."""

    def __init__(self, render: _Render, writer: LogWriter) -> None:
        self._render = render
        self._writer = writer

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        self._writer.write(self._render(event))
        raise structlog.DropEvent


def _dropped_event(count: int) -> EventDict:
    event: EventDict = {"event": "log_events_dropped", "dropped_log_events": count}
    for annotate in _annotations():
        event = cast("EventDict", annotate(None, "warning", event))
    return event


class _FromStandardLibrary(logging.Handler):
    """Hands what was logged by `logging` to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows the standard ones
            event = record.getMessage()
            structlog.get_logger().log(level, event, logger=record.name, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - as in every handler: a bad log call must not break its caller
            self.handleError(record)
