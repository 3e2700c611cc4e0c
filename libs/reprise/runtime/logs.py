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
    """Send structlog's events, and the standard library's records, to standard error.

    From then on SIGUSR1 changes the level of the running process to debug, and back again.

    Args:
        level: The lowest level that is written, one of :data:`LEVELS`, in any case.
        json: One JSON object a line; by default where standard error is no terminal.

    Raises:
        ValueError: The level is unknown.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    threshold: int = getattr(logging, level.upper())
    as_json = not sys.stderr.isatty() if json is None else json
    _write_from(threshold, as_json)
    _change_on_signal(threshold, as_json)


def _change_on_signal(threshold: int, as_json: bool) -> None:
    """Let SIGUSR1 change between the level and debug; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        return
    now = threshold

    def change(_number: int, _frame: FrameType | None) -> None:
        nonlocal now
        now = logging.DEBUG if now == threshold else threshold
        _write_from(now, as_json)
        get_logger(__name__).critical("log_level_changed", to=logging.getLevelName(now).lower())

    signal.signal(signal.SIGUSR1, change)


def _write_from(threshold: int, as_json: bool) -> None:
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_colours],
            processors=_rendering(as_json),
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; its events are named, and what varies in them are fields."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def _drop_colours(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # uvicorn adds its message a second time, with escape sequences.
    event.pop("color_message", None)
    return event


def _rendering(as_json: bool) -> list[Any]:
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if as_json:
        return [drop, structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    return [drop, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
