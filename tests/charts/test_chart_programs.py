"""The small programs that the chart carries in itself."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from support.chart import CHART
from support.redis import free_port


@contextmanager
def predictor(
    status: int, body: dict[str, object], seen: list[dict[str, str]], port: int = 0
) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "key": self.headers.get("Authorization", ""), **request})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    server = HTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask_once(port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    program = (CHART / "files/predict_once.py").read_text()
    command = [sys.executable, "-c", program, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_helm_test_asks_for_one_prediction() -> None:
    seen: list[dict[str, str]] = []
    with predictor(200, {"probability": 0.25}, seen) as port:
        done = ask_once(port, REPRISE_API_KEY="k")
    assert done.returncode == 0, done.stderr
    assert seen == [
        {"path": "/predict", "key": "Bearer k", "user_id": "helm-test", "product_id": "helm-test"}
    ]


def test_helm_test_waits_for_a_network_that_lets_a_new_pod_through_late() -> None:
    port = free_port()
    with ThreadPoolExecutor() as executor:
        asked = executor.submit(ask_once, port)
        time.sleep(1.5)  # it has been refused by then
        with predictor(200, {"probability": 0.25}, [], port):
            assert asked.result(60).returncode == 0


@pytest.mark.parametrize(("status", "body"), [(503, {"detail": "no model"}), (200, {"probability": 2.0})])
def test_helm_test_fails_where_there_is_no_sound_answer(status: int, body: dict[str, object]) -> None:
    with predictor(status, body, []) as port:
        done = ask_once(port)
    assert done.returncode == 1
    assert str(status) in done.stdout


def test_code_that_is_written_over_is_run_anew_and_a_signal_ends_it(tmp_path: Path) -> None:
    code, told = tmp_path / "code", tmp_path / "told"
    code.mkdir()
    (code / "service.py").write_text("version = 1\n")
    service = (
        f"import sys, time; sys.path.insert(0, {str(code)!r}); sys.dont_write_bytecode = True; import service\n"
        f"open({str(told)!r}, 'a').write(f'{{service.version}}\\n'); time.sleep(60)"
    )
    program = (CHART / "files/reload.py").read_text().replace('"/opt/reprise"', repr(str(code)))
    watcher = subprocess.Popen(
        [sys.executable, "-c", program, sys.executable, "-c", service], stderr=subprocess.DEVNULL
    )
    try:
        _wait_until(lambda: told.exists() and told.read_text() == "1\n")
        (code / "service.py").write_text("version = 2\n")
        _wait_until(lambda: told.read_text() == "1\n2\n")
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(10) == 128 + signal.SIGTERM
    finally:
        watcher.kill()
        watcher.wait()


def test_a_service_that_ends_by_itself_is_run_again(tmp_path: Path) -> None:
    code, told = tmp_path / "code", tmp_path / "told"
    code.mkdir()
    program = (CHART / "files/reload.py").read_text().replace('"/opt/reprise"', repr(str(code)))
    program = program.replace("AGAIN_SECONDS = 5.0", "AGAIN_SECONDS = 0.1")
    service = f"open({str(told)!r}, 'a').write('once more\\n'); raise SystemExit(1)"
    command = [sys.executable, "-c", program, sys.executable, "-c", service]
    watcher = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: told.exists() and told.read_text().count("once more") >= 2)
        assert watcher.poll() is None
    finally:
        watcher.kill()
        watcher.wait()


def _wait_until(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not done():
        assert time.monotonic() < give_up
        time.sleep(0.05)
