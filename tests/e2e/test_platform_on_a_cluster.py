"""The platform on a real cluster, from installation to removal; the tests build on one another, in this order."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from e2e.support.cluster import CHART, FIXTURES, RELEASE, ROOT, Platform, is_ready
from e2e.support.connections import connects, idle_job, is_refused, strangers
from e2e.support.customers import new_event, questions_about
from e2e.support.steady_load import SteadyLoad
from reprise.cli.demo.parity import compare_online
from reprise.datagen.main import command as datagen
from reprise.events import Event, event_from_fields
from reprise.features.plan import Plan
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

PLAN = Plan.load(ROOT / "feature_repo/plan/plan.json")
STRIMZI = "kafka.strimzi.io"
# What the job wrote into the volume of the offline store, which the archiver mounts too.
SCORED = """
import json, pathlib
import pyarrow.parquet as pq
out = pathlib.Path("/var/lib/reprise/offline/scores")
[scores], [demand] = out.glob("date=*/model=*/_manifest.json"), out.glob("demand-*.json")
found = {"scores": json.loads(scores.read_text()), "demand": json.loads(demand.read_text())}
parts = [pq.read_table(scores.parent / name) for name in found["scores"]["files"]]
found["rows"] = sum(len(part) for part in parts)
found["probability"] = max(part["probability"].to_numpy().max() for part in parts).item()
found["report"] = len((out / "report.html").read_text())
found["products"] = pq.read_table(out / found["demand"]["file"]).to_pylist()
print(json.dumps(found))
"""
# An address, who must not connect to it, and who does
FLOWS = [
    ("reprise-redis:6379", "pod/stranger", "deployment/reprise-predictor"),
    ("reprise-redis:6379", "deployment/reprise-archiver", "deployment/reprise-materializer"),
    ("reprise-predictor-metrics:9090", "pod/stranger", "deployment/reprise-status"),
    ("kubernetes.default:443", "deployment/reprise-predictor", "pod/stranger"),
    ("kafka:9092", "job/idle-trainer", "deployment/reprise-archiver"),
    # outside of the release, as the Internet is
    ("stranger:8000", "job/idle-trainer", "pod/closed"),
]
PAIRS = [(f"u{user:06d}", f"p{product:05d}") for user, product in zip(range(600), range(120), strict=False)]


@pytest.fixture(scope="module")
def history(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of the cluster, made by its datagen Job, and once more here: equal options, equal files."""
    platform.run_job("datagen")
    shop = yaml.safe_load((FIXTURES / "values.yaml").read_text())["datagen"]
    path = tmp_path_factory.mktemp("history") / "history.parquet"
    start = (datetime.now(UTC) - timedelta(days=shop["days"])).date()
    sizes = [f"--{name}={shop[name]}" for name in ("days", "users", "products")]
    arguments = [str(path), "--seed=7", f"--start={start}", *sizes]
    made = CliRunner().invoke(datagen, arguments)
    assert made.exit_code == 0, made.output
    return path


@pytest.fixture(scope="module")
def serving(platform: Platform, history: Path) -> Iterator[httpx.Client]:
    """A client of the platform, after a model was trained and the online store filled."""
    trained, filled = platform.run_jobs("trainer", "backfill")
    assert "AUC" in trained
    assert "events: wrote" in filled
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
    with platform.client as client:
        wait_until("the Ingress leads to the predictor", lambda: client.get("/ready").status_code == 200, 60)
        yield client


@pytest.fixture(scope="module")
def sent() -> list[Event]:
    """What was accepted by the producer, so far."""
    return []


def _send(client: httpx.Client, sent: list[Event], bodies: list[dict[str, Any]]) -> None:
    answer = client.post("/events", json=bodies)
    assert answer.status_code == 202, answer.text
    sent += map(event_from_fields, bodies)


def _purchases(client: httpx.Client, user: str, product: str) -> float:
    answer = client.get(f"/features/{user}", params={"product_id": product})
    return answer.raise_for_status().json()["features"]["pair_purchases"] or 0.0


def test_the_chart_installs_into_a_restricted_namespace(platform: Platform) -> None:
    for name in ("topics", "feast"):
        jobs = platform.get("jobs", f"--selector=app.kubernetes.io/component={name}")["items"]
        assert len(jobs) == 1
        platform.kubectl(
            "wait", "--for=condition=Complete", f"job/{jobs[0]['metadata']['name']}", "--timeout=180s"
        )


def test_history_and_model_come_from_jobs_and_predictions_through_the_ingress(serving: httpx.Client) -> None:
    user, product = PAIRS[1]
    answer = serving.post("/predict", json={"user_id": user, "product_id": product}).raise_for_status().json()
    assert answer["known"]["user"]
    assert answer["known"]["product"]
    assert 0 <= answer["probability"] <= 1
    assert answer["model_version"].startswith("sha256:")


def test_an_event_sent_through_the_ingress_changes_the_features(
    serving: httpx.Client, sent: list[Event]
) -> None:
    user, product = PAIRS[2]
    before = _purchases(serving, user, product)
    _send(serving, sent, [new_event(user, product, 12.5)])
    wait_until("the purchase counts", lambda: _purchases(serving, user, product) == before + 1, 20, every=0.1)


def test_a_job_erases_the_users_of_a_secret(platform: Platform, serving: httpx.Client) -> None:
    user, product = "e2e-erased", "e2e-erased-product"
    assert serving.post("/events", json=new_event(user, product, 3.0)).status_code == 202
    wait_until("the purchase counts", lambda: _purchases(serving, user, product) == 1, 20, every=0.1)
    platform.kubectl("create", "secret", "generic", "reprise-forget-users", f"--from-literal=users={user}")
    log = platform.run_job("forget", FORGET_IN_FLIGHT="0s")
    # how many of its rows were archived already is a matter of time
    assert "1 users: features removed" in log
    assert "user 1: erased" in log
    assert _purchases(serving, user, product) == 0


def test_a_night_scores_every_pair_and_user_of_the_history_and_forecasts_the_demand(
    platform: Platform, serving: httpx.Client, history: Path
) -> None:
    said = platform.run_job("scoring")
    read = ("exec", "deployment/reprise-archiver", "--", "python3", "-c", SCORED)
    found = json.loads(platform.kubectl(*read))
    # The history ends at midnight, which is the night's instant; live events are later
    events = pq.read_table(history, columns=["user_id", "product_id", "event_type"])
    bought = events.filter(pc.equal(events["event_type"], "purchase"))
    pairs = len(bought.group_by(["user_id", "product_id"]).aggregate([]))
    assert found["scores"]["pairs"] == found["rows"] == pairs
    assert 0 < found["probability"] <= 1
    assert found["scores"]["model"] == serving.get("/model/info").json()["digest"]
    assert {row["product_id"] for row in found["products"]} == set(bought["product_id"].to_pylist())
    assert sum(row["units"] for row in found["products"]) == pytest.approx(found["demand"]["units"])
    assert len(found["demand"]["backtests"]) == 2
    assert f"{len(pc.unique(bought['user_id'])):,} users" in said
    assert found["report"] > 10_000
    assert platform.run_job("scoring").count("nothing to do") == 3
    assert json.loads(platform.kubectl(*read)) == found


def test_helm_test_makes_a_prediction(platform: Platform, serving: httpx.Client) -> None:
    assert "200" in platform.helm("test", RELEASE, "--logs")


def test_the_doctor_finds_everything_well(platform: Platform, serving: httpx.Client) -> None:
    said = platform.run_job("doctor")
    assert said.splitlines()[-1].strip() == "10 ok", said


def test_the_status_page_finds_every_pod_without_a_token(platform: Platform, serving: httpx.Client) -> None:
    def all_of_them() -> dict[str, Any] | None:
        report: dict[str, Any] = serving.get("/status.json").raise_for_status().json()
        ready = {service["name"]: service["ready"] for service in report["services"]}
        pods = {name: len(platform.pods(name)) for name in ready}
        return report if ready == pods and report["figures"]["fold_rate"]["value"] is not None else None

    report = wait_until("the page has found every pod, ready", all_of_them, 60)
    found = [service["name"] for service in report["services"]]
    assert found == ["predictor", "producer", "materializer", "archiver"]
    digest = serving.get("/model/info").json()["digest"]
    assert report["model"]["digest"] == digest
    assert 0.5 < report["model"]["auc"]["value"] < 1
    page = serving.get("/status").raise_for_status()
    assert digest.removeprefix("sha256:")[:12] in page.text
    assert "script-src 'sha256-" in page.headers["content-security-policy"]


def test_only_pods_that_a_policy_names_connect(platform: Platform, serving: httpx.Client) -> None:
    with strangers(platform), idle_job(platform, "trainer"):
        if not is_refused(platform, "pod/stranger", "closed:8000"):
            pytest.skip(
                "a pod reaches another that a NetworkPolicy closes: the network does not enforce them"
            )
        for address, stranger, client in FLOWS:
            assert connects(platform, client, address), f"{client} does not connect to {address}"
            assert is_refused(platform, stranger, address), f"{stranger} connects to {address}"
            assert connects(platform, client, address), f"{client} no longer connects to {address}"


def test_a_materializer_that_is_killed_loses_nothing_and_counts_nothing_twice(
    platform: Platform, serving: httpx.Client, sent: list[Event], history: Path
) -> None:
    pairs = [*PAIRS[:40], *((f"e2e-{number}", PAIRS[number][1]) for number in range(20))]
    for _ in range(3):
        for batch in range(10):
            bodies = [
                new_event(user, product, 5.0 + n / 8 if (batch + n) % 3 else None)
                for n, (user, product) in enumerate(pairs)
            ]
            _send(serving, sent, bodies)
            if batch == 4:
                pod = platform.pods("materializer")[0]["metadata"]["name"]
                platform.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
            # What a shop sends twice counts once.
            assert serving.post("/events", json=bodies[:5]).status_code == 202
    _send(serving, sent, [new_event("e2e-last", PAIRS[0][1], 1.0)])

    def equals() -> bool:
        compared = compare_online(serving, "", PLAN, history, sent, pairs)
        return not compared.mismatches

    platform.kubectl("rollout", "status", "deployment/reprise-materializer", "--timeout=120s")
    wait_until("what is served equals the batch executor", equals, 90, every=2)


def test_an_upgrade_of_the_configuration_under_load_loses_no_request(
    platform: Platform, serving: httpx.Client
) -> None:
    before = {pod["metadata"]["name"] for pod in platform.pods("predictor")}
    with SteadyLoad(platform.client, rate=100, pairs=PAIRS) as load:
        load.await_answers(100)
        platform.upgrade("--set=predictor.settings.PREDICTOR_MAX_BATCH=7")
        platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=180s")
        wait_until("the old pods are gone", lambda: not before & _names(platform), 60)
        load.await_answers(100)
    assert set(load.statuses) == {"200"}, f"{load.statuses}\n" + "\n".join(load.failures[:20])
    assert load.answered > 50 * load.seconds, "the machine is too slow to say something about load"
    assert serving.post("/predict/batch", json={"requests": questions_about(PAIRS[:8])}).status_code != 200
    assert serving.post("/predict/batch", json={"requests": questions_about(PAIRS[:7])}).status_code == 200


def test_a_rollback_brings_the_former_configuration_back(platform: Platform, serving: httpx.Client) -> None:
    platform.helm("rollback", RELEASE)
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=180s")

    def answers() -> bool:
        return (
            serving.post("/predict/batch", json={"requests": questions_about(PAIRS[:8])}).status_code == 200
        )

    wait_until("batches may be longer again", answers, 60)


def test_the_predictor_scales_out_under_load_and_in_again_without_it(
    platform: Platform, serving: httpx.Client
) -> None:
    platform.upgrade(
        "--set=predictor.autoscaling.enabled=true",
        "--set=predictor.autoscaling.maxReplicas=3",
        "--set=predictor.autoscaling.targetCPUUtilizationPercentage=60",
        "--set=predictor.autoscaling.scaleDownStabilizationSeconds=5",
    )
    wait_until("one pod serves", lambda: len(platform.pods("predictor")) == 1, 120)
    with SteadyLoad(platform.client, rate=250, pairs=PAIRS, threads=16) as load:
        wait_until("two pods serve", lambda: sum(map(is_ready, platform.pods("predictor"))) >= 2, 150)
    assert set(load.statuses) == {"200"}, f"{load.statuses}\n" + "\n".join(load.failures[:20])
    wait_until("one pod serves again", lambda: len(platform.pods("predictor")) == 1, 180, every=2)


@pytest.fixture
def strimzi_kinds(platform: Platform) -> Iterator[None]:
    with platform.cluster.definitions(lambda crd: crd["spec"]["group"] == STRIMZI):
        yield


@pytest.mark.usefixtures("strimzi_kinds")
@pytest.mark.parametrize("brokers", [1, 3])
def test_the_api_server_takes_what_the_chart_makes_for_strimzi(platform: Platform, brokers: int) -> None:
    options = ["--set=kafka.mode=strimzi", f"--set=kafka.strimzi.brokers.replicas={brokers}"]
    rendered = platform.helm("template", RELEASE, str(CHART), *platform.values, *options)
    made = [each for each in yaml.safe_load_all(rendered) if each and each["apiVersion"].startswith(STRIMZI)]
    assert {each["kind"] for each in made} == {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser"}
    documents = yaml.safe_dump_all(made)
    platform.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=documents)
    try:
        for each in made:
            kind = f"{each['kind'].lower()}s.{STRIMZI}"
            kept = platform.get(kind, each["metadata"]["name"])
            assert kept["spec"] == each["spec"], "the API server has dropped or changed a field"
    finally:
        platform.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=documents)


def test_uninstalling_leaves_only_the_volumes_that_it_says_it_leaves(platform: Platform) -> None:
    told = platform.helm("uninstall", RELEASE, "--wait", "--timeout=3m")
    left = wait_until("nothing of the release is left but volumes", lambda: _left(platform), 90)
    assert left == {"reprise-models", "reprise-offline", "data-reprise-redis-0"}
    for name in ("reprise-models", "reprise-offline"):
        assert name in told


def _names(platform: Platform) -> set[str]:
    found = platform.get("pods", "--selector=app.kubernetes.io/component=predictor")["items"]
    return {pod["metadata"]["name"] for pod in found}


def _left(platform: Platform) -> set[str] | None:
    """The claims that are left, once nothing else of the release is."""
    kinds = platform.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    wanted = sorted({kind for kind in kinds if not kind.startswith(("events", "pods.metrics"))})
    found = platform.get(",".join(wanted), f"--selector=app.kubernetes.io/instance={RELEASE}")["items"]
    others = [each for each in found if each["kind"] != "PersistentVolumeClaim"]
    return None if others else {each["metadata"]["name"] for each in found}
