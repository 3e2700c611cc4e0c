"""``python -m reprise.cli.demo.embedded_redis PORT``: a Redis in Python, for machines that have none."""

import signal
import sys

from fakeredis import TcpFakeServer


def main(port: int) -> None:
    """Serve on the loopback interface until SIGTERM."""
    server = TcpFakeServer(("127.0.0.1", port), server_type="redis", server_version=(7, 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]))
