"""The Spark executor: the plan as SQL over a file of events, past what one machine computes."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ByteSize, TypeAdapter, ValidationError

from reprise import sql
from reprise.features.exceptions import ExecutorUnavailableError, FeatureEngineError
from reprise.features.executors import batch_sql
from reprise.features.executors.bucketed_past import BucketedPast
from reprise.features.executors.plan_executor import BATCH_ROWS, FINAL_TABLES, PlanExecutor
from reprise.features.plan import EntityName, EntityPlan, Plan
from reprise.features.sampled_requests import SAMPLING_TABLES
from reprise.features.sql_dialect import SPARK
from reprise.runtime.logs import get_logger
from reprise.runtime.storage import Storage, open_storage

_TASKS = "spark.sql.shuffle.partitions"
_TASKS_PER_PROCESSOR = 16
_MIN_BUCKET_ROWS = 2_500
_log = get_logger(__name__)
_INSTALL = "install reprise[spark] and Java 17, or take an image that is built with SPARK=1"


@contextmanager
def _errors_converted() -> Iterator[None]:
    from py4j.protocol import Py4JError  # noqa: PLC0415 - only for those who ask for Spark
    from pyspark.errors import PySparkException  # noqa: PLC0415

    try:
        yield
    except (Py4JError, PySparkException, ConnectionError) as error:  # The last: Spark's process has ended
        message = " ".join(str(error).split("\n")[:2])  # The first line may only name the call
        raise FeatureEngineError(f"Spark failed: {message}") from error


class SparkExecutor(PlanExecutor):
    """Computes states and model inputs on Spark; a context manager.

    Methods raise ``FeatureEngineError`` where Spark fails.

    Starts a Spark application, or uses the one that this process has. Tables pass through Parquet files, so memory does
    not grow with the rows. Options besides these are Spark's own, in ``spark-defaults.conf``.

    Args:
        plan: The plan.
        master: URL of the Spark master, or ``local[N]`` for N threads of this machine.
        memory_limit: Heap of the Java process that is started, which is the driver, such as ``4GiB``.
        temp_directory: Folder of temporary files, and on this machine what Spark spills; the system's by default.
        bucket_rows: Maximum rows of a user, product or pair in one task; see ``bucketed_past``. By default a quarter
            of an average task's rows, at least 2,500.
        files: Folder, or URL such as ``s3://bucket/spark``, that executors on other machines reach too; events and
            tables pass through a folder in it, which is removed in the end. By default they pass through
            ``temp_directory``, and the events stay where they are.

    Raises:
        ExecutorUnavailableError: PySpark, Java or the folder is missing, or Spark does not start.
        FeatureEngineError: The memory limit is not a size.
        StorageError: The files cannot be reached.
    """

    dialect = SPARK
    name = "spark"

    def __init__(
        self,
        plan: Plan,
        *,
        master: str = "local[*]",
        memory_limit: str = "4GiB",
        temp_directory: Path | None = None,
        bucket_rows: int | None = None,
        files: str | None = None,
    ) -> None:
        super().__init__(plan)
        self._bucket_rows = bucket_rows
        self._tables: dict[str, Any] = {}
        self._names = map("table-{}".format, count())
        self._copies_events = files is not None
        self._copies: dict[tuple[Path, int], str] = {}
        shared = None if files is None else files.removeprefix("file://")
        is_url = shared is not None and "://" in shared
        with ExitStack() as resources:
            folder = temp_directory if shared is None or is_url else shared
            try:
                self._folder = resources.enter_context(
                    TemporaryDirectory(prefix="reprise-spark-", dir=folder)
                )
            except OSError as error:
                raise ExecutorUnavailableError(f"Spark's files have no folder: {error}") from error
            name = Path(self._folder).name
            self._files: Storage = open_storage(f"{shared}/{name}" if is_url else self._folder)
            resources.callback(self._remove_files)
            self._session, is_ours = _start(master, memory_limit, self._folder)
            resources.callback(self._release, is_ours)
            # Names of tables and settings of its own
            self._spark = self._session.newSession()
            self._spark.conf.set("spark.sql.session.timeZone", "UTC")
            context = self._session.sparkContext
            if context.master.startswith("local") and not context.getConf().contains(_TASKS):
                self._spark.conf.set(_TASKS, _TASKS_PER_PROCESSOR * context.defaultParallelism)
            self._resources = resources.pop_all()

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _remove_files(self) -> None:
        for name in self._files.files(""):
            self._files.remove(name)

    def _release(self, is_ours: bool) -> None:
        """Stop our Spark, or drop our tables in another's; log where its process has ended and there is neither."""
        try:
            with _errors_converted():
                if is_ours:
                    self._session.stop()
                else:
                    for name in [*self._tables]:
                        self._drop(name)
        except FeatureEngineError as error:
            _log.warning("spark_not_released", reason=str(error))

    def _drop(self, table: str) -> None:
        if table in self._tables:
            self._tables.pop(table).unpersist()

    def _numbered_rows(self, source: Path | pa.Table) -> str:
        if isinstance(source, pa.Table):
            table, source = source, Path(self._folder, f"{next(self._names)}.parquet")
            pq.write_table(table, source)
        address = str(source)
        if self._copies_events:
            version = (source, source.stat().st_mtime_ns)
            if version not in self._copies:
                name = f"{next(self._names)}.parquet"
                self._files.write(name, source)
                self._copies[version] = self._address(name)
            address = self._copies[version]
        return f"(SELECT *, _metadata.row_index AS file_row_number FROM parquet.`{address}`)"

    def _past(
        self, source: str, columns: Sequence[str], extra: Mapping[str, str] | None
    ) -> pa.RecordBatchReader:
        """Return the rows as the base class does, with the past of hot keys in buckets."""
        rows = "transitions"
        self._create("lifted", batch_sql.lifted_select(self._plan, f"({source})", self.dialect))
        [(first_us, last_us)] = self._run("SELECT min(ts), max(ts) FROM lifted")
        for table in SAMPLING_TABLES:
            self._drop(table)
        span = batch_sql.Span(first_us, last_us)
        self._create(rows, batch_sql.transitions_select(self._plan, "lifted", self.dialect))
        max_rows = self._max_rows(rows)
        self._drop("lifted")  # which has most of the same columns
        pasts: dict[EntityName, batch_sql.Past] = {}
        in_buckets: list[BucketedPast] = []
        for entity in self._plan.entities:
            past = BucketedPast(entity, span)
            self._create(past.hot_keys, past.hot_keys_select("transitions", max_rows))
            [(hot,)] = self._run(f"SELECT count(*) FROM {past.hot_keys}")
            if past.has_one_bucket and not hot:
                pasts[entity.name] = batch_sql.Past(entity.name, span, self.dialect)
            else:
                pasts[entity.name], rows = past, past.bucketed(rows)
                in_buckets.append(past)
        expressions = {**(extra or {}), **batch_sql.past_states(self._plan, pasts)}
        for past in in_buckets:
            self._create(past.earlier, past.earlier_select("transitions"))
            rows = past.with_earlier(rows)
        return self._stream(batch_sql.past_select(rows, pasts, columns, expressions))

    def _hot_lasts(self, entity: EntityPlan) -> str | None:
        events, hot = FINAL_TABLES[0], f"{entity.name}_lasts"
        self._create(hot, batch_sql.hot_lasts_select(self._plan, entity.name, events, self._max_rows(events)))
        [(count,)] = self._run(f"SELECT count(*) FROM {hot}")
        return hot if count else None

    def _max_rows(self, table: str) -> int:
        """Return the maximum rows of one user, product or pair of a table in one task."""
        if self._bucket_rows is not None:
            return self._bucket_rows
        [(count,)] = self._run(f"SELECT count(*) FROM {table}")
        return max(_MIN_BUCKET_ROWS, int(count) // (4 * int(self._spark.conf.get(_TASKS))))

    @_errors_converted()
    def _create(self, table: str, query: str) -> None:
        created = self._spark.sql(query)
        self._drop(table)  # First: the new one may be the same query, whose rows it would take away
        created.persist().createOrReplaceTempView(table)
        self._tables[table] = created

    @_errors_converted()
    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._spark.sql(statement).collect()]

    @_errors_converted()
    def _stream(self, query: str) -> pa.RecordBatchReader:
        folder = next(self._names)
        self._spark.sql(query).write.parquet(self._address(folder))
        parts = [name for name in self._files.files(folder) if PurePosixPath(name).name.startswith("part-")]
        with self._files.open(parts[0]) as first:
            schema = pq.read_schema(first)
        return pa.RecordBatchReader.from_batches(schema, self._read(parts))

    def _read(self, parts: list[str]) -> Iterator[pa.RecordBatch]:
        for part in parts:
            with self._files.open(part) as file:
                yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)
            self._files.remove(part)

    def _address(self, path: str) -> str:
        # Hadoop's client of S3 has a scheme of its own
        return re.sub(r"^s3://", "s3a://", self._files.location(path))


def _start(master: str, memory_limit: str, folder: str) -> tuple[Any, bool]:
    """Return the session of this process, and whether it was started here."""
    try:
        heap = TypeAdapter(ByteSize).validate_python(memory_limit)
    except ValidationError as error:
        raise FeatureEngineError(f"the memory limit {memory_limit!r} is no size such as 4GiB") from error
    try:
        from py4j.protocol import Py4JError  # noqa: PLC0415 - only for those who ask for Spark
        from pyspark.errors import PySparkException  # noqa: PLC0415
        from pyspark.sql import SparkSession  # noqa: PLC0415
    except ImportError as error:
        raise ExecutorUnavailableError(f"Spark needs PySpark, which is not installed: {_INSTALL}") from error
    with _errors_converted():
        active = SparkSession.getActiveSession()
    if active is not None:
        return active, False
    home = os.environ.get("JAVA_HOME")
    if shutil.which(str(Path(home, "bin", "java")) if home else "java") is None:
        where = f"is not in JAVA_HOME, {home}" if home else "is not on the PATH"
        raise ExecutorUnavailableError(f"Spark needs Java, which {where}: {_INSTALL}")
    builder = SparkSession.builder.appName("reprise").master(master)
    settings = {
        "spark.driver.memory": f"{heap // 2**20}m",
        "spark.sql.warehouse.dir": folder,
        "spark.log.level": "ERROR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if master.startswith("local"):
        # Nobody else has to reach the driver
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        settings |= {"spark.local.dir": folder}
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate(), True
    except (Py4JError, PySparkException, OSError) as error:
        raise ExecutorUnavailableError(
            f"Spark did not start on {master}: {sql.first_line(error)}; {_INSTALL}"
        ) from error
