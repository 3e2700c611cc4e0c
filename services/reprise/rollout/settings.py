"""Settings of the operator."""

from pydantic import Field, FilePath
from pydantic_settings import SettingsConfigDict

from reprise.bundle.settings import TrustSettings
from reprise.routing.settings import RoutingTrustSettings
from reprise.runtime.settings import ApiSettings, port_field
from reprise.store.settings import OnlineStoreSettings


class RolloutSettings(ApiSettings, OnlineStoreSettings, TrustSettings, RoutingTrustSettings):
    """Settings of the operator: ``ROLLOUT_*`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="ROLLOUT_")

    api_port: int = port_field(9090, "TCP port of /metrics and /healthz.")
    namespace: str = Field(
        default="reprise", min_length=1, description="Namespace of the ModelRollouts and the predictors."
    )
    model_store: str | None = Field(
        default=None,
        min_length=1,
        validation_alias="MODEL_STORE",
        description="Model store, whose latest follows the baseline after a promotion, and whose bundles are verified;"
        " neither is done if absent.",
    )
    routing_signing_key_file: FilePath | None = Field(
        default=None,
        validation_alias="REPRISE_ROUTING_SIGNING_KEY_FILE",
        description="PEM file of the private key that signs the routing document; not signed if absent.",
    )
    evidence_trusted_keys_file: FilePath | None = Field(
        default=None,
        validation_alias="REPRISE_EVIDENCE_TRUSTED_KEYS_FILE",
        description="PEM file of Ed25519 public keys, by one of which the evidence has to be signed; signatures are not"
        " checked if absent.",
    )
    predictor_selector: str = Field(
        default="app.kubernetes.io/component=predictor",
        min_length=1,
        description="Label selector of the predictor pods.",
    )
    predictor_port_name: str = Field(
        default="metrics", description="Name of the container port that serves GET /routing."
    )
    predictor_timeout_seconds: float = Field(
        default=1.0, gt=0, description="Timeout of GET /routing, seconds."
    )
    prometheus_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of Prometheus; without one metrics have no data, so every step holds.",
    )
    prometheus_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Timeout of a Prometheus query, seconds."
    )
    prometheus_matchers: str = Field(
        default="",
        pattern=r"^[^{}]*$",
        description='Label matchers that select this installation\'s predictors, such as namespace="shop".',
    )
    settled_seconds: float = Field(
        default=2.0,
        gt=0,
        description="Interval of reconciliation while every predictor has applied everything, seconds.",
    )
    unsettled_seconds: float = Field(
        default=0.5,
        gt=0,
        description="Interval of reconciliation while a predictor has yet to load or apply something, seconds.",
    )
    dry_run: bool = Field(
        default=False, description="Decide and log, but write no status, document or event."
    )
