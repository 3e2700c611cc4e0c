"""The executor that a job's settings choose."""

from collections.abc import Callable
from functools import partial

from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.executors.spark import SparkExecutor
from reprise.runtime.executor_settings import ExecutorName, ExecutorSettings


def executor_opener(settings: ExecutorSettings, executor: ExecutorName) -> Callable[..., PlanExecutor]:
    """Return what opens an executor: it takes the plan, ``memory_limit`` and ``temp_directory``."""
    if executor == "duckdb":
        return BatchExecutor
    return partial(SparkExecutor, master=settings.spark_master or "local[*]", files=settings.spark_files)
