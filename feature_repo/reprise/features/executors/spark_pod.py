"""A Spark executor in a pod: replaces this process by the Java process that Spark's scheduler on Kubernetes asks for.

The scheduler says what to run in variables of the environment, which are those of the images of Spark itself:
https://spark.apache.org/docs/latest/running-on-kubernetes.html
"""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from reprise.features.exceptions import ExecutorUnavailableError

_OPTION = re.compile(r"SPARK_JAVA_OPT_(\d+)")


def java_command(environment: Mapping[str, str], jars: Path) -> list[str]:
    """Return the command of the executor that the environment asks for.

    Raises:
        ExecutorUnavailableError: A variable is missing.
    """
    options = {
        int(found[1]): value for name, value in environment.items() if (found := _OPTION.fullmatch(name))
    }
    arguments = {
        "--driver-url": "SPARK_DRIVER_URL",
        "--executor-id": "SPARK_EXECUTOR_ID",
        "--cores": "SPARK_EXECUTOR_CORES",
        "--app-id": "SPARK_APPLICATION_ID",
        "--hostname": "SPARK_EXECUTOR_POD_IP",
        "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
        "--podName": "SPARK_EXECUTOR_POD_NAME",
    }
    try:
        memory = environment["SPARK_EXECUTOR_MEMORY"]
        given = [word for option, name in arguments.items() for word in (option, environment[name])]
    except KeyError as error:
        raise ExecutorUnavailableError(f"{error.args[0]} is not set: only Spark starts this pod") from None
    classes = [each for each in (environment.get("SPARK_CLASSPATH"), f"{jars}/*") if each]
    return [
        "java",
        *(options[number] for number in sorted(options)),
        f"-Xms{memory}",
        f"-Xmx{memory}",
        "-cp",
        ":".join(classes),
        "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
        *given,
    ]


def main() -> None:
    """Become the executor."""
    package = find_spec("pyspark")
    if package is None or package.origin is None:
        raise ExecutorUnavailableError("this image has no Spark: build it with SPARK=1")
    command = java_command(os.environ, Path(package.origin).parent / "jars")
    os.execvp(command[0], command)  # noqa: S606 - becomes Java, which Kubernetes then stops


if __name__ == "__main__":
    main()
