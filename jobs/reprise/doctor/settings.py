"""The doctor's configuration."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from reprise.bundle.settings import TrustSettings
from reprise.log import EventLogSettings
from reprise.routing.settings import RoutingTrustSettings
from reprise.store.settings import OnlineStoreSettings

LATEST = "latest"


class DoctorSettings(OnlineStoreSettings, EventLogSettings, TrustSettings, RoutingTrustSettings):
    """Addresses of an installation's components, and timeouts."""

    model_config = SettingsConfigDict(env_prefix="DOCTOR_")

    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan that the materializers run.",
    )
    model_store: str | None = Field(
        default=None,
        min_length=1,
        validation_alias="MODEL_STORE",
        description="Where the model bundles are: a path, or any URL of fsspec, such as s3://bucket/models.",
    )
    model_digest: str = Field(
        default=LATEST,
        validation_alias="MODEL_DIGEST",
        pattern=r"^(latest|sha256:[0-9a-f]{64})$",
        description="The bundle that predictors are configured with: sha256:… or latest.",
    )
    feast_registry: str | None = Field(
        default=None,
        min_length=1,
        validation_alias="FEAST_REGISTRY",
        description="The file of Feast's registry: a path, or any URL of fsspec, such as s3://bucket/registry.db.",
    )
    predictor_url: str = Field(
        default="http://localhost:8000", pattern=r"^https?://", description="Base URL of the predictor."
    )
    producer_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Base URL of the producer; if absent, the canary's event goes to the log directly.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="API key for the predictor, if it requires one."
    )
    producer_api_key: SecretStr | None = Field(
        default=None, description="API key for the producer, if it requires one."
    )
    materializer_redis_username: str | None = Field(
        default=None,
        min_length=1,
        description="Redis user of the materializer, which must be able to write; if absent, this is not checked.",
    )
    materializer_redis_password: SecretStr | None = Field(
        default=None, description="That user's password, to try a write; if absent, ACL DRYRUN is asked."
    )
    predictor_redis_username: str | None = Field(
        default=None,
        min_length=1,
        description="Redis user of the predictor, which must not be able to write; if absent, this is not checked.",
    )
    predictor_redis_password: SecretStr | None = Field(
        default=None, description="That user's password, to try a write; if absent, ACL DRYRUN is asked."
    )
    check_seconds: float = Field(
        default=30.0, gt=0, description="Timeout of each check except the canary, seconds."
    )
    settle_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Time from the start in which a failed check is run again, seconds: a new pod's NetworkPolicies may"
        " take a while to let its traffic through.",
    )
    canary_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Maximum time until the features of the canary's event can be read, seconds.",
    )
