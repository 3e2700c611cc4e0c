"""A Pushgateway that keeps every push as method, path and body."""

from collections.abc import Iterator
from contextlib import contextmanager

from support.http_server import Answer, Request, http_server


@contextmanager
def gateway() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Run the gateway, and give its address and what is pushed."""
    pushed: list[tuple[str, str, str]] = []

    def keep(request: Request) -> Answer:
        pushed.append((request.method, request.path, request.body.decode()))
        return Answer(202)

    with http_server(keep) as url:
        yield url, pushed
