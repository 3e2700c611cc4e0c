"""The producer's configuration."""

from ipaddress import ip_address

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.log import ClockSettings, EventLogSettings, MetadataSettings
from reprise.runtime.settings import ApiSettings, KeySettings, TraceSettings, UserIdSettings, port_field


class ProducerSettings(
    ApiSettings, KeySettings, EventLogSettings, ClockSettings, MetadataSettings, TraceSettings, UserIdSettings
):
    """The producer's configuration."""

    model_config = SettingsConfigDict(env_prefix="PRODUCER_")

    api_port: int = port_field(8001, "TCP port to listen on for HTTP.")
    max_events: int = Field(default=1_000, ge=1, description="Maximum events per request.")
    max_body_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="Maximum size of a request body in bytes."
    )
    ack_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Seconds to wait for the log to acknowledge a request's events."
    )
    flush_timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        description="Seconds to wait for the log to acknowledge buffered records at shutdown.",
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds to keep serving after SIGTERM while load balancers remove the process.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Whether events from other machines are accepted without API keys. Without keys and this, the"
        " producer refuses to start unless API_HOST is a loopback address.",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Separate TCP port for /metrics, without API keys; the API's port if absent.",
    )

    @property
    def is_open(self) -> bool:
        """Whether other machines may reach it without an API key."""
        if self.api_keys or self.api_keys_file is not None:
            return False
        try:
            return not ip_address(self.api_host).is_loopback
        except ValueError:
            return self.api_host != "localhost"
