"""Faults that are made on a running platform, and the alerts that should fire by them and clear once they are mended.

The rules are the chart's, shortened by a factor that is stated, so that what takes minutes takes seconds.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reprise.cli.demo.processes import StepFailedError
from reprise.log import EVENTS, EventLogSettings
from reprise.log.backend import open_producer
from support.observed_platform import RULES, Platform
from support.prometheus import Prometheus
from support.shortened_rules import shortened_rules

FACTOR = 120.0
"""By how much the rules are shortened: ten minutes become five seconds."""

LEAST_WINDOW_SECONDS = 5.0
"""Five scrapes."""

_FIRES_SECONDS = 60.0
_CLEARS_SECONDS = 90.0


@dataclass(frozen=True)
class Incident:
    """One fault, the alerts that fire by it, and how it is made and mended, as a person would by the runbook."""

    fault: str
    alerts: tuple[str, ...]
    make: Callable[[], None]
    mend: Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """After how many seconds an alert fired by its fault and cleared by the mending; None where it did not."""

    alert: str
    fault: str
    fired_after: float | None
    cleared_after: float | None


def shortened_prometheus(platform: Platform) -> Prometheus:
    """Start a Prometheus that watches a platform by the shortened rules."""
    rules = shortened_rules(RULES.read_text(), FACTOR, LEAST_WINDOW_SECONDS)
    return platform.watch("prometheus-shortened", rules)


def run_round(platform: Platform, prometheus: Prometheus, name: str) -> list[Outcome]:
    """Make the faults of a round, see their alerts fire, mend them, and see the alerts clear."""
    incidents = [make_incident(platform) for make_incident in ROUNDS[name]]
    faults = {alert: incident for incident in incidents for alert in incident.alerts}
    states = prometheus.states()
    already = [alert for alert in faults if states[alert] == "firing"]
    assert not already, f"these fire before anything was done: {already}"
    made = {}
    for incident in incidents:
        made[incident.fault] = time.monotonic()
        incident.make()
    fired = {alert: at - made[faults[alert].fault] for alert, at in _seen(prometheus, set(faults), "firing")}
    mended = {}
    for incident in incidents:
        incident.mend()
        mended[incident.fault] = time.monotonic()
    cleared = {
        alert: max(0.0, at - mended[faults[alert].fault])
        for alert, at in _seen(prometheus, set(fired), "inactive")
    }
    return [
        Outcome(alert, incident.fault, fired.get(alert), cleared.get(alert))
        for alert, incident in faults.items()
    ]


def _seen(prometheus: Prometheus, alerts: set[str], state: str) -> Iterator[tuple[str, float]]:
    """Give each alert when it is first seen in a state, as long as one may wait for it."""
    give_up = time.monotonic() + (_FIRES_SECONDS if state == "firing" else _CLEARS_SECONDS)
    waiting = set(alerts)
    while waiting and time.monotonic() < give_up:
        states = prometheus.states()
        for alert in [alert for alert in waiting if states[alert] == state]:
            waiting.discard(alert)
            yield alert, time.monotonic()
        time.sleep(0.2)


def _broken_events(platform: Platform) -> Incident:
    def send() -> None:
        kafka = platform.kafka
        where = {"kafka_servers": kafka.broker.servers} if kafka else {"log_dir": platform.paths.log}
        producer = open_producer(EventLogSettings.load(**where))
        for number in range(10):
            producer.append(EVENTS.name, f"u{number}".encode(), b"{no event").result(10)
        producer.close(10)

    # They lie in the dead letters, and the stream goes on: nothing is to be mended
    return Incident("ten broken records in the events' topic", ("RepriseDeadLetters",), send, lambda: None)


def _corrupt_model(platform: Platform) -> Incident:
    pointer = platform.paths.models / "latest.json"
    good = pointer.read_bytes()
    corrupt = platform.paths.models / "bundles" / f"sha256-{'0' * 64}"

    def publish() -> None:
        shutil.copytree(platform.paths.bundle, corrupt)
        pointer.write_text(f'{{"digest": "sha256:{"0" * 64}"}}\n')

    def take_back() -> None:
        pointer.write_bytes(good)
        shutil.rmtree(corrupt)

    fault = "a bundle that is not what its digest says, as the latest"
    return Incident(fault, ("RepriseModelRefused",), publish, take_back)


def _failing_job(platform: Platform) -> Incident:
    def fail() -> None:
        nothing = platform.paths.root / "nothing"
        try:
            platform.run_job("outcomes", "outcomes", "--offline", str(nothing), "--no-publish")
        except StepFailedError:
            return
        raise AssertionError("outcomes of nothing did not fail")

    def succeed() -> None:
        # other faults keep features from being fresh meanwhile, which would be found, rightly
        platform.judge(check_rows=0)

    return Incident("outcomes of an empty offline store", ("RepriseJobFailed",), fail, succeed)


def _full_redis(platform: Platform) -> Incident:
    # what it holds is little, so that a share of it would be written in seconds, and writes then refused
    ballast = 64 * 1024 * 1024

    def fill() -> None:
        with platform.redis.client() as client:
            client.setrange("ballast", ballast, b"0")
            client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.9))

    def relieve() -> None:
        with platform.redis.client() as client:
            client.config_set("maxmemory", 0)
            client.delete("ballast")

    return Incident("Redis uses 90% of its memory", ("RepriseRedisMemoryHigh",), fill, relieve)


def _killed_materializer(platform: Platform) -> Incident:
    return Incident(
        "the materializer is stopped",
        ("RepriseNothingFolded", "RepriseServiceMissing"),
        lambda: platform.tree.stop("materializer"),
        lambda: platform.start("materializer"),
    )


def _killed_redis(platform: Platform) -> Incident:
    alerts = ("RepriseOnlineStoreAway", "RepriseRedisDown", "RepriseServiceNotReady")
    burning = "ReprisePredictionErrorBudgetBurnsFast"
    return Incident("Redis is killed", (*alerts, burning), platform.redis.stop, platform.redis.start)


ROUNDS: dict[str, tuple[Callable[[Platform], Incident], ...]] = {
    # the job takes seconds to fail, and the alert of broken records is over in seconds
    "several at once": (_failing_job, _corrupt_model, _full_redis, _broken_events),
    "materializer stopped": (_killed_materializer,),
    "redis killed": (_killed_redis,),
}
"""The incidents; those of one round do not affect each other."""
