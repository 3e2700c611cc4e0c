"""Logs of tests."""

import structlog


def reset_logs() -> None:
    """Log as structlog does by default, but without the variables of tracebacks: rendering them takes a second."""
    structlog.reset_defaults()
    *first, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*first, renderer])
