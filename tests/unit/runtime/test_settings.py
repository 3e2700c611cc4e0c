import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from reprise.runtime.exceptions import InvalidSettingsError
from reprise.runtime.settings import ApiSettings, KafkaSettings, RedisSettings


class ShopSettings(ApiSettings, RedisSettings, KafkaSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    max_batch: int = Field(default=1000, ge=1, description="Most items in one batch.")
    token: SecretStr | None = Field(default=None, min_length=8, description="A secret.")


def test_shared_names_and_prefixed_names_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "9000")
    monkeypatch.setenv("REDIS_HOST", "redis.example")
    monkeypatch.setenv("KAFKA_SERVERS", "kafka:9092")
    monkeypatch.setenv("SHOP_MAX_BATCH", "7")
    settings = ShopSettings.load()
    assert (settings.api_port, settings.redis_host) == (9000, "redis.example")
    assert (settings.kafka_servers, settings.max_batch) == ("kafka:9092", 7)


def test_override_wins_over_the_environment_and_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "9000")
    monkeypatch.setenv("API_HOST", "10.0.0.1")
    settings = ShopSettings.load(api_port=1234, api_host=None)
    assert (settings.api_port, settings.api_host) == (1234, "10.0.0.1")


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "")
    assert ShopSettings.load().redis_password is None


def test_every_variable_at_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "http")
    monkeypatch.setenv("SHOP_MAX_BATCH", "0")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(InvalidSettingsError) as caught:
        ShopSettings.load()
    message = str(caught.value)
    assert "API_PORT: " in message
    assert "'http'" in message
    assert "SHOP_MAX_BATCH: " in message
    assert "LOG_LEVEL: expected one of debug" in message


def test_misspelt_variable_under_the_prefix_is_refused_with_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_MAX_BATHC", "5")
    with pytest.raises(
        InvalidSettingsError, match="SHOP_MAX_BATHC: no such setting; did you mean SHOP_MAX_BATCH"
    ):
        ShopSettings.load()


def test_what_kubernetes_adds_for_a_service_is_no_misspelling(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"SHOP_{name}", "10.96.0.1")
    ShopSettings.load()


def test_port_that_kubernetes_overwrote_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "tcp://10.96.0.1:6379")
    with pytest.raises(InvalidSettingsError, match=r"REDIS_PORT: .*enableServiceLinks"):
        ShopSettings.load()


def test_secret_is_neither_printed_nor_quoted_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    assert "hunter2" not in repr(ShopSettings.load())
    monkeypatch.setenv("SHOP_TOKEN", "short")
    with pytest.raises(InvalidSettingsError, match="SHOP_TOKEN") as caught:
        ShopSettings.load()
    assert "'short'" not in str(caught.value)


def test_settings_do_not_change() -> None:
    settings = ShopSettings.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.max_batch = 5
