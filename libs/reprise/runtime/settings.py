"""Configuration by environment variables: one frozen class per process, and the variables that processes share."""

import difflib
import os
import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from reprise.runtime.durations import DurationsType, parse_duration
from reprise.runtime.exceptions import InvalidSettingsError
from reprise.runtime.logs import LEVELS

# Kubernetes adds these variables to a container for each Service of its namespace.
_SERVICE_LINK = re.compile(r"(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)", re.ASCII)

Duration = Annotated[
    timedelta, BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value)
]
"""A field that is written as a duration, such as ``30d`` or ``1d12h``."""


def _durations(given: object) -> object:
    if isinstance(given, str):
        return tuple(map(parse_duration, given.split(",")))
    return (given,) if isinstance(given, timedelta) else given


Durations = Annotated[tuple[timedelta, ...], NoDecode, BeforeValidator(_durations), DurationsType()]
"""A field that is written as durations separated by commas, such as ``30d,7d``; a ``timedelta`` is a single one."""


class ProcessSettings(BaseSettings):
    """Base of a process's settings: frozen, read from the environment, without unknown variables.

    A process's own fields have the class's ``env_prefix``. A field of several processes has a ``validation_alias`` and
    comes from one of the classes below.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, env_ignore_empty=True, validate_default=True
    )

    log_level: str = Field(
        default="info", validation_alias="LOG_LEVEL", description=f"Minimum log level: {', '.join(LEVELS)}."
    )
    log_json: bool | None = Field(
        default=None,
        validation_alias="LOG_JSON",
        description="Log lines as JSON; by default unless standard error is a terminal.",
    )

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.lower() not in LEVELS:
            raise ValueError(f"expected one of {', '.join(LEVELS)}")
        return level.lower()

    @field_validator("api_port", "redis_port", mode="before", check_fields=False)
    @classmethod
    def _port_is_no_service_link(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith(("tcp://", "udp://")):
            raise ValueError(
                "expected a port number; Kubernetes set this for a Service of the same name, "
                "so set enableServiceLinks: false on the pod or set the variable itself"
            )
        return value

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Return the settings of this process; overrides by field name win over the environment unless ``None``.

        It raises ``InvalidSettingsError`` with every variable that is missing, invalid, or unknown under the prefix.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        problems = cls._unknown_variables()
        try:
            settings = cls(**given)
        except ValidationError as error:
            problems += [cls._describe(detail) for detail in error.errors(include_url=False)]
        if problems:
            raise InvalidSettingsError(problems)
        return settings

    @classmethod
    def env_names(cls) -> dict[str, str]:
        """Return the name of the environment variable of each field."""
        prefix = cls.model_config.get("env_prefix", "")
        return {name: _env_name(name, field, prefix) for name, field in cls.model_fields.items()}

    @classmethod
    def _unknown_variables(cls) -> list[str]:
        prefix = cls.model_config.get("env_prefix", "").upper()
        if not prefix:
            return []
        known = set(cls.env_names().values())
        problems = []
        for name in sorted(os.environ):
            upper = name.upper()
            is_link = _SERVICE_LINK.fullmatch(upper.removeprefix(prefix))
            if not upper.startswith(prefix) or upper in known or is_link:
                continue
            close = difflib.get_close_matches(upper, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{name}: no such setting{hint}")
        return problems

    @classmethod
    def _describe(cls, detail: Any) -> str:
        names = cls.env_names()
        field = str(detail["loc"][0]) if detail["loc"] else ""
        by_env = {env: name for name, env in names.items()}
        name = field if field in cls.model_fields else by_env.get(field.upper(), field)
        shown = names.get(name, field) or "settings"
        message = detail["msg"].removeprefix("Value error, ")
        info = cls.model_fields.get(name)
        if detail["type"] == "missing" or info is None or "Secret" in str(info.annotation):
            return f"{shown}: {message}"
        return f"{shown}: {message}, got {detail['input']!r}"


def port_field(default: int, description: str) -> Any:
    """Return the field ``api_port`` of a process with this default."""
    return Field(default=default, ge=0, le=65535, validation_alias="API_PORT", description=description)


class ApiSettings(ProcessSettings):
    """Address of a process's HTTP server."""

    api_host: str = Field(
        default="0.0.0.0", validation_alias="API_HOST", description="Address to listen on for HTTP."
    )
    api_port: int = port_field(8000, "TCP port to listen on for HTTP.")
    api_docs: bool = Field(
        default=True,
        validation_alias="API_DOCS",
        description="Whether the API serves its documentation, /docs and /openapi.json.",
    )
    api_root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        validation_alias="API_ROOT_PATH",
        description="Path below which a proxy serves the API, such as /reprise. Requests with and without the prefix"
        " are accepted.",
    )
    api_max_connections: int = Field(
        default=1000,
        ge=1,
        validation_alias="API_MAX_CONNECTIONS",
        description="Maximum connections of each HTTP port; beyond it the one that has been idle longest is closed.",
    )
    api_max_header_bytes: int = Field(
        default=64 * 1024,
        ge=1024,
        validation_alias="API_MAX_HEADER_BYTES",
        description="Maximum size of the address and headers of a request, bytes; beyond it the response is 431.",
    )
    api_max_header_fields: int = Field(
        default=100,
        ge=10,
        validation_alias="API_MAX_HEADER_FIELDS",
        description="Maximum number of headers of a request.",
    )
    api_trusted_proxies: str | None = Field(
        default=None,
        validation_alias="API_TRUSTED_PROXIES",
        description="Addresses or networks of proxies whose X-Forwarded-For names the client, separated by commas;"
        " the peer is the client if absent.",
    )
    api_keep_alive_seconds: int = Field(
        default=620,
        ge=1,
        validation_alias="API_KEEP_ALIVE_SECONDS",
        description="Idle timeout of a connection, seconds. It should exceed that of load balancers (nginx and AWS 60,"
        " Google 600): a request that meets a connection just being closed gets 502.",
    )

    @field_validator("api_trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: str | None) -> str | None:
        for proxy in proxies.split(",") if proxies else []:
            ip_network(proxy.strip(), strict=True)
        return proxies


class KeySettings(ProcessSettings):
    """API keys that a process accepts, and their rate limit."""

    api_key_hashes: SecretStr | None = Field(
        None,
        description="SHA-256 digests of the accepted API keys in hexadecimal, each alone or as name:digest, separated "
        "by commas. Without these and a file of them, no key is required.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File with one such digest per line, such as a mounted Secret; reloaded when it changes.",
    )
    rate_limit: float | None = Field(
        None,
        gt=0,
        description="Maximum predictions or events per second of each API key; unlimited if absent.",
    )
    rate_burst: float = Field(
        1000.0, ge=1, description="Maximum burst of predictions or events of an idle API key."
    )
    access_log: Literal["off", "on", "ids"] = Field(
        "on",
        description="Whether requests are logged, with the name of the API key; ids adds, in the predictor, the user"
        " and product ids.",
    )

    @property
    def api_keys(self) -> list[str]:
        """The entries of ``api_key_hashes``."""
        listed = self.api_key_hashes.get_secret_value() if self.api_key_hashes else ""
        return [entry.strip() for entry in listed.split(",") if entry.strip()]

    @model_validator(mode="after")
    def _rate_limit_needs_keys(self) -> Self:
        if self.rate_limit is not None and not self.api_keys and self.api_keys_file is None:
            raise ValueError(f"{self.env_names()['rate_limit']} needs API keys, and none are configured")
        return self


class UserIdSettings(ProcessSettings):
    """Keyed hashing of user ids."""

    user_id_key_file: Path | None = Field(
        default=None,
        validation_alias="REPRISE_USER_ID_KEY_FILE",
        description="File with a secret of at least 32 bytes. Producer and predictor replace user ids by their"
        " HMAC-SHA256 with it before anything is stored; reprise forget needs it too. Without it ids stay as they are.",
    )


class RedisSettings(ProcessSettings):
    """Address of the online store."""

    redis_host: str = Field(
        default="localhost", validation_alias="REDIS_HOST", description="Host name of the online store."
    )
    redis_port: int = Field(
        default=6379,
        ge=1,
        le=65535,
        validation_alias="REDIS_PORT",
        description="TCP port of the online store.",
    )
    redis_username: str | None = Field(
        default=None, validation_alias="REDIS_USERNAME", description="ACL user; the default user if absent."
    )
    redis_password: SecretStr | None = Field(
        default=None, validation_alias="REDIS_PASSWORD", description="Password of the online store."
    )
    redis_db: int = Field(
        default=0, ge=0, validation_alias="REDIS_DB", description="Number of the Redis database."
    )


class KafkaSettings(ProcessSettings):
    """Address of Kafka."""

    kafka_servers: str | None = Field(
        default=None,
        validation_alias="KAFKA_SERVERS",
        description="Kafka's bootstrap servers, host:port separated by commas; the embedded log if absent.",
    )


class TraceSettings(ProcessSettings):
    """Sampling and export of traces; all variables but the first are OpenTelemetry's."""

    traces: bool = Field(
        default=False,
        validation_alias="REPRISE_TRACES",
        description="Export spans of requests by OpenTelemetry; requires reprise[otel], which images built with"
        " OTEL=1 contain.",
    )
    otel_endpoint: str = Field(
        default="http://localhost:4318",
        pattern=r"^https?://.+",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="URL of the collector for OTLP over HTTP, without the path /v1/traces.",
    )
    otel_service_name: str | None = Field(
        default=None,
        min_length=1,
        validation_alias="OTEL_SERVICE_NAME",
        description="Service name in traces; the component's, such as reprise-predictor, if absent.",
    )
    otel_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field(
        default="parentbased_always_on",
        validation_alias="OTEL_TRACES_SAMPLER",
        description="Sampler of requests; parentbased_… follows the sampled flag of traceparent, and samples requests"
        " without one.",
    )
    otel_sampler_arg: float = Field(
        default=1.0,
        ge=0,
        le=1,
        validation_alias="OTEL_TRACES_SAMPLER_ARG",
        description="Sampling ratio of …traceidratio, 0 to 1.",
    )
    otel_queue: int = Field(
        default=2048,
        ge=1,
        validation_alias="OTEL_BSP_MAX_QUEUE_SIZE",
        description="Maximum number of queued spans; more are dropped and counted.",
    )


def _env_name(name: str, field: FieldInfo, prefix: str) -> str:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return (alias if isinstance(alias, str) else prefix + name).upper()
