from typing import Any

import pytest

from reprise.runtime.exceptions import InvalidSettingsError
from reprise.store.settings import OnlineStoreSettings


def test_the_store_is_found_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "store")
    monkeypatch.setenv("REDIS_PORT", "6380")
    monkeypatch.setenv("REDIS_DB", "2")
    monkeypatch.setenv("REDIS_TLS", "true")
    monkeypatch.setenv("REDIS_PASSWORD", "geheim")
    monkeypatch.setenv("FEAST_PROJECT", "shop")
    settings = OnlineStoreSettings()
    assert settings.redis_address == "rediss://store:6380/2"
    assert settings.feast_project == "shop"
    assert settings.redis_password is not None
    assert settings.redis_password.get_secret_value() == "geheim"
    assert "geheim" not in repr(settings) + str(settings) + settings.redis_address


def test_a_cluster_is_named_in_feasts_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_TYPE", "redis_cluster")
    monkeypatch.setenv("REDIS_HOST", "fd00::1")
    monkeypatch.setenv("REDIS_NODES", "redis-1:6379, [fd00::2]:7000")
    settings = OnlineStoreSettings()
    assert settings.is_cluster
    assert settings.redis_addresses == (("fd00::1", 6379), ("redis-1", 6379), ("fd00::2", 7000))
    assert settings.redis_address == "redis://[fd00::1]:6379,redis-1:6379,[fd00::2]:7000 (cluster)"


def test_replicas_are_waited_for_on_a_cluster_unless_told_otherwise() -> None:
    for kind, usual, other in (("redis", 0, 1), ("redis_cluster", 1, 0)):
        assert OnlineStoreSettings(redis_type=kind).replicas_waited_for == usual
        assert OnlineStoreSettings(redis_type=kind, redis_wait_replicas=other).replicas_waited_for == other


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        *(({"feast_project": project}, "FEAST_PROJECT") for project in ("", "a b", "_x", "a/b")),
        *(
            ({"redis_nodes": nodes}, "expected host:port,host:port")
            for nodes in ("redis-1", "redis-1:", ":6379", "redis-1:0", "redis-1:x")
        ),
        ({"redis_type": "redis_cluster", "redis_db": 3}, "database 0 only, and REDIS_DB is 3"),
        ({"redis_ca_file": "/nowhere/none.pem"}, "REDIS_CA_FILE"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSettingsError, match=reason):
        OnlineStoreSettings.load(**given)
