"""The Spark executor where Spark cannot run."""

from pathlib import Path

import pytest

from reprise.features.exceptions import ExecutorUnavailableError, FeatureEngineError
from reprise.features.executors.spark import SparkExecutor
from support.plans import checked_in_plan


@pytest.mark.parametrize("size", ["4GiB", "1.5GB", "16G", "512 MiB"])
def test_without_java_or_pyspark_the_error_says_what_to_install_whatever_size_of_duckdbs_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ExecutorUnavailableError, match=r"install reprise\[spark\] and Java 17"):
        SparkExecutor(checked_in_plan(), temp_directory=tmp_path, memory_limit=size)
    assert list(tmp_path.iterdir()) == []


def test_a_master_that_spark_does_not_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = pytest.importorskip("pyspark.sql", reason="needs PySpark (make test-tools)").SparkSession
    protocol = pytest.importorskip("py4j.protocol")

    def refuse(_builder: object) -> None:
        raise protocol.Py4JError("Could not parse Master URL")

    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(sessions, "getActiveSession", lambda: None)
    monkeypatch.setattr(sessions.Builder, "getOrCreate", refuse)
    with pytest.raises(ExecutorUnavailableError, match="did not start on sprk://typo: Could not parse"):
        SparkExecutor(checked_in_plan(), master="sprk://typo")


def test_a_memory_limit_that_is_no_size_is_refused() -> None:
    with pytest.raises(FeatureEngineError, match="'plenty' is no size"):
        SparkExecutor(checked_in_plan(), memory_limit="plenty")


def test_a_folder_for_files_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExecutorUnavailableError, match="missing"):
        SparkExecutor(checked_in_plan(), files=str(tmp_path / "missing"))
