import json
import os
import sys
from pathlib import Path

import pytest

from charts.conftest import EXTERNAL, PLAIN
from reprise.log import TOPICS
from reprise.runtime.settings import ProcessSettings, TraceSettings
from support.chart import ROOT, Container, Manifest, Release, RenderingError, render
from support.chart_api_server import render_on

sys.path.insert(0, str(ROOT / "charts/generator"))
from settings_schema import COMPONENTS

SCORING = "--set=scoring.enabled=true"
# What containers read besides a settings class: boto's names, matplotlib's, the test's, and those of others' images.
FOREIGN = {
    *("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    *("MPLCONFIGDIR", "REPRISE_API_KEY", "FEAST_USAGE", "FEAST_S3_ENDPOINT_URL", "HOME"),
    *("REDISCLI_AUTH", "REDIS_ADDR", "REDIS_USER", "REDIS_PASSWORD", "REDIS_USERNAME"),
    *("KAFKA_BROKERCONNECT", "KAFKA_PROPERTIES_FILE", "JVM_OPTS", "KAFKA_USERNAME", "KAFKA_PASSWORD"),
}


def environment(release: Release, container: Container, files: Path) -> dict[str, str]:
    """Return a container's variables, with a stand-in for what a Secret holds and for mounted files."""
    found: dict[str, str] = {}
    for source in container.env_from:
        found |= release.config(source["configMapRef"]["name"])
    for variable in container.env:
        found[variable.name] = variable.value if variable.value is not None else "from-a-secret"
    for name, value in found.items():
        if value.startswith("/etc/reprise/"):
            (files / Path(value).name).touch()
            found[name] = str(files / Path(value).name)
    return found


def configured(release: Release) -> list[tuple[Manifest, Container, type[ProcessSettings]]]:
    """Return the containers whose image is one of a settings class, by its name."""
    return [
        (each, container, COMPONENTS[image].settings)
        for each, container in release.containers()
        if container.env_from
        and (image := container.image.rpartition("/")[2].partition(":")[0].removeprefix("reprise-"))
        in COMPONENTS
    ]


def test_every_component_loads_its_settings_from_what_the_chart_sets(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = set()
    for each, container, settings in configured(release):
        if container.name == "export":  # the archiver's image with the trainer's configuration
            continue
        with monkeypatch.context() as scope:
            for name in os.environ:
                scope.delenv(name)
            for name, value in environment(release, container, tmp_path).items():
                scope.setenv(name, value)
            settings.load()
        checked.add(each.component)
    assert {"predictor", "producer", "materializer", "archiver", "trainer", "backfill"} <= checked


def test_every_variable_is_one_that_the_component_knows(release: Release, tmp_path: Path) -> None:
    for each, container, settings in configured(release):
        known = set(settings.env_names().values()) | FOREIGN
        if container.name in {"export", "trainer"}:
            known |= set(COMPONENTS["archiver"].settings.env_names().values())
            known |= set(COMPONENTS["trainer"].settings.env_names().values())
        unknown = environment(release, container, tmp_path).keys() - known
        assert unknown == set(), (each.name, container.name)


def test_other_containers_have_no_variables_but_those_of_their_programs(
    release: Release, tmp_path: Path
) -> None:
    ours = {id(container) for _, container, _ in configured(release)}
    settings = {name for component in COMPONENTS.values() for name in component.settings.env_names().values()}
    for each, container in release.containers():
        if id(container) not in ours and each.component != "redis":
            names = environment(release, container, tmp_path).keys()
            assert names <= FOREIGN | settings | {"REPRISE_STATES"}, (each.name, container.name)


def test_no_secret_is_in_a_configmap(release: Release) -> None:
    for each in release.of_kind("ConfigMap"):
        assert not [name for name in each.raw["data"] if "PASSWORD" in name or "SECRET" in name], each.name


def test_a_setting_reaches_its_process_as_it_was_written(tmp_path: Path) -> None:
    release = render(
        *("-f", "dev", "--set=predictor.settings.PREDICTOR_MAX_BODY_BYTES=10000000"),
        "--set=predictor.settings.PREDICTOR_EVENT_TYPES={view,purchase,cart}",
        "--set-json=predictor.settings.PREDICTOR_REDIS_DEADLINE_SECONDS=0.125",
        "--set=global.settings.LOG_LEVEL=debug,producer.settings.LOG_LEVEL=error",
    )
    config = release.config("reprise-predictor")
    assert config["PREDICTOR_MAX_BODY_BYTES"] == "10000000"
    assert config["PREDICTOR_EVENT_TYPES"] == "view,purchase,cart"
    assert config["PREDICTOR_REDIS_DEADLINE_SECONDS"] == "0.125"
    assert config["LOG_LEVEL"] == "debug"
    assert release.config("reprise-producer")["LOG_LEVEL"] == "error"


def test_traces_are_off_until_the_settings_say_so_and_then_go_where_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "REPRISE_TRACES": True,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.tracing:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": 0.01,
    }
    settings_given = f"--set-json=predictor.settings={json.dumps(given)}"
    release = render("-f", "dev", settings_given, "--set=predictor.image.tag=0.1.0-otel")
    found: dict[str, TraceSettings] = {}
    for each, container, settings in configured(release):
        if not issubclass(settings, TraceSettings):
            continue
        with monkeypatch.context() as scope:
            for name, value in environment(release, container, tmp_path).items():
                scope.setenv(name, value)
            found[each.component] = settings.load()
        if each.component == "predictor":
            assert container.image == "reprise-predictor:0.1.0-otel"
    assert {name: each.traces for name, each in found.items()} == {"predictor": True, "producer": False}
    traced = found["predictor"]
    assert [traced.otel_endpoint, traced.otel_sampler, traced.otel_sampler_arg] == list(given.values())[1:]


def groups(release: Release) -> dict[str, str]:
    return {name: release.config_of(name)[f"{name.upper()}_GROUP"] for name in ("materializer", "archiver")}


def test_releases_on_one_kafka_have_groups_of_their_own_unless_they_have_others_already() -> None:
    names = ("materializer", "archiver")
    assert groups(render("-f", "dev")) == {name: name for name in names}
    release = render(
        *("-f", "dev", "--namespace=shop", "--api-versions=keda.sh/v1alpha1"),
        "--set=kafka.topicPrefix=shop.,materializer.autoscaling.keda.enabled=true",
    )
    assert groups(release) == {name: f"shop.reprise.{name}" for name in names}
    [trigger] = release.find("ScaledObject", "reprise-materializer").spec["triggers"]
    assert trigger["metadata"]["consumerGroup"] == "shop.reprise.materializer"
    assert trigger["metadata"]["topic"] == "shop.ecommerce-events"
    resources = {
        (user.component, acl["resource"]["name"])
        for user in release.of_kind("KafkaUser")
        for acl in user.spec["authorization"]["acls"]
        if user.component != "kafdrop"
    }
    assert ("materializer", "shop.reprise.materializer") in resources
    assert ("archiver", "shop.reprise.archiver-") in resources
    assert all(name.startswith("shop.") for _, name in resources)
    topics = {each.name for each in release.of_kind("KafkaTopic")}
    assert topics == {f"shop.{topic.name}" for topic in TOPICS}
    installed = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"reprise-{name}"}, "data": data}
        for name, data in (
            ("materializer", {"MATERIALIZER_GROUP": "old"}),
            ("archiver", {"ARCHIVER_GROUP": "arch"}),
        )
    ]
    assert groups(render_on(installed, *PLAIN)) == {"materializer": "old", "archiver": "arch"}
    mine = "--set=materializer.group=mine,archiver.group=kept"
    assert groups(render_on(installed, *PLAIN, mine)) == {"materializer": "mine", "archiver": "kept"}


def test_seed_trains_the_latest_model_and_for_no_rollout() -> None:
    trainer_alone = ("--set=trainer.rollout.name=x", "--set=trainer.settings.TRAINER_SET_LATEST=false")
    seed = next(pod for each, pod in render("-f", "dev", *trainer_alone).pods() if each.component == "seed")
    [trainer] = seed.spec.containers
    environment = {each.name: each.value for each in trainer.env}
    assert (environment["TRAINER_ROLLOUT"], environment["TRAINER_SET_LATEST"]) == ("", "true")


def test_every_component_that_reads_the_online_store_reads_the_same_one(release: Release) -> None:
    names = ("REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_TYPE", "FEAST_PROJECT")
    stores = {
        tuple(data.get(name) for name in names)
        for each in release.of_kind("ConfigMap")
        if "REDIS_HOST" in (data := each.raw["data"])
    }
    assert len(stores) == 1


def test_the_predictor_reads_models_where_the_trainer_writes_them(release: Release) -> None:
    assert release.config_of("predictor")["MODEL_STORE"] == release.config_of("trainer")["TRAINER_OUT"]


def test_the_trainer_and_the_backfill_read_where_the_archiver_writes(release: Release) -> None:
    store = release.config("reprise-archiver")["REPRISE_OFFLINE_STORE"]
    assert release.config("reprise-trainer")["REPRISE_OFFLINE_STORE"] == store
    assert release.config("reprise-backfill")["REPRISE_OFFLINE_STORE"] == store


def test_the_scores_go_to_a_folder_of_the_offline_store_or_where_the_values_say() -> None:
    folder = "/var/lib/reprise/offline/scores"
    assert render(*PLAIN, SCORING).config("reprise-scoring")["SCORING_OUT"] == folder
    stored = render(*EXTERNAL, SCORING, "--set=storage.offline.url=s3://b/offline/")
    assert stored.config("reprise-scoring")["SCORING_OUT"] == "s3://b/offline/scores"
    elsewhere = (SCORING, "--set=scoring.out=s3://lake/reprise,storage.s3.existingSecret=s3")
    release = render(*PLAIN, "--set=networkPolicy.enabled=true", *elsewhere)
    assert release.config("reprise-scoring")["SCORING_OUT"] == "s3://lake/reprise"
    egress = release.egress("scoring")
    assert 443 in {int(port["port"]) for rule in egress for port in rule["ports"]}
    with pytest.raises(RenderingError, match="needs credentials"):
        render(*PLAIN, SCORING, "--set=scoring.out=s3://lake/reprise")
    with pytest.raises(RenderingError, match=r"no such folder; give an s3://, gs:// or abfs:// address"):
        render(*PLAIN, SCORING, "--set=scoring.out=/scores")


def test_scores_come_from_the_archive_the_files_of_history_or_both() -> None:
    def args(*options: str) -> list[str]:
        own = ("--set=scoring.events.history=false", *options)
        [container] = render("-f", "dev", SCORING, *own).pod("scoring", "CronJob").spec.containers
        return list(container.args)

    archive, history = "--offline=/var/lib/reprise/offline", "--events=/var/lib/reprise/history"
    assert args() == [archive]
    both = "--set=scoring.events.history=true"
    assert args(both, "--set=scoring.args={--backtests=6}") == [history, archive, "--backtests=6"]
    assert args(both, "--set=scoring.events.archive=false") == [history]
    with pytest.raises(RenderingError, match="scoring has no events"):
        args("--set=scoring.events.archive=false")


def test_a_cluster_with_ipv6_has_servers_and_services_of_both_families() -> None:
    dual = ("--set=network.listen=::,network.ipFamilyPolicy=PreferDualStack,network.ipFamilies={IPv6,IPv4}",)
    everything = ("-f", "dev", "--set=rollout.enabled=true,monitoring.enabled=true,kafdrop.enabled=true")
    release = render(*everything, *dual)
    for name in ("predictor", "producer", "materializer", "archiver", "status", "rollout"):
        assert release.config(f"reprise-{name}")["API_HOST"] == "::"
        assert "API_HOST" not in render(*everything).config(f"reprise-{name}")
    [ui] = release.pod("feast-ui").spec.containers
    assert ui.args[ui.args.index("--host") + 1] == "::"
    families = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    services = release.of_kind("Service")
    assert len(services) > 6
    for service in services:
        assert families.items() <= service.spec.items(), service.name
    template = release.find("Kafka", "reprise-kafka").spec["kafka"]["template"]
    assert template["bootstrapService"] == template["brokersService"] == families
    assert not [s.name for s in render(*everything).of_kind("Service") if "ipFamilyPolicy" in s.spec]


def test_addresses_of_ipv6_are_taken_in_brackets() -> None:
    release = render(
        *("-f", "dev", "--set=kafka.mode=external,kafka.external.bootstrapServers=[fd00::1]:9092"),
        "--set=redis.mode=external,redis.external.host=redis,redis.external.cluster=true",
        "--set=redis.external.nodes=[fd00::2]:6380",
    )
    config = release.config("reprise-materializer")
    assert (config["KAFKA_SERVERS"], config["REDIS_NODES"]) == ("[fd00::1]:9092", "[fd00::2]:6380")
    egress = release.egress("materializer")
    assert {9092, 6380} <= {port["port"] for rule in egress for port in rule["ports"]}
