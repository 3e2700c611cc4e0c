"""Configuration of the operator, by environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.store.settings import OnlineStoreSettings


class RolloutSettings(OnlineStoreSettings):
    """Settings of the operator."""

    model_config = SettingsConfigDict(env_prefix="ROLLOUT_")

    namespace: str = Field(
        default="reprise",
        min_length=1,
        description="Namespace whose ModelRollouts are served and whose predictors apply them.",
    )
    predictor_selector: str = Field(
        default="app.kubernetes.io/component=predictor",
        min_length=1,
        description="Label selector of the predictors' pods.",
    )
    predictor_port_name: str = Field(
        default="metrics",
        description="Name of the container port at which a predictor answers GET /routing.",
    )
    predictor_timeout_seconds: float = Field(
        default=1.0, gt=0, description="Longest wait for what a predictor says, seconds."
    )
    prometheus_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Address of Prometheus; without one no candidate has data, so every step holds.",
    )
    prometheus_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Longest wait for an answer of Prometheus, seconds."
    )
    prometheus_matchers: str = Field(
        default="",
        pattern=r"^[^{}]*$",
        description='Label matchers that pick this installation\'s predictors, such as namespace="shop".',
    )
    settled_seconds: float = Field(
        default=2.0, gt=0, description="How often a rollout is looked at while nothing is under way, seconds."
    )
    unsettled_seconds: float = Field(
        default=0.5,
        gt=0,
        description="How often a rollout is looked at while a predictor has yet to apply or load something, seconds.",
    )
    metrics_host: str = Field(default="0.0.0.0", description="Address to listen on for /metrics.")
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="TCP port of /metrics.")
    liveness_port: int = Field(default=8080, ge=0, le=65535, description="TCP port of /healthz.")
    dry_run: bool = Field(
        default=False, description="Decide and log, and write nothing: no status, no document, no event."
    )
