import socket

import pytest

from reprise.runtime.exceptions import InvalidSettingsError
from reprise.status.scrape.exposition import UnreadableError
from reprise.status.scrape.scraper import base_url, of_one_family, resolve
from reprise.status.settings import StatusSettings, Target, parse_targets


def test_targets_are_names_and_addresses() -> None:
    assert parse_targets("predictor=http://a:9090, predictor=http://b:9090,archiver=http://[::1]:8003/,") == (
        Target("predictor", "a", 9090),
        Target("predictor", "b", 9090),
        Target("archiver", "::1", 8003),
    )


@pytest.mark.parametrize(
    "entry",
    [
        "http://a:1",
        "predictor",
        "predictor=a:1",
        "predictor=https://a:1",
        "Predictor=http://a:1",
        "predictor=http://a:x",
        "predictor=http://a:1/metrics",
        "predictor=http://user:secret@a:1",
        "predictor=http://:1",
    ],
)
def test_what_is_no_target_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected name=http://host:port"):
        parse_targets(entry)


def test_settings_read_the_targets_and_say_which_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS_TARGETS", "producer=http://p:8001")
    assert StatusSettings.load().targets == (Target("producer", "p", 8001),)
    monkeypatch.setenv("STATUS_TARGETS", "producer:8001")
    with pytest.raises(InvalidSettingsError, match=r"STATUS_TARGETS.*'producer:8001' is none"):
        StatusSettings.load()


def test_by_default_the_services_of_this_machine_are_looked_at() -> None:
    settings = StatusSettings.load()
    assert {target.service: target.port for target in settings.targets} == {
        "predictor": 8000,
        "producer": 8001,
        "materializer": 8002,
        "archiver": 8003,
    }


async def test_host_of_two_families_is_one_process() -> None:
    assert await resolve("localhost", 80) in (["127.0.0.1"], ["::1"])


async def test_host_without_an_address_says_so() -> None:
    with pytest.raises(UnreadableError, match=r"nothing has the name nowhere\.invalid"):
        await resolve("nowhere.invalid", 80)


def test_every_address_of_a_host_is_a_process_but_only_of_one_family() -> None:
    found = [(int(socket.AF_INET), address) for address in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    found.append((int(socket.AF_INET6), "fd00::1"))
    assert of_one_family(found) == ["10.0.0.1", "10.0.0.2"]
    assert of_one_family(found[3:]) == ["fd00::1"]


def test_address_of_the_sixth_version_stands_in_brackets() -> None:
    assert base_url("fd00::1", 80) == "http://[fd00::1]:80"
    assert base_url("10.0.0.1", 80) == "http://10.0.0.1:80"
