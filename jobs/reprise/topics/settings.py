"""Settings of the topics job."""

from pydantic_settings import SettingsConfigDict

from reprise.log.settings import KafkaAccessSettings


class TopicsSettings(KafkaAccessSettings):
    """Settings of the topics job."""

    model_config = SettingsConfigDict(env_prefix="TOPICS_")
