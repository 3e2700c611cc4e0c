import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from reprise.bundle import Bundle, BundleFiles, Manifest, UnfinishedRehearsalError, UnusableModelError
from reprise.bundle.rehearsal import Rehearsal
from support.served_bundles import bundle_files, expensive_graph, logistic_graph, small_plan

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
    ("graph", "seconds", "error", "reason"),
    [
        (LARGE, 60.0, UnusableModelError, "it takes more than 256 MiB of memory"),
        (SLOW, 2.0, UnfinishedRehearsalError, "the rehearsal has exceeded 2 s"),
        (b"no graph", 60.0, UnusableModelError, "UnusableModelError: the graph is no ONNX model"),
    ],
)
@pytest.mark.parametrize("of_horizon", [False, True])
def test_graph_that_takes_too_much_memory_or_time_is_refused_with_digest_and_cause(
    graph: bytes, seconds: float, error: type[Exception], reason: str, of_horizon: bool
) -> None:
    horizons = {86_400: graph} if of_horizon else {}
    bundle = bundle_of(bundle_files(graph=None if of_horizon else graph, horizons=horizons), horizons)
    with pytest.raises(error, match=f"{bundle.digest}: .*{reason}"):
        Rehearsal(seconds, 256 * MIB).run(bundle)


@pytest.mark.parametrize(
    ("signal", "error"), [("SIGSEGV", UnusableModelError), ("SIGKILL", UnfinishedRehearsalError)]
)
def test_killed_process_is_reported_by_its_signal(signal: str, error: type[Exception]) -> None:
    kill = f"import os, signal; os.kill(os.getpid(), signal.{signal})"
    with pytest.raises(error, match=f"killed by {signal}"):
        Rehearsal(60, 256 * MIB, (sys.executable, "-I", "-c", kill)).run(bundle_of(bundle_files()))


def test_process_has_no_variable_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    assert "REDIS_PASSWORD" in os.environ
    show = f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(repr(dict(os.environ)))"
    Rehearsal(60, 256 * MIB, (sys.executable, "-I", "-c", show)).run(bundle_of(bundle_files()))
    assert "REDIS_PASSWORD" not in (tmp_path / "seen").read_text()
