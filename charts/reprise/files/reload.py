"""Runs a command and restarts it when the code under /opt/reprise changes; for development only."""

import os
import signal
import subprocess
import sys
import time

CODE = "/opt/reprise"
QUIET_SECONDS = 0.5
AGAIN_SECONDS = 5.0


def newest() -> tuple[int, int]:
    """Return the number of code files and the time of the newest one."""
    times = [
        os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, _, names in os.walk(CODE)
        for name in names
        if name.endswith((".py", ".json", ".j2"))
    ]
    return len(times), max(times, default=0)


def settled(seen: tuple[int, int]) -> tuple[int, int]:
    """Return the state of the code when no file has changed for QUIET_SECONDS."""
    while True:
        time.sleep(QUIET_SECONDS)
        now = newest()
        if now == seen:
            return now
        seen = now


def main() -> int:
    """Run until a signal; restart a command that exits, after AGAIN_SECONDS or when the code changes.

    The container must keep running meanwhile, because code cannot be written to a container that has exited.
    """
    command = sys.argv[1:]
    stopping = []
    children = []

    def stop(number: int, _frame: object) -> None:
        stopping.append(number)
        for child in children:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        seen = settled(newest())
        print(f"reload: starting {' '.join(command)}", file=sys.stderr, flush=True)
        children[:] = [subprocess.Popen(command)]
        ended_at = None
        while not stopping and newest() == seen:
            time.sleep(QUIET_SECONDS)
            if ended_at is None and children[0].poll() is not None:
                ended_at = time.monotonic()
            if ended_at is not None and time.monotonic() - ended_at > AGAIN_SECONDS:
                break
        if not stopping and children[0].poll() is None:
            print("reload: the code has changed", file=sys.stderr, flush=True)
            children[0].terminate()
        children[0].wait()
    ended = children[0].returncode if children else 0
    return 128 - ended if ended < 0 else ended


if __name__ == "__main__":
    sys.exit(main())
