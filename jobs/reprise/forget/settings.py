"""Settings of the ``forget`` command."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.log import EventLogSettings
from reprise.runtime.settings import Duration, UserIdSettings
from reprise.store.settings import OnlineStoreSettings


class ForgetSettings(OnlineStoreSettings, EventLogSettings, UserIdSettings):
    """Settings of the ``forget`` command."""

    model_config = SettingsConfigDict(env_prefix="FORGET_")

    offline_store: str = Field(
        default="data/offline",
        min_length=1,
        validation_alias="REPRISE_OFFLINE_STORE",
        description="Offline store: a folder, or a URL such as s3://bucket/offline.",
    )
    model_store: str = Field(
        default="models",
        min_length=1,
        validation_alias="MODEL_STORE",
        description="Model store: a folder, or an fsspec URL such as s3://bucket/models.",
    )
    group: str = Field(
        default="forget",
        min_length=1,
        description="Consumer group that asks for the ends of the topics; commits nothing.",
    )
    timeout: Duration = Field(
        default=timedelta(minutes=10),
        description="Maximum time to wait for the materializer, and then for the archiver.",
    )
    in_flight: Duration = Field(
        default=timedelta(seconds=30),
        description="Maximum time from the reading of features to the prediction's record in the log.",
    )
    duplicate_window_seconds: float = Field(
        default=86_400.0,
        gt=0,
        validation_alias="MATERIALIZER_DUPLICATE_WINDOW_SECONDS",
        description="Seconds for which event ids are kept to drop duplicates.",
    )
