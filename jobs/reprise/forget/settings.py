"""Settings of the ``forget`` command."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.archive.settings import OfflineStoreSettings
from reprise.bundle.settings import ModelStoreSettings
from reprise.log import EventLogSettings
from reprise.runtime.settings import Duration, UserIdSettings
from reprise.store.settings import DuplicateWindowSettings, OnlineStoreSettings


class ForgetSettings(
    OnlineStoreSettings,
    DuplicateWindowSettings,
    EventLogSettings,
    OfflineStoreSettings,
    ModelStoreSettings,
    UserIdSettings,
):
    """Settings of the ``forget`` command."""

    model_config = SettingsConfigDict(env_prefix="FORGET_")

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
