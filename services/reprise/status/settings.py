"""Configuration of the status page, by environment."""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from reprise.runtime.settings import ApiSettings, port_field


@dataclass(frozen=True)
class Target:
    """One address of a service's ``/metrics``; a host name may have several processes."""

    service: str
    host: str
    port: int


def parse_targets(text: str) -> tuple[Target, ...]:
    """Return the targets of ``name=http://host:port,…``.

    Raises:
        ValueError: An entry has another form; the message has the entry.
    """
    return tuple(_parse(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse(entry: str) -> Target:
    # The page shows addresses, so they must not contain a password.
    found = re.fullmatch(r"([a-z][a-z0-9-]{0,30})=((?i:http)://[^/?#@]+)/?", entry)
    try:
        parts = urlsplit(found[2] if found else "")
        port = 80 if parts.port is None else parts.port
    except ValueError:
        found = None
    if found is None or not parts.hostname:
        raise ValueError(f"expected name=http://host:port, {entry!r} is none")
    return Target(found[1], parts.hostname, port)


class StatusSettings(ApiSettings):
    """Settings of the status page."""

    model_config = SettingsConfigDict(env_prefix="STATUS_")

    api_port: int = port_field(8004, "TCP port of the page.")
    targets: Annotated[tuple[Target, ...], NoDecode] = Field(
        default=parse_targets(
            "predictor=http://localhost:8000,producer=http://localhost:8001,"
            "materializer=http://localhost:8002,archiver=http://localhost:8003"
        ),
        min_length=1,
        description="The services, name=http://host:port separated by commas; the port is that of /metrics. "
        "A name may occur several times, and each address of a host is one process.",
    )
    pushgateway_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+$",
        validation_alias="PUSHGATEWAY_URL",
        description="Prometheus Pushgateway that keeps the jobs' metrics, such as http://pushgateway:9091; if absent"
        " the page has no jobs.",
    )
    pushgateway_grouping: dict[str, str] = Field(
        default={},
        validation_alias="PUSHGATEWAY_GROUPING",
        description="Labels of this installation's groups in the Pushgateway, as JSON; other groups are not shown.",
    )
    prometheus_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of the Prometheus that evaluates the alert rules; if absent the page shows no alerts.",
    )
    prometheus_namespace: str = Field(
        default="",
        description="Namespace whose alerts are shown, besides those without a namespace; if empty all are shown.",
    )
    interval_seconds: float = Field(
        default=5.0, ge=0.2, le=60, description="Polling interval of the services, seconds."
    )
    timeout_seconds: float = Field(
        default=2.0, gt=0, le=30, description="Timeout of a service's response, seconds."
    )
    history_seconds: float = Field(
        default=3600.0,
        ge=120,
        le=86_400,
        description="History of the curves and counts in memory, seconds.",
    )
    title: str = Field(default="", max_length=80, description="Title beside the name, such as the namespace.")
    documentation: str = Field(
        default="",
        pattern=r"^$|^https?://\S+$",
        description="URL of the folder that contains docs/operations.md, for links; if absent the page shows only the"
        " names of its sections.",
    )

    scores: str | None = Field(
        default=None,
        min_length=1,
        description="Output of the scoring job, a folder or a URL such as s3://bucket/scores, whose report is a tab of"
        " the page; if absent there is no tab.",
    )
    report_interval_seconds: float = Field(
        default=60.0, ge=0.2, le=86_400, description="Interval of looking for a newer report, seconds."
    )
    report_command: str = Field(
        default="reprise nightly", description="Command that writes the report; shown while there is none."
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        return parse_targets(value) if isinstance(value, str) else value
