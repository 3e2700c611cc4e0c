"""A Pushgateway that keeps every push as method, path and body."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Gateway(BaseHTTPRequestHandler):
    """Keeps what is pushed, as a Pushgateway would."""

    pushed: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.pushed.append((self.command, self.path, body))
        self.send_response(202)
        self.end_headers()

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def gateway() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    Gateway.pushed = []
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Gateway.pushed
        server.shutdown()
        thread.join()
