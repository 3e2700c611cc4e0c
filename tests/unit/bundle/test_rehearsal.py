import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from reprise.bundle import Bundle, BundleFiles, Manifest, UnfinishedRehearsalError, UnusableModelError
from reprise.bundle.rehearsal import Rehearsal
from support.served_bundles import bundle_files, expensive_graph, logistic_graph, small_plan
from support.waiting import wait_until

pytestmark = pytest.mark.slow

NAMES = small_plan().input_names
MIB = 1024 * 1024
LARGE = expensive_graph(20_000, 0, NAMES)  # a matrix of 1.5 GiB
SLOW = expensive_graph(3_000, 1_000, NAMES)  # 5e13 multiplications


def bundle_of(files: BundleFiles, horizons: Mapping[int, bytes] = MappingProxyType({})) -> Bundle:
    return Bundle(files.digest, Manifest.from_bytes(files.manifest), files.model, {}, horizons)


def test_graphs_that_can_be_scored_pass_in_a_small_process() -> None:
    horizon = {86_400: logistic_graph({}, 0.0, NAMES)}
    Rehearsal(60, 128 * MIB).run(bundle_of(bundle_files(horizons=horizon), horizon))


@pytest.mark.parametrize(
    ("graph", "of_horizon", "seconds", "error", "reason"),
    [
        (LARGE, False, 60.0, UnusableModelError, "it takes more than 256 MiB of memory"),
        (LARGE, True, 60.0, UnusableModelError, "it takes more than 256 MiB of memory"),
        (SLOW, False, 1.0, UnfinishedRehearsalError, "the rehearsal has exceeded 1 s"),
        (b"no graph", False, 60.0, UnusableModelError, "UnusableModelError: the graph is no ONNX model"),
    ],
)
def test_graph_that_takes_too_much_memory_or_time_is_refused_with_digest_and_cause(
    graph: bytes, of_horizon: bool, seconds: float, error: type[Exception], reason: str
) -> None:
    horizons = {86_400: graph} if of_horizon else {}
    bundle = bundle_of(bundle_files(graph=None if of_horizon else graph, horizons=horizons), horizons)
    with pytest.raises(error, match=f"{bundle.digest}: .*{reason}"):
        Rehearsal(seconds, 256 * MIB).run(bundle)


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-c", program)


def control_group(folder: Path, maximum: str, used: int, inactive: int) -> Path:
    (folder / "memory.max").write_text(f"{maximum}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")
    return folder


@pytest.mark.parametrize(
    ("ending", "error", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", UnusableModelError, "was killed by SIGSEGV"),
        ("os.abort()", UnusableModelError, "was killed by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", UnfinishedRehearsalError, "was killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", UnfinishedRehearsalError, "was killed by SIGTERM"),
        ("print('its opset'); sys.exit(3)", UnusableModelError, "has failed: its opset"),
        ("import no_such_module", UnfinishedRehearsalError, "No module named 'no_such_module'"),
        ("sys.stderr.write('x' * 2**20 + 'end')", UnfinishedRehearsalError, "has failed: x{2000}$"),
        ("sys.exit(2)", UnfinishedRehearsalError, "has failed: exit status 2"),
    ],
)
def test_only_a_verdict_or_a_crash_of_the_process_condemns_the_model(
    ending: str, error: type[Exception], reason: str
) -> None:
    command = python(f"import os, signal, sys; {ending}; sys.exit(1)")
    with pytest.raises(error, match=reason):
        Rehearsal(60, 256 * MIB, command).run(bundle_of(bundle_files()))


def test_command_that_cannot_start_does_not_condemn_the_model() -> None:
    with pytest.raises(UnfinishedRehearsalError, match="cannot start"):
        Rehearsal(60, 256 * MIB, ("/no/such/python",)).run(bundle_of(bundle_files()))


@pytest.mark.parametrize(
    ("maximum", "setting", "mib"),
    [(None, 1024, 1024), ("max", 1024, 1024), (768 * MIB, 1024, 404), (768 * MIB, 256, 256)],
)
def test_memory_is_bounded_by_what_the_container_has_left(
    tmp_path: Path, maximum: str | int | None, setting: int, mib: int
) -> None:
    if maximum is not None:
        control_group(tmp_path, str(maximum), 700 * MIB, 400 * MIB)
    save = f"import sys; open({str(tmp_path / 'task')!r}, 'wb').write(sys.stdin.buffer.readline())"
    Rehearsal(60, setting * MIB, python(save), tmp_path).run(bundle_of(bundle_files()))
    assert json.loads((tmp_path / "task").read_bytes())["memory_bytes"] == mib * MIB


def test_default_memory_is_that_of_the_largest_graph_which_several_share(tmp_path: Path) -> None:
    graph = logistic_graph({}, 0.0, NAMES)
    horizons = {86_400 * day: graph for day in (1, 2, 3)}
    bundle = bundle_of(bundle_files(graph=graph, horizons=horizons), horizons)
    save = f"import sys; open({str(tmp_path / 'task')!r}, 'wb').write(sys.stdin.buffer.readline())"
    Rehearsal(60, command=python(save), cgroup=tmp_path).run(bundle)
    assert json.loads((tmp_path / "task").read_bytes())["memory_bytes"] == 192 * MIB + 24 * len(graph)


def test_graphs_are_freed_one_after_another(tmp_path: Path) -> None:
    graph = expensive_graph(4_000, 0, NAMES)  # a matrix of 61 MiB; four of them take 244
    horizons = {86_400 * day: graph for day in (1, 2, 3)}
    Rehearsal(60, 256 * MIB).run(bundle_of(bundle_files(graph=graph, horizons=horizons), horizons))


def test_model_is_not_condemned_for_memory_that_the_container_lacks(tmp_path: Path) -> None:
    bundle = bundle_of(bundle_files(graph=LARGE))
    full = control_group(tmp_path, str(768 * MIB), 600 * MIB, 0)
    with pytest.raises(UnfinishedRehearsalError, match="takes 192 MiB of memory; 104 are left"):
        Rehearsal(60, cgroup=full, command=("/no/such/python",)).run(bundle)
    scarce = control_group(tmp_path, str(768 * MIB), 448 * MIB, 0)
    with pytest.raises(UnfinishedRehearsalError, match="it takes more than 256 MiB of memory"):
        Rehearsal(60, 4096 * MIB, cgroup=scarce).run(bundle)


def test_hard_limit_of_this_process_bounds_that_of_the_child() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (50, 50))\n"
        "from test_rehearsal import *\n"
        "Rehearsal(60, 2**30).run(bundle_of(bundle_files()))"
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert child.returncode == 0, child.stderr.decode()


def test_process_has_a_limit_of_cpu_time_and_ends_with_its_parent() -> None:
    command = Rehearsal(60).command
    program = (
        f"import subprocess\nwith subprocess.Popen({command!r}) as child:\n    print(child.pid, flush=True)"
    )
    with subprocess.Popen(python(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        process = Path("/proc", parent.stdout.readline().decode().strip())
        task = {"memory_bytes": 256 * MIB, "seconds": 77, "sizes": [100], "input_names": NAMES}
        parent.stdin.write(json.dumps(task).encode() + b"\n")
        parent.stdin.flush()
        wait_until("limited", lambda: "Max cpu time              77 " in (process / "limits").read_text(), 30)
        parent.kill()
        wait_until("ended", lambda: not process.exists() or ") Z" in (process / "stat").read_text(), 30)


def test_stop_kills_the_process_and_starts_no_other(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = f"import os, time; open({str(pid)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(600)"
    rehearsal = Rehearsal(600, 256 * MIB, python(program))
    errors: list[Exception] = []

    def run() -> None:
        try:
            rehearsal.run(bundle_of(bundle_files()))
        except UnfinishedRehearsalError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until("started", lambda: pid.exists() and pid.read_text(), 30, every=0.02)
    rehearsal.stop()
    thread.join(30)
    run()
    assert ["killed by SIGKILL" in str(errors[0]), "is stopping" in str(errors[1])] == [True, True]
    (started,) = pid.read_text().split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started), signal.SIGCONT)


def test_process_imports_what_only_pythonpath_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checked_out.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    *python_options, _ = Rehearsal(60).command
    Rehearsal(60, 256 * MIB, (*python_options, "import checked_out")).run(bundle_of(bundle_files()))


def test_process_has_no_variable_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    assert "REDIS_PASSWORD" in os.environ
    show = f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(repr(dict(os.environ)))"
    Rehearsal(60, 256 * MIB, python(show)).run(bundle_of(bundle_files()))
    assert "REDIS_PASSWORD" not in (tmp_path / "seen").read_text()
