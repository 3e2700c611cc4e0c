"""Settings of processes that use the offline store."""

from pathlib import Path

import click
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


class EventSourceSettings(ProcessSettings):
    """Address of the offline store, for jobs that read events from it, from files, or from both."""

    offline_store: str | None = Field(
        default=None,
        min_length=1,
        validation_alias="REPRISE_OFFLINE_STORE",
        description="The offline store: a folder, or a URL such as s3://bucket/offline.",
    )

    def offline_url(self, events: Path | None, offline: str | None) -> str | None:
        """Return the store's URL by the options ``--events`` and ``--offline``, None to read files alone.

        Raises:
            click.UsageError: There is neither a file nor a store.
        """
        url = offline or (self.offline_store if events is None else None)
        if events is None and url is None:
            raise click.UsageError("give --events, --offline, or REPRISE_OFFLINE_STORE")
        return url
