"""The job's configuration."""

from pydantic_settings import SettingsConfigDict

from reprise.log.settings import KafkaAccessSettings


class TopicsSettings(KafkaAccessSettings):
    """The job's configuration."""

    model_config = SettingsConfigDict(env_prefix="TOPICS_")
