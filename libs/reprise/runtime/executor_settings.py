"""Settings of jobs whose rows DuckDB or Spark computes."""

from importlib.util import find_spec
from typing import Literal

from pydantic import Field

from reprise.runtime.logs import get_logger
from reprise.runtime.settings import ProcessSettings

ExecutorName = Literal["duckdb", "spark"]

_log = get_logger(__name__)


class ExecutorSettings(ProcessSettings):
    """The engine that computes a plan's SQL."""

    executor: Literal["auto", "duckdb", "spark"] = Field(
        "auto",
        description="What computes the plan's SQL: duckdb on this machine; spark, which needs reprise[spark] and Java"
        " 17; or auto, which takes spark for more events than the maximum of DuckDB, if PySpark is installed and a"
        " Spark master is given.",
    )
    duckdb_max_events: int = Field(
        300_000_000,
        ge=0,
        description="Maximum number of events for which auto takes DuckDB.",
    )
    spark_master: str | None = Field(
        None,
        description="URL of the Spark master, or local[N] for N threads of this machine. The default is local[*]"
        " if the executor is spark; auto needs one. The driver's heap is the memory limit.",
    )
    spark_files: str | None = Field(
        None,
        description="Folder, or URL such as s3://bucket/spark, through which events and rows pass to Spark's executors"
        " and back; by default the folder of temporary files, which executors must reach by the same path.",
    )

    def choose_executor(self, events: int) -> ExecutorName:
        """Return the executor for a number of events; logs a warning where Spark is called for and not available."""
        if self.executor != "auto":
            return self.executor
        if events <= self.duckdb_max_events:
            return "duckdb"
        if find_spec("pyspark") is None:
            missing = "reprise[spark] is not installed"
        elif self.spark_master is None:
            missing = "no Spark master is given"
        else:
            return "spark"
        _log.warning("duckdb_above_maximum", events=events, maximum=self.duckdb_max_events, reason=missing)
        return "duckdb"
