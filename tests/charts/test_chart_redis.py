"""The bundled Redis with the chart's own users: each does its work, and nothing else."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from reprise.backfill.main import command as backfill
from reprise.doctor.main import command as doctor
from reprise.events import encode_event
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogSettings, open_producer
from reprise.materializer.runner import fold_until_idle
from reprise.materializer.settings import MaterializerSettings
from reprise.routing import (
    DocumentKeys,
    RolloutEvidence,
    RoutingDocument,
    allocate,
    document_key,
    evidence_key,
    signature_key,
)
from reprise.routing.store import RoutingStore
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import OnlineReader
from reprise.store.settings import OnlineStoreSettings
from support.chart import render
from support.histories import PLAN_FILE, PROJECT, event_table, make_events
from support.key_files import key_files
from support.redis import RedisServer, running_redis

pytestmark = pytest.mark.redis

USERS = (
    "predictor", "rollout", "outcomes", "materializer", "backfill", "feast", "doctor", "exporter", "probe",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("acl")
    script = render("-f", "dev").config("reprise-redis")["users.sh"].replace("/run/redis", str(folder))
    passwords = {f"{user.upper()}_PASSWORD": f"of-{user}" for user in USERS}
    subprocess.run(["sh", "-c", script], env=os.environ | passwords, check=True)
    with running_redis("--aclfile", str(folder / "users.acl")) as running:
        yield running


def connection(server: RedisServer, user: str) -> Redis:
    return Redis(
        host=server.host, port=server.port, username=user, password=f"of-{user}", lib_name="", lib_version=""
    )


def settings(server: RedisServer, user: str) -> dict[str, object]:
    return {
        "redis_host": server.host,
        "redis_port": server.port,
        "redis_username": user,
        "redis_password": f"of-{user}",
    }


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    producer = open_producer(EventLogSettings(log_dir=folder))
    for event in make_events(120):
        producer.append(EVENTS.name, event.user_id.encode(), encode_event(event))
    producer.close(10)
    return folder


@pytest.fixture(scope="module")
def folded(server: RedisServer, log_dir: Path) -> dict[str, int]:
    given = MaterializerSettings(log_dir=log_dir, plan=PLAN_FILE, **settings(server, "materializer"))  # type: ignore[arg-type]
    return fold_until_idle(given, 0.5)


def test_the_materializer_folds_the_stream(folded: dict[str, int]) -> None:
    assert folded["folded"] == 120


@pytest.mark.usefixtures("folded")
async def test_the_predictor_reads_what_was_folded(server: RedisServer) -> None:
    plan = Plan.load(PLAN_FILE)
    entity = next(entity for entity in plan.entities if entity.view.join_keys == ("user_id",))
    codec = ViewCodec(PROJECT, entity.view)
    given = OnlineStoreSettings(**settings(server, "predictor"))  # type: ignore[arg-type]
    async with OnlineReader(given) as reader:
        await reader.ping()
        [row] = await reader.read([(codec, codec.key(make_events(1)[0].user_id))])
    assert row.known


@pytest.mark.usefixtures("folded")
def test_the_backfill_replaces_what_is_there(server: RedisServer, tmp_path: Path) -> None:
    history = tmp_path / "history.parquet"
    pq.write_table(event_table(make_events(40)), history)
    given = {"REDIS_USERNAME": "backfill", "REDIS_PASSWORD": "of-backfill", "REPRISE_PROGRESS": "off"}
    address = ["--redis-host", server.host, "--redis-port", str(server.port)]
    options = ["--events", str(history), "--plan", str(PLAN_FILE), "--replace"]
    done = CliRunner(env=given).invoke(backfill, [*address, *options])
    assert done.exit_code == 0, done.output
    assert "40 events" in done.output


def test_the_doctor_writes_its_own_and_finds_the_users_as_they_should_be(server: RedisServer) -> None:
    environment = {
        **{name.upper(): str(value) for name, value in settings(server, "doctor").items()},
        "REPRISE_PROGRESS": "off",
        "REPRISE_PLAN": str(PLAN_FILE),
        "DOCTOR_MATERIALIZER_REDIS_USERNAME": "materializer",
        "DOCTOR_PREDICTOR_REDIS_USERNAME": "predictor",
    }
    done = CliRunner(env=environment).invoke(doctor, ["--only", "redis", "--only", "redis-users"])
    assert done.exit_code == 0, done.output
    assert "2 ok" in done.output


def test_the_probe_and_the_exporter_see_the_server_and_no_row(server: RedisServer) -> None:
    with connection(server, "probe") as probe, connection(server, "exporter") as exporter:
        assert probe.ping()
        assert exporter.info()["redis_version"]
        for client in (probe, exporter):
            with pytest.raises(NoPermissionError):
                client.get("anything-reprise")


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("predictor", ("HSET", "x-reprise", "a", "1")),
        ("predictor", ("HMGET", "of-another-project", "a")),
        ("predictor", ("KEYS", "*")),
        ("predictor", ("EVAL", "return 1", "0")),
        ("materializer", ("HMGET", "of-another-project", "a")),
        ("materializer", ("DEL", "x-reprise")),
        ("materializer", ("FLUSHALL",)),
        ("materializer", ("SET", "seen:another:x", "1")),
        ("materializer", ("SET", "webseen:reprise:x", "1")),
        ("materializer", ("SET", "seen:webreprise:x", "1")),
        ("predictor", ("GET", "routing:webreprise:document")),
        ("doctor", ("SET", "web-reprise-doctor:reprise:x", "1")),
        ("backfill", ("FLUSHDB",)),
        ("backfill", ("CONFIG", "GET", "*")),
        ("feast", ("FLUSHALL",)),
        ("feast", ("HSET", "x-reprise", "a", "1")),
        ("feast", ("DEL", "x-reprise")),
        ("feast", ("EVAL", "return redis.call('DEL', KEYS[1])", "1", "x-reprise")),
        ("feast", ("GET", "routing:reprise:document")),
        ("feast", ("ACL", "LIST")),
        ("exporter", ("CONFIG", "SET", "maxmemory", "1")),
        ("doctor", ("DEL", "x-reprise")),
        ("doctor", ("SET", "seen:reprise:x", "")),
        ("doctor", ("ACL", "SETUSER", "doctor", "+@all")),
    ],
)
def test_what_a_user_has_no_need_of_is_refused(server: RedisServer, user: str, words: Sequence[str]) -> None:
    with connection(server, user) as client, pytest.raises(NoPermissionError):
        client.execute_command(*words)


def test_nobody_comes_in_without_a_name(server: RedisServer) -> None:
    with Redis(host=server.host, port=server.port) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_the_operator_publishes_what_predictors_read_and_outcomes_say(
    server: RedisServer, tmp_path: Path
) -> None:
    keys = DocumentKeys.read(signing=key_files(tmp_path, "operator").private)
    document = RoutingDocument(
        generation=1, rollout="a/b", salt="", arms=allocate("sha256:" + "a" * 64, [], {})
    )
    store = RoutingStore(OnlineStoreSettings(**settings(server, "rollout"), feast_project=PROJECT), keys)
    store.publish_document(document)
    assert (store.document(), store.evidence()) == (document, None)
    signature = keys.sign(document_key(PROJECT), document.to_bytes())
    for user in ("predictor", "outcomes", "doctor"):
        assert connection(server, user).get(document_key(PROJECT)) == document.to_bytes()
        assert connection(server, user).get(signature_key(document_key(PROJECT))) == signature
    for user in ("predictor", "materializer", "feast"):
        with pytest.raises(NoPermissionError):
            connection(server, user).set(document_key(PROJECT), b"{}")
    with pytest.raises(NoPermissionError):
        connection(server, "rollout").set(evidence_key(PROJECT), b"{}")


def test_the_outcomes_read_the_routing_document_and_publish_evidence(
    server: RedisServer, tmp_path: Path
) -> None:
    keys = DocumentKeys.read(signing=key_files(tmp_path, "outcomes").private)
    given = OnlineStoreSettings(**settings(server, "outcomes"), feast_project=PROJECT)  # type: ignore[arg-type]
    evidence = RolloutEvidence(rollout="a/b", computed_at=datetime.now(UTC), candidates=())
    with RoutingStore(given, evidence_keys=keys) as store:
        document = store.document()
        store.publish_evidence(evidence)
    assert document is None or document.rollout == "a/b"
    operator = connection(server, "rollout")
    assert RolloutEvidence.from_bytes(operator.get(evidence_key(PROJECT))) == evidence  # type: ignore[arg-type]
    assert operator.get(signature_key(evidence_key(PROJECT))) == keys.sign(
        evidence_key(PROJECT), evidence.to_bytes()
    )
    with pytest.raises(NoPermissionError):
        connection(server, "outcomes").set(document_key(PROJECT), b"{}")
