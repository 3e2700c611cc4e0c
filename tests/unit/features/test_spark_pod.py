"""What a pod of an executor of Spark runs."""

from pathlib import Path

import pytest

from reprise.features.exceptions import ExecutorUnavailableError
from reprise.features.executors.spark_pod import java_command

GIVEN = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.7:7078",
    "SPARK_EXECUTOR_ID": "1",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "4096m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.8",
    "SPARK_EXECUTOR_POD_NAME": "reprise-1-exec-1",
}


def test_java_gets_its_options_in_order_the_heap_and_who_asks_for_it() -> None:
    options = {f"SPARK_JAVA_OPT_{number}": f"-Dnumber={number} of 12" for number in reversed(range(12))}
    command = java_command({**GIVEN, **options, "SPARK_JAVA_OPTS": "-Dother=1"}, Path("/spark/jars"))
    assert command[0] == "java"
    assert command[1:13] == [f"-Dnumber={number} of 12" for number in range(12)]
    assert command[13:17] == ["-Xms4096m", "-Xmx4096m", "-cp", "/spark/jars/*"]
    assert command[17].endswith(".KubernetesExecutorBackend")
    assert dict(zip(command[18::2], command[19::2], strict=True)) == {
        "--driver-url": GIVEN["SPARK_DRIVER_URL"],
        "--executor-id": "1",
        "--cores": "2",
        "--app-id": "spark-1",
        "--hostname": "10.0.0.8",
        "--resourceProfileId": "0",
        "--podName": "reprise-1-exec-1",
    }


def test_further_classes_come_first() -> None:
    command = java_command({**GIVEN, "SPARK_CLASSPATH": "/more/*"}, Path("/spark/jars"))
    assert command[command.index("-cp") + 1] == "/more/*:/spark/jars/*"


@pytest.mark.parametrize("missing", GIVEN)
def test_a_missing_variable_is_named(missing: str) -> None:
    environment = {name: value for name, value in GIVEN.items() if name != missing}
    with pytest.raises(ExecutorUnavailableError, match=f"^{missing} is not set"):
        java_command(environment, Path("/spark/jars"))
