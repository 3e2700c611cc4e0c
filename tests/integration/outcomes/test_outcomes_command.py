import re
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from redis import Redis

from reprise.outcomes.main import INCONSISTENT, command
from reprise.routing import DocumentKeys, RolloutEvidence, document_key, evidence_key, signature_key
from support.key_files import key_files
from support.outcomes import Archive, Shop, input_histograms, make_archive
from support.pushgateway import gateway
from support.redis import RedisServer

pytestmark = pytest.mark.redis


def outcomes(archive: Archive, out: Path, redis: RedisServer, **others: str) -> Result:
    environment = {
        "REPRISE_PROGRESS": "off", "REPRISE_OFFLINE_STORE": archive.offline, "MODEL_STORE": archive.models,
        "OUTCOMES_OUT": str(out), "REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port),
        "OUTCOMES_MIN_USERS": "50", "OUTCOMES_DRAWS": "20",
    }  # fmt: skip
    arguments = ["--exposure", "10d", "--early-horizon", "12h"]
    return CliRunner(env=environment | others).invoke(command, arguments)


def test_operator_finds_the_evidence_and_prometheus_the_metrics(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    archive = make_archive(tmp_path, Shop(users=300, candidate_weights={"pair_purchases": -5.0}))
    keys, key = key_files(tmp_path, "outcomes"), evidence_key("reprise")
    with Redis(redis_server.host, redis_server.port) as client, gateway() as (url, pushed):
        client.set(document_key("reprise"), archive.document.to_bytes())
        signing = {"REPRISE_EVIDENCE_SIGNING_KEY_FILE": str(keys.private)}
        result = outcomes(archive, tmp_path / "out", redis_server, PUSHGATEWAY_URL=url, **signing)
        assert result.exit_code == 0, result.output
        published, signature = client.get(key), client.get(signature_key(key))
    assert isinstance(published, bytes)
    assert isinstance(signature, bytes)
    DocumentKeys.read(trusted=keys.public).verify("rollout evidence", key, published, signature)
    evidence = RolloutEvidence.from_bytes(published)
    assert evidence.rollout == "shop/trial"
    assert [(said.verdict, said.metric) for said in evidence.candidates] == [("worse", "brier")]
    assert (tmp_path / "out/evidence.json").read_bytes() == published
    assert "candidate against the baseline: worse" in result.output
    [(_, path, body)] = pushed
    assert path == "/metrics/job/reprise-outcomes"
    for text in ((tmp_path / "out/metrics.prom").read_text(), body):
        assert 'verdict="worse"} 1.0' in text
        assert "reprise_outcomes_mismatches 0.0" in text
    assert "reprise_job_failed 0.0" in body
    report = orjson.loads((tmp_path / "out/report.json").read_bytes())
    assert report["candidates"][0]["verdict"] == "worse"
    assert "<svg" not in (tmp_path / "out/report.html").read_text()


def test_without_a_rollout_there_is_a_report_and_no_evidence(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    archive = make_archive(tmp_path, Shop(users=60))
    result = outcomes(archive, tmp_path / "out", redis_server)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out/evidence.json").exists()
    with Redis(redis_server.host, redis_server.port) as client:
        assert client.get(evidence_key("reprise")) is None


def test_shift_of_one_feature_is_found_in_that_feature_and_no_other(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    def dearer(_: int, features: dict[str, float | None]) -> None:
        if features["avg_transaction_amount"] is not None:
            features["avg_transaction_amount"] *= 1.4

    training = make_archive(tmp_path / "training", Shop(seed=1))
    known = input_histograms(training.predictions)
    archive = make_archive(tmp_path / "now", Shop(seed=2, corrupt=dearer, histograms=known))
    lately = {"OUTCOMES_DRIFT_WINDOW": "30d", "OUTCOMES_CHECK_ROWS": "0"}
    with gateway() as (url, pushed):
        result = outcomes(archive, tmp_path / "out", redis_server, PUSHGATEWAY_URL=url, **lately)
    assert result.exit_code == 0, result.output
    [(_, _, body)] = pushed
    indices = dict(re.findall(r'^reprise_outcomes_feature_psi{.*feature="(\w+)"} (\S+)', body, re.MULTILINE))
    assert indices.keys() == known.keys()
    assert [name for name, index in indices.items() if float(index) > 0.25] == ["avg_transaction_amount"]
    assert "1 of 8 inputs above 0.25, most avg_transaction_amount" in result.output
    drift = orjson.loads((tmp_path / "out/report.json").read_bytes())["drift"]
    assert drift["features"][0]["feature"] == "avg_transaction_amount"
    assert drift["drifted"] == 1
    assert drift["digest"] == archive.digests["baseline"]
    page = (tmp_path / "out/report.html").read_text()
    assert "Distribution of avg_transaction_amount" in page


def test_features_that_disagree_are_an_exit_status_of_their_own(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    def corrupt(number: int, features: dict[str, float | None]) -> None:
        features["product_views"] = (features["product_views"] or 0.0) + 9.0 * (number == 3)

    archive = make_archive(tmp_path, Shop(users=60, corrupt=corrupt))
    result = outcomes(archive, tmp_path / "out", redis_server, OUTCOMES_CHECK_WINDOW="365d")
    assert result.exit_code == INCONSISTENT, result.output
    assert "1 mismatches" in result.output


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"REDIS_PORT": "1"}, "routing:reprise:document"),
        ({"REPRISE_OFFLINE_STORE": "nowhere"}, "nowhere"),
        ({"OUTCOMES_HORIZN": "1d"}, "did you mean OUTCOMES_HORIZON"),
        ({"OUTCOMES_EXPOSURE": "0s"}, "OUTCOMES_EXPOSURE"),
    ],
)
def test_error_names_what_is_wrong(
    redis_server: RedisServer, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    archive = Archive(str(tmp_path / "none"), str(tmp_path), None, [], [])  # type: ignore[arg-type]
    environment = {"REPRISE_PROGRESS": "off", "REDIS_PORT": str(redis_server.port)} | variables
    result = CliRunner(env=environment).invoke(command, ["--out", archive.models])
    assert result.exit_code == 1
    assert said in result.output
