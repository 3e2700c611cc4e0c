"""Where the log is."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from reprise_runtime.settings import ProcessSettings


class EventLogSettings(ProcessSettings):
    """Where the log is, and how carefully it is written."""

    log_dir: Path = Field(
        default=Path("data/log"),
        validation_alias="REPRISE_LOG_DIR",
        description="Folder of the embedded log, shared by the processes of one machine.",
    )
    log_fsync: Literal["never", "always"] = Field(
        default="never",
        validation_alias="REPRISE_LOG_FSYNC",
        description="Whether each batch is on the disk before it is acknowledged; without, a crash of the "
        "machine, though not of a process, may lose the last seconds.",
    )
    log_buffer_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        validation_alias="REPRISE_LOG_BUFFER_BYTES",
        description="Bytes of records that may wait to be written before appending is refused.",
    )
