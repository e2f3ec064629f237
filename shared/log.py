"""Structured logs: one line per event, event names are constants, data goes into keywords.

Daemons log JSON lines to standard error (`TERRACE_LOG=console` for people); secrets and pictures are never logged. A log that cannot be
written (full disk, closed pipe) costs its lines and nothing else: no thread ends because it wanted to say something.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO, cast

import structlog

from shared.lines import Lines


def configure(*, level: str = "info") -> None:
    """Set up logging for this process; call once, from a composition root or a command."""
    console = os.environ.get("TERRACE_LOG", "json") == "console"
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
        if hasattr(logging, "getLevelNamesMapping")
        else structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=_unfailing(sys.stderr)),
        cache_logger_on_first_use=True,
    )


def _unfailing(stream: TextIO) -> TextIO:
    """Return a stream of whole lines to the same descriptor; the stream itself where it has none, as under a test's capture."""
    try:
        return cast("TextIO", Lines(stream.fileno()))
    except (OSError, ValueError):
        return stream


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a component; `name` is bound as `component`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return logger
