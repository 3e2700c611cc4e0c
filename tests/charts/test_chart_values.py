import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from support.chart import CHART, NAMESPACE, RELEASE, ROOT, RenderingError, helm, render
from support.chart_api_server import render_on

PRODUCTION = ("-f", "production")
DEV = ("-f", "dev")


def test_schema_page_and_topics_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "charts/generator", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run make chart\n{done.stdout[:3000]}{done.stderr}"


def refusals(*values: str) -> set[tuple[str, str]]:
    """Return the path of each value that the schema refuses, and the reason; one rendering reports them all."""
    with pytest.raises(RenderingError, match="don't meet the specifications") as refused:
        render(*DEV, *(f"--set={value}" for value in values), with_schema=True)
    found = re.findall(r"at '/?([^']*)': (.*)", str(refused.value))
    return {(place.replace("/", "."), reason) for place, reason in found}


def test_misspelt_keys_are_refused_by_their_names() -> None:
    keys = {
        ("", "predictr"), ("predictor", "replica"), ("predictor.settings", "PREDICTOR_MAX_BATHC"),
        ("predictor.settings", "REDIS_HOST"), ("predictor.autoscaling", "maxReplica"),
        ("predictor.resources", "request"), ("materializer.settings", "PREDICTOR_MAX_BATCH"),
        ("kafka.external", "bootstrapServer"),
        ("predictor.autoscaling.behavior.scaleDown", "stabilisationWindowSeconds"),
        ("kafka.strimzi.podSecurityContext", "fsGrup"), ("podSecurityContext", "runAsUsr"),
        ("containerSecurityContext", "readOnly"), ("predictor.extraEnv.0", "valu"),
        ("redis.extraVolumeMounts.0", "path"), ("kafdrop.serviceAccount", "nam"), ("kafka.strimzi", "broker"),
        ("redis.external.tls", "enable"), ("storage.models.volume", "sise"),
        ("global.settings", "PREDICTOR_MAX_BATCH"), ("archiver.affinity", "nodeAfinity"),
    }  # fmt: skip
    found = refusals(*(f"{place.replace('.0', '[0]')}.{key}=1".removeprefix(".") for place, key in keys))
    unknown = ((place, reason) for place, reason in found if "not allowed" in reason)
    assert {(place, key) for place, reason in unknown for key in re.findall(r"'([^']+)'", reason)} == keys


def test_values_beyond_their_bounds_are_refused() -> None:
    values = {
        "predictor.settings.PREDICTOR_MAX_BATCH": "0", "predictor.settings.PREDICTOR_MAX_IN_FLIGHT": "many",
        "predictor.settings.MODEL_DIGEST": "newest", "trainer.settings.TRAINER_HORIZON": "soon",
        "trainer.settings.TRAINER_CV_FOLDS": "21", "predictor.replicas": "-1",
        "predictor.image.digest": "latest", "kafka.mode": "embedded",
        "kafka.external.bootstrapServers": "kafka", "storage.models.volume.accessMode": "ReadOnlyMany",
        "trainer.schedule": "nightly", "redis.maxMemory": "1Gi", "global.settings.LOG_LEVEL": "loud",
    }  # fmt: skip
    found = {place for place, _ in refusals(*map("=".join, values.items()))}
    # Helm also names the objects that have a refused value
    assert {place for place in found if not any(f"{place}." in other for other in found)} == values.keys()


KAFKA = "kafka.mode=external,kafka.external.bootstrapServers=k:9092"
REDIS = "redis.mode=external,redis.external.host=r"
KEDA = "materializer.autoscaling.keda"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("kafka.mode=external", "set kafka.external.bootstrapServers"),
        (f"{KAFKA},kafka.external.securityProtocol=SASL_SSL", "kafka.external.auth.existingSecret"),
        (f"{KAFKA},kafka.external.auth.existingSecret=s", "would not be used"),
        ("kafka.topicPrefix=shop_", "end with a dot or hyphen"),
        ("kafka.strimzi.brokers.replicas=2", "take 1 to try things out, 3 or more otherwise"),
        ("kafka.strimzi.brokers.replicas=3,kafka.strimzi.controllers.replicas=4", "even number"),
        ("materializer.replicas=7", "take at most 6"),
        (f"{KEDA}.enabled=true,{KEDA}.minReplicas=8", "6 partitions of ecommerce-events: lower it"),
        ("redis.mode=external", "set redis.external.host"),
        (f"{REDIS},redis.external.cluster=true,redis.external.db=3", "database 0"),
        (f"{REDIS},redis.external.nodes=a:1", "redis.external.cluster=true"),
        (f"{REDIS},redis.external.tls.caSecret.name=c", "TLS is off"),
        (f"{REDIS},redis.external.auth.perComponent=true", "needs the Secret"),
        ("storage.models.url=s3://b/m", "storage.s3.existingSecret"),
        ("feast.registry=s3://b/registry.db", "storage.s3.existingSecret"),
        ("storage.models.url=file:///models", "give an s3://, gs:// or abfs:// address"),
        ("storage.models.enabled=false", "leaves components without it"),
        ("predictor.autoscaling.enabled=true,predictor.autoscaling.minReplicas=11", "exchange them"),
        ("predictor.settings.PREDICTOR_RATE_LIMIT=5", "predictor.apiKeys.existingSecret"),
        ("producer.settings.PRODUCER_RATE_LIMIT=5", "producer.apiKeys.existingSecret"),
        ("networkPolicy.producerFrom=null", "no peer may reach it"),
        (
            "networkPolicy.producerFrom=null,producer.ingress.enabled=false,producer.service.type=NodePort",
            "or an ipBlock of the clients",
        ),
        ("predictor.ingress.tls.enabled=true", "set predictor.ingress.host"),
        ("kafdrop.ingress.host=", "set kafdrop.ingress.host"),
        ("feast.ui.ingress.host=", "set feast.ui.ingress.host"),
        ("trainer.events.archive=false,trainer.events.history=false", "trainer has no events"),
        ("storage.history.enabled=false", "storage.history.enabled=true"),
        ("trainer.enabled=false", "set trainer.enabled=true"),
        ("feast.enabled=false,feast.ui.enabled=true", "set feast.enabled=true"),
        ("--api-versions=apiregistration.k8s.io/v1", "install Strimzi 1.2 first"),
    ],
)
def test_an_impossible_combination_is_refused_with_what_to_do(given: str, sentence: str) -> None:
    with pytest.raises(RenderingError) as refused:
        render(*DEV, given if given.startswith("--") else f"--set={given}")
    assert sentence in str(refused.value)


def test_values_that_kubernetes_and_kafka_accept_are_accepted() -> None:
    release = render(
        f"--set={KAFKA},kafka.topicPrefix=Shop_,predictor.pdb.maxUnavailable=50%,trainer.schedule=@midnight",
        with_schema=True,
    )
    assert release.find("PodDisruptionBudget", "reprise-predictor").spec["maxUnavailable"] == "50%"


def test_defaults_render_and_a_cluster_asks_for_the_decisions_that_they_cannot_take() -> None:
    assert render(with_schema=True).find("Deployment", "reprise-predictor")
    helm("lint", "--strict", str(CHART))
    apis = ("apiregistration.k8s.io/v1", "kafka.strimzi.io/v1")
    on_cluster = (*(f"--api-versions={each}" for each in apis), "--set=redis.generatePasswords=true")
    with pytest.raises(RenderingError, match=r"name the Secret .* in producer\.apiKeys\.existingSecret"):
        render(*on_cluster)
    keys = "--set=producer.apiKeys.existingSecret=keys"
    for decided in (keys, "--set=producer.allowAnonymous=true"):
        with pytest.raises(RenderingError, match=r"storage.singleNode=true where all pods run on one node"):
            render(*on_cluster, decided)
    assert render(*on_cluster, keys, "--set=storage.singleNode=true")


def test_pages_for_people_are_reached_through_the_ingress_in_development_and_not_in_production() -> None:
    hosts = {
        each.name: each.spec["rules"][0]["host"]
        for each in render(*DEV).of_kind("Ingress")
        if "host" in each.spec["rules"][0]
    }
    assert hosts == {
        "reprise-feast-ui": "feast.reprise.localhost",
        "reprise-kafdrop": "kafdrop.reprise.localhost",
    }
    controllers = [{"namespaceSelector": {}}]
    for name in ("feast", "kafdrop"):
        rules = render(*DEV).find("NetworkPolicy", f"reprise-{name}").spec["ingress"]
        assert {"from": controllers, "ports": [{"port": "http"}]} in rules
    assert {each.name for each in render(*PRODUCTION).of_kind("Ingress")} == {"reprise-predictor"}


def test_hosts_are_served_by_an_ingress_and_by_gateways() -> None:
    release = render(
        *PRODUCTION,
        "--set=predictor.ingress.host=a.example,predictor.ingress.additionalHosts={b.example}",
        "--set=predictor.ingress.gateways[0].name=public,predictor.ingress.gateways[0].namespace=gateways",
        "--set=status.ingress.gateways[0].name=inner",
    )
    ingress = release.find("Ingress", "reprise-predictor").spec
    assert [each["host"] for each in ingress["rules"]] == ["a.example", "b.example"]
    assert ingress["tls"][0]["hosts"] == ["a.example", "b.example"]
    route = release.find("HTTPRoute", "reprise-predictor").spec
    assert route["hostnames"] == ["a.example", "b.example"]
    assert route["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    [rule] = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["backendRefs"] == [{"name": "reprise-predictor", "port": 80}]
    status = release.find("HTTPRoute", "reprise-status").spec
    assert [each["path"] for each in status["rules"][0]["matches"]] == [
        {"type": "Exact", "value": "/status"},
        {"type": "Exact", "value": "/status.json"},
    ]
    assert "hostnames" not in status
    assert not [each for each in release.of_kind("Ingress") if each.name == "reprise-status"]


def test_several_paths_and_a_prefix_are_exposed() -> None:
    paths = [{"path": "/reprise/rank", "pathType": "Exact"}, {"path": "/reprise/users", "pathType": "Prefix"}]
    release = render(
        *PRODUCTION,
        "--set=predictor.ingress.path=/reprise/predict,predictor.ingress.gateways[0].name=public",
        f"--set-json=predictor.ingress.additionalPaths={json.dumps(paths)}",
        "--set=predictor.settings.API_ROOT_PATH=/reprise",
    )
    assert release.config("reprise-predictor")["API_ROOT_PATH"] == "/reprise"
    [rule] = release.find("Ingress", "reprise-predictor").spec["rules"]
    exposed = {each["path"]: each["pathType"] for each in rule["http"]["paths"]}
    assert exposed == {"/reprise/predict": "Prefix", "/reprise/rank": "Exact", "/reprise/users": "Prefix"}
    [rule] = release.find("HTTPRoute", "reprise-predictor").spec["rules"]
    assert [each["path"]["value"] for each in rule["matches"]] == list(exposed)


def test_what_is_for_trying_out_is_off_in_production() -> None:
    components = {each.component for each in render(*PRODUCTION).manifests}
    assert components.isdisjoint({"kafdrop", "feast-ui", "seed", "datagen", "redis"})
    assert "--mode=serve" in render(*PRODUCTION).pod("producer").spec.containers[0].args


def test_a_development_install_answers_without_manual_steps() -> None:
    release = render(*DEV)
    seed = [container.name for each, container in release.containers() if each.component == "seed"]
    assert seed == ["datagen", "backfill", "trainer"]
    # or what the stream folds first would be in the way of the history's backfill
    assert [each.name for each in release.pod("materializer").spec.init_containers] == ["wait-for-seed"]


@pytest.mark.parametrize("values", [DEV, PRODUCTION, (*DEV, "--set=seed.enabled=false")])
def test_the_notes_tell_the_next_command(values: tuple[str, ...]) -> None:
    files = [str(CHART / f"values-{text}.yaml") if text in {"dev", "production"} else text for text in values]
    text = helm("install", "shop", str(CHART), "--namespace", NAMESPACE, "--dry-run=client", *files)
    notes = text.partition("\nNOTES:\n")[2]
    assert "kubectl -n reprise rollout status deployment/shop-reprise-predictor" in notes
    assert "helm -n reprise test shop --logs" in notes
    assert ("job/shop-reprise-seed-" in notes) == (values == DEV)
    assert "delete kafkatopics -l strimzi.io/cluster=shop-reprise-kafka" in notes
    assert ("If the node of Redis is lost" in notes) == (values != PRODUCTION)
    assert "<no value>" not in notes


@pytest.mark.parametrize(
    ("peer", "warned"), [("podSelector.matchLabels.a=b", True), ("ipBlock.cidr=0.0.0.0/0", False)]
)
def test_the_notes_warn_of_a_service_that_its_policy_closes(peer: str, warned: bool) -> None:
    service = f"--set=predictor.service.type=LoadBalancer,networkPolicy.predictorFrom[0].{peer}"
    notes = helm("install", "shop", str(CHART), "--dry-run=client", service)
    assert ("no peer in networkPolicy.predictorFrom is an ipBlock" in notes) == warned


def test_names_follow_the_release_and_can_be_overridden() -> None:
    release = render(*DEV, "--set=fullnameOverride=shop")
    assert release.find("Deployment", "shop-predictor")
    assert release.config("shop-predictor")["REDIS_HOST"] == "shop-redis"
    assert release.find("Service", "shop-redis")


@pytest.mark.parametrize("values", ["dev", "production"])
def test_helm_itself_finds_nothing_to_say(values: str) -> None:
    helm("lint", "--strict", str(CHART), "--values", str(CHART / f"values-{values}.yaml"))


def test_it_can_be_a_subchart_of_a_chart_with_globals_of_its_own(tmp_path: Path) -> None:
    dependency = {"name": "reprise", "version": "*", "condition": "reprise.enabled"}
    (tmp_path / "Chart.yaml").write_text(
        json.dumps({"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [dependency]})
    )
    shutil.copytree(CHART, tmp_path / "charts/reprise")
    given = "--set=global.shop.name=x,global.image.tag=v9,reprise.enabled=true"
    pods = {each.name: pod for each, pod in render(given, chart=tmp_path, with_schema=True).pods()}
    assert pods["reprise-predictor"].spec.containers[0].image == "reprise-predictor:v9"
    assert render("--set=reprise.enabled=false", chart=tmp_path).manifests == ()
    with pytest.raises(RenderingError, match="tga"):
        render("--set=reprise.global.image.tga=v9", chart=tmp_path, with_schema=True)


@pytest.mark.parametrize(
    ("served", "options", "refused"),
    [
        ({}, [], False),
        ({"reprise.dev/definition": "of before"}, [], True),
        (None, [], True),
        (None, ["--set=rollout.checkDefinition=false"], False),
        (None, ["--set=rollout.enabled=false"], False),
    ],
)
def test_a_definition_of_another_version_is_refused_with_the_command_that_upgrades_it(
    served: dict[str, str] | None, options: list[str], refused: bool
) -> None:
    definition = yaml.safe_load((CHART / "crds/modelrollouts.yaml").read_text())
    annotations = None if served is None else definition["metadata"]["annotations"] | served
    live = definition | {"metadata": {"name": definition["metadata"]["name"], "annotations": annotations}}
    command = "kubectl apply --server-side --force-conflicts -f charts/reprise/crds"
    with pytest.raises(RenderingError, match=command) if refused else nullcontext():
        render_on([live], *DEV, "--set=rollout.enabled=true", *options)


@pytest.mark.parametrize(("instance", "refused"), [("shop", True), (RELEASE, False)])
def test_a_second_rollout_operator_in_a_namespace_is_refused(instance: str, refused: bool) -> None:
    options = (*DEV, "--set=rollout.enabled=true")
    operator = render(*options).find("Deployment", "reprise-rollout").raw
    labels = operator["metadata"]["labels"] | {"app.kubernetes.io/instance": instance}
    other = operator | {"metadata": operator["metadata"] | {"name": "operator", "labels": labels}}
    with pytest.raises(RenderingError, match="install into another namespace") if refused else nullcontext():
        render_on([other], *options)
