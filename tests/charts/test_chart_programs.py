"""The small programs that the chart carries in itself."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.chart import CHART
from support.http_server import Answer, Request, http_server
from support.redis import free_port
from support.waiting import wait_until


@contextmanager
def predictor(
    status: int, body: dict[str, object], seen: list[dict[str, str]], port: int = 0
) -> Iterator[int]:
    def answer(request: Request) -> Answer:
        key = request.headers.get("Authorization", "")
        seen.append({"path": request.path, "key": key, **json.loads(request.body)})
        return Answer(status, json.dumps(body).encode())

    with http_server(answer, port) as url:
        yield int(url.rpartition(":")[2])


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


@contextmanager
def reloading(code: Path, service: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program by ``reload.py``, which watches a folder of code and soon runs it again if it has ended."""
    program = (CHART / "files/reload.py").read_text().replace('"/opt/reprise"', repr(str(code)))
    program = program.replace("AGAIN_SECONDS = 5.0", "AGAIN_SECONDS = 0.1")
    command = [sys.executable, "-c", program, sys.executable, "-c", service]
    watcher = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield watcher
    finally:
        watcher.kill()
        watcher.wait()


def wait_until_told(told: Path, text: str) -> None:
    wait_until(
        f"{text!r} is told", lambda: told.exists() and told.read_text().startswith(text), 20, every=0.05
    )


def test_code_that_is_written_over_is_run_anew_and_a_signal_ends_it(tmp_path: Path) -> None:
    code, told = tmp_path / "code", tmp_path / "told"
    code.mkdir()
    (code / "service.py").write_text("version = 1\n")
    service = (
        f"import sys, time; sys.path.insert(0, {str(code)!r}); sys.dont_write_bytecode = True; import service\n"
        f"open({str(told)!r}, 'a').write(f'{{service.version}}\\n'); time.sleep(60)"
    )
    with reloading(code, service) as watcher:
        wait_until_told(told, "1\n")
        (code / "service.py").write_text("version = 2\n")
        wait_until_told(told, "1\n2\n")
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(10) == 128 + signal.SIGTERM


def test_a_service_that_ends_by_itself_is_run_again(tmp_path: Path) -> None:
    told = tmp_path / "told"
    service = f"open({str(told)!r}, 'a').write('once more\\n'); raise SystemExit(1)"
    with reloading(tmp_path / "code", service) as watcher:
        wait_until_told(told, "once more\n" * 2)
        assert watcher.poll() is None
