"""Settings of processes that use the offline store."""

from pydantic import Field

from reprise.runtime.settings import ProcessSettings


class OfflineStoreSettings(ProcessSettings):
    """Address of the offline store."""

    offline_store: str = Field(
        default="data/offline",
        min_length=1,
        validation_alias="REPRISE_OFFLINE_STORE",
        description="Offline store: a folder, or a URL such as s3://bucket/offline.",
    )
