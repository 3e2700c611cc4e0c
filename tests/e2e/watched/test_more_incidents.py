"""The incidents that take longer to make or to mend; REPRISE_INCIDENTS=all makes them, after those of every run."""

import time

import pytest

from e2e.support.cluster import Platform
from e2e.support.customers import PAIRS, Customers, new_event
from e2e.support.on_call import LAG, ONLY_WITH_ALL, Open
from e2e.support.two_arms import apply_rollout, served_digest
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("customers"),
    ONLY_WITH_ALL,
]
REDIS = "statefulset/reprise-redis"
MISSING_DIGEST = "sha256:" + "ab" * 32


def test_old_events_are_sent(customers: Customers, on_call: Open) -> None:
    incident = on_call("Features are stale")

    def age(seconds: float) -> None:
        customers.age_seconds = seconds

    incident.happens("the shop sends events that are two minutes old", lambda: age(120))
    incident.sees("RepriseFeaturesStale")
    incident.asks("reprise:freshness_seconds:p95_5m")
    incident.asks("reprise:lag_records:sum")
    incident.note("mended: the sender sends fresh events again")
    age(0)
    incident.sees_cleared("RepriseFeaturesStale")


def test_redis_is_full(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("Redis is full")
    platform = watched_platform.platform
    incident.happens("Redis may have 2 MB", lambda: platform.upgrade("--set-string=redis.maxMemory=2mb"))
    incident.sees("RepriseRedisMemoryHigh", "RepriseNothingFolded", seconds=180)
    incident.asks("redis_memory_used_bytes / redis_memory_max_bytes")
    incident.reads_log("deployment/reprise-materializer", "folding_delayed")
    incident.runs(
        "helm -n reprise upgrade reprise charts/reprise --reset-then-reuse-values --set-string redis.maxMemory=256mb"
    )
    incident.sees_cleared("RepriseRedisMemoryHigh", "RepriseNothingFolded", seconds=180)


def test_redis_crashes_again_and_again(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("The online store is away")
    platform = watched_platform.platform

    def crash() -> None:
        for _ in range(3):
            restarts = platform.restarts("reprise-redis-0", "redis")
            platform.kubectl("exec", "reprise-redis-0", "--container=redis", "--", "sh", "-c", "kill 1")
            wait_until(
                "it has ended", lambda n=restarts: platform.restarts("reprise-redis-0", "redis") > n, 90
            )

    incident.happens("the container of Redis ends three times", crash)
    incident.sees("RepriseRedisDown")
    incident.runs("kubectl -n reprise get statefulset,pods -l app.kubernetes.io/component=redis")
    incident.looks("kubectl -n reprise logs reprise-redis-0 -c redis --previous --tail=3")
    incident.sees_cleared("RepriseRedisDown")
    platform.kubectl("rollout", "status", "statefulset/reprise-redis", "--timeout=120s")


def test_a_replica_loses_its_primary(watched_platform: WatchedPlatform, on_call: Open) -> None:
    platform = watched_platform.platform
    replicated = platform.fixture("replicated-redis.yaml")
    platform.kubectl("apply", "-f", "-", stdin=replicated)
    try:
        for name in ("primary", "replica"):
            platform.kubectl("rollout", "status", f"deployment/replicated-{name}", "--timeout=60s")
        follows = "redis_master_link_up == 1"
        wait_until("the replica follows", lambda: bool(watched_platform.prometheus.query(follows)), 60)
        incident = on_call("Redis does not replicate")
        primary = "deployment/replicated-primary"
        incident.happens("the primary is scaled to 0", lambda: platform.scale(primary, 0))
        incident.sees("RepriseRedisReplicationBroken", seconds=120)
        incident.asks("redis_master_link_up")
        incident.reads_log("deployment/replicated-replica", "MASTER", since="1m")
        platform.scale(primary, 1)
        incident.note("mended: the primary is there again")
        incident.sees_cleared("RepriseRedisReplicationBroken", seconds=120)
    finally:
        platform.kubectl("delete", "-f", "-", "--timeout=60s", stdin=replicated)


def test_events_outrun_a_store_that_is_away(watched_platform: WatchedPlatform, on_call: Open) -> None:
    platform = watched_platform.platform
    with platform.client as client:
        incident = on_call("The lag grows")
        incident.happens("Redis is scaled to 0", lambda: platform.scale(REDIS, 0))
        began = time.monotonic()
        while not watched_platform.firing("RepriseLagGrows") and time.monotonic() - began < 180:
            client.post("/events", json=[new_event(*PAIRS[n]) for n in range(200)])
            time.sleep(0.3)
    incident.sees("RepriseLagGrows", seconds=10)
    incident.asks("reprise:lag_records:sum")
    incident.runs_with_kafka(LAG)
    platform.scale(REDIS, 1)
    incident.note("mended: Redis is there again")
    incident.sees_cleared("RepriseLagGrows")
    incident.runs_with_kafka(LAG)


def test_an_operator_cannot_read_what_it_has_published(
    watched_platform: WatchedPlatform, on_call: Open
) -> None:
    platform = watched_platform.platform
    _missing_candidate(platform)
    incident = on_call("A rollout is stuck")
    # the operator tries again each ten seconds, whatever the rules' minutes are
    with watched_platform.other_rules(factor=15):
        incident.happens(
            "Redis is scaled to 0 while a rollout goes on; a minute of the rules is four seconds here",
            lambda: platform.scale(REDIS, 0),
        )
        incident.sees("RepriseRolloutReconcileFails", seconds=180)
        incident.reads_log("deployment/reprise-rollout", "look_failed")
        incident.runs("kubectl -n reprise get modelrollouts")
        platform.scale(REDIS, 1)
        incident.note("mended: Redis is there again")
        incident.sees_cleared("RepriseRolloutReconcileFails", seconds=180)
    platform.kubectl("delete", "modelrollout", "incident", "--timeout=30s")


def test_a_rollout_of_a_model_that_is_not_there_is_taken_back_by_itself(
    watched_platform: WatchedPlatform, on_call: Open
) -> None:
    platform = watched_platform.platform
    incident = on_call("A rollout is stuck")
    missing = "a rollout names a digest that the store does not have"
    incident.happens(missing, lambda: _missing_candidate(platform))
    wait_until("it is taken back", lambda: "RolledBack" in platform.kubectl("get", "modelrollouts"), 90)
    incident.runs("kubectl -n reprise get modelrollouts")
    incident.looks("kubectl -n reprise describe modelrollout incident | sed -n '/Events:/,$p'")
    incident.reads_log("deployment/reprise-predictor", "arm_not_loaded")
    incident.runs("kubectl -n reprise delete modelrollout incident")


def test_a_rollout_that_predictors_do_not_look_for(watched_platform: WatchedPlatform, on_call: Open) -> None:
    platform = watched_platform.platform
    digest = served_digest(platform)
    incident = on_call("A rollout is stuck")

    def make() -> None:
        platform.upgrade("--set-json=predictor.settings.PREDICTOR_ROUTING_SECONDS=0")
        platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
        _missing_candidate(platform, digest)

    incident.happens("predictors are told never to look for a rollout, and one begins", make)
    incident.sees("RepriseRolloutStuck", seconds=120)
    incident.runs("kubectl -n reprise get modelrollouts")
    incident.runs("helm -n reprise rollback reprise")
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
    incident.sees_cleared("RepriseRolloutStuck")
    platform.kubectl("delete", "modelrollout", "incident", "--timeout=30s")


def test_the_predictors_are_throttled(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("Predictions are slow")
    platform = watched_platform.platform
    incident.happens(
        "somebody limits the predictor's CPU to three hundredths of a core",
        lambda: platform.limit_cpu("predictor", "30m"),
    )
    incident.sees("ReprisePredictionLatencyBudgetBurnsFast", seconds=180)
    incident.asks(
        "histogram_quantile(0.95, sum by (stage, le) (rate(reprise_predictor_stage_seconds_bucket[30s])))"
    )
    incident.asks(
        'sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{pod=~"reprise-predictor.*"}[30s]))'
        ' / sum by (pod) (rate(container_cpu_cfs_periods_total{pod=~"reprise-predictor.*"}[30s]))'
    )
    incident.runs(
        "kubectl -n reprise get pods -l app.kubernetes.io/component=predictor -o custom-columns="
        "POD:.metadata.name,LIMITS:.spec.containers[*].resources.limits"
    )
    incident.runs("kubectl -n reprise rollout restart deploy/reprise-predictor")
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=180s")
    incident.sees_cleared("ReprisePredictionLatencyBudgetBurnsFast", seconds=240)


def _missing_candidate(platform: Platform, baseline: str | None = None) -> None:
    """Begin a rollout whose candidate the model store does not have."""
    quick = {"interval": "1s", "window": "10s"}
    baseline = baseline or served_digest(platform)
    apply_rollout(platform, "incident", baseline, MISSING_DIGEST, percent=20, **quick)
