"""Structured logs on standard error."""

import logging
import signal
import sys
import threading
from types import FrameType
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

LEVELS = ("debug", "info", "warning", "error", "critical")


def configure_logging(level: str, json: bool | None = None) -> None:
    """Send structlog's events and the standard library's records to standard error.

    ``level`` is one of :data:`LEVELS` in any case. Lines are JSON by default unless standard error is a terminal.
    SIGUSR1 then switches the level of the process to debug, and back.
    """
    threshold: int = getattr(logging, level.upper())
    as_json = not sys.stderr.isatty() if json is None else json
    _configure(threshold, as_json)
    if threading.current_thread() is not threading.main_thread():
        return
    current = threshold

    def switch(_number: int, _frame: FrameType | None) -> None:
        nonlocal current
        current = logging.DEBUG if current == threshold else threshold
        _configure(current, as_json)
        get_logger(__name__).critical("log_level_changed", to=logging.getLevelName(current).lower())

    signal.signal(signal.SIGUSR1, switch)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module. Its events have names, and fields for what varies."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def _configure(threshold: int, as_json: bool) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    # Local variables have payloads and ids
    as_fields = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    as_text = structlog.dev.plain_traceback
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(as_fields), structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=as_text)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_colours],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)


def _drop_colours(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # uvicorn adds its message a second time, with escape sequences.
    event.pop("color_message", None)
    return event
