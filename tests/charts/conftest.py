"""The values that the chart is tested with."""

import pytest

from support.chart import Release, helm_path, render

EXTERNAL = (
    "--set-string=kafka.external.bootstrapServers=kafka-0:9092\\,kafka-1:9094",
    "--set=kafka.mode=external,kafka.external.securityProtocol=SASL_SSL,kafka.external.auth.existingSecret=kafka-users",
    "--set=kafka.external.caSecret.name=kafka-ca",
    "--set=redis.mode=external,redis.external.host=redis.example,redis.external.auth.existingSecret=redis-users",
    "--set=redis.external.tls.enabled=true,redis.external.tls.caSecret.name=redis-ca,redis.external.db=2",
    "--set=storage.models.url=s3://b/models,storage.offline.url=s3://b/offline,storage.s3.existingSecret=s3",
    "--set=storage.s3.endpointUrl=http://minio:9000",
)
PLAIN = (
    "--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092,storage.singleNode=true,networkPolicy.enabled=false",
    "--set=redis.generatePasswords=true",
    "--set=predictor.ingress.enabled=true,predictor.ingress.host=p.example,predictor.ingress.tls.enabled=true",
)
EXTRAS = (
    "--set=monitoring.enabled=true,redis.exporter.enabled=true,kafdrop.enabled=true,feast.ui.enabled=true,dev.reload=true",
    "--set=rollout.enabled=true,rollout.prometheus.url=http://prometheus:9090,outcomes.enabled=true,trainer.rollout.name=model",
    "--set=forget.enabled=true,scoring.enabled=true,status.report.enabled=true",
)
APIS = ("--api-versions=keda.sh/v1alpha1", "--api-versions=kafka.strimzi.io/v1")

CASES: dict[str, tuple[str, ...]] = {
    "development": ("-f", "dev"),
    "development with everything": ("-f", "dev", *EXTRAS),
    "plain": PLAIN,
    "external": (*EXTERNAL, *EXTRAS, "--set=storage.history.enabled=false"),
    "production": ("-f", "production", *APIS),
    "production without KEDA": ("-f", "production"),
    "production on an external Kafka": (
        *("-f", "production", *APIS, *EXTERNAL[:3]),
        "--set=kafka.external.auth.perComponent=true,predictor.autoscaling.requestsPerSecond.enabled=true",
    ),
}


@pytest.fixture(scope="session", autouse=True)
def _helm() -> None:
    if helm_path() is None:
        pytest.skip("Helm 4 is not on PATH, and .ci/helm could not fetch it")


@pytest.fixture(params=list(CASES))
def release(request: pytest.FixtureRequest) -> Release:
    """What the chart makes of each case."""
    return render(*CASES[request.param], with_schema=True)
