"""The pages that people look at are reached through the Ingress."""

import httpx
import pytest
import yaml

from e2e.support.cluster import FIXTURES, INGRESS
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

HOST = yaml.safe_load((FIXTURES / "watched.yaml").read_text())["feast"]["ui"]["ingress"]["host"]


def test_feast_shows_the_registry(watched_platform: WatchedPlatform) -> None:
    watched_platform.platform.kubectl("rollout", "status", "deployment/reprise-feast-ui", "--timeout=240s")
    with httpx.Client(base_url=INGRESS, headers={"Host": HOST}, timeout=15) as client:
        page = wait_until("the page is there", lambda: _ok(client, "/"), 60, every=1)
        assert "<title>Feast" in page.text
        listed = _ok(client, "/projects-list.json")
        assert listed is not None
        assert [each["id"] for each in listed.json()["projects"]] == ["reprise"]


def _ok(client: httpx.Client, path: str) -> httpx.Response | None:
    answer = client.get(path)
    return answer if answer.status_code == 200 else None
