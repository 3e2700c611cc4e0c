"""Who may speak to whom: NetworkPolicies, RBAC, and the users of Kafka."""

import json
from typing import Any

import pytest

from charts.conftest import EXTERNAL
from reprise.log import DEAD_LETTERS, EVENTS, PREDICTIONS, TOPICS
from support.chart import COMPONENT, ROOT, Release, render

EXTRAS = (
    "--set=monitoring.enabled=true,kafdrop.enabled=true,feast.ui.enabled=true,redis.exporter.enabled=true,"
    "rollout.enabled=true,outcomes.enabled=true,forget.enabled=true,scoring.enabled=true"
)

SERVICES = ("predictor", "producer", "materializer", "archiver")
# from, to, port; within the release and with its Kafka
FLOWS = {
    ("test", "predictor", "http"),
    ("rollout", "predictor", "metrics"),
    ("doctor", "predictor", "http"),
    ("doctor", "producer", "http"),
    *(("status", name, "metrics") for name in (*SERVICES, "rollout")),
    *((name, "kafka", 9093) for name in (*SERVICES, "backfill", "forget", "doctor", "kafdrop")),
    *((name, "redis", "redis") for name in ("predictor", "materializer", "backfill", "forget", "seed")),
    *((name, "redis", "redis") for name in ("feast", "rollout", "outcomes", "doctor")),
}
# what the code calls of the Kubernetes API and the admission policy asks for, by component; each rule as (API group,
# resource, verbs)
RULES: dict[str, set[tuple[str, str, frozenset[str]]]] = {
    "rollout": {
        ("reprise.dev", "modelrollouts", frozenset({"get", "list", "watch", "patch", "promote"})),
        ("reprise.dev", "modelrollouts/status", frozenset({"update"})),
        ("", "pods", frozenset({"list"})),
        ("events.k8s.io", "events", frozenset({"create"})),
    },
    "trainer": {("reprise.dev", "modelrollouts", frozenset({"get", "patch"}))},
}


def test_everything_that_no_policy_names_is_refused(release: Release) -> None:
    policies = release.of_kind("NetworkPolicy")
    if not policies:
        return
    [refusing] = [each for each in policies if each.name == "reprise-default-deny"]
    assert refusing.spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in refusing.spec
    assert "egress" not in refusing.spec
    chosen = refusing.spec["podSelector"]["matchLabels"]
    for each, pod in release.pods():
        assert chosen.items() <= pod.metadata.labels.items(), each.name


def test_more_egress_is_allowed_to_every_pod_of_the_release() -> None:
    rule = {"to": [{"podSelector": {}, "namespaceSelector": {}}], "ports": [{"port": 8080}]}
    release = render(
        "-f", "dev", f"--set-json=networkPolicy.extraEgress={json.dumps([rule])}", with_schema=True
    )
    assert release.egress("default-deny") == [rule]


@pytest.mark.parametrize("peers", ["[]", "null"])
def test_without_peers_nobody_else_is_let_in(peers: str) -> None:
    lists = ("predictor", "producer", "pages", "status", "metrics", "keda", "kafka")
    given = [f"--set-json=networkPolicy.{name}From={peers}" for name in lists]
    keda = ("--api-versions=keda.sh/v1alpha1", "--set=materializer.autoscaling.keda.enabled=true")
    release = render("-f", "dev", EXTRAS, "--set=producer.ingress.enabled=false", *keda, *given)
    rules = [rule for policy in release.of_kind("NetworkPolicy") for rule in policy.spec.get("ingress") or []]
    [clients] = release.find("Kafka", "reprise-kafka").spec["kafka"]["listeners"]
    admitted = [peer for rule in rules for peer in rule["from"] or [{}]] + clients["networkPolicyPeers"]
    assert all(peer.keys() == {"podSelector"} for peer in admitted)


def test_every_pod_has_a_policy_of_its_component() -> None:
    release = render("-f", "dev", EXTRAS, "--set=kafka.mode=external,kafka.external.bootstrapServers=k:9092")
    with_policy = {
        each.spec["podSelector"]["matchLabels"].get(COMPONENT) for each in release.of_kind("NetworkPolicy")
    }
    # datagen speaks to nobody
    assert {pod.metadata.labels[COMPONENT] for _, pod in release.pods()} - with_policy == {"datagen"}


def test_the_flows_within_the_platform_are_these_and_no_others() -> None:
    assert _egress(render("-f", "dev", EXTRAS)) == FLOWS


def test_whom_a_component_speaks_to_lets_it_in() -> None:
    release = render("-f", "dev", EXTRAS)
    accepted = {
        (peer["podSelector"]["matchLabels"][COMPONENT], _of(policy), port["port"])
        for policy in release.of_kind("NetworkPolicy")
        for rule in policy.spec.get("ingress", [])
        for peer in rule["from"]
        if COMPONENT in peer.get("podSelector", {}).get("matchLabels", {})
        for port in rule["ports"]
    }
    [clients] = release.find("Kafka", "reprise-kafka").spec["kafka"]["listeners"]
    accepted |= {
        (peer["podSelector"]["matchLabels"][COMPONENT], "kafka", clients["port"])
        for peer in clients["networkPolicyPeers"]
    }
    assert accepted >= FLOWS


def _of(policy: Any) -> str:
    return str(policy.spec["podSelector"]["matchLabels"].get(COMPONENT))


def _egress(release: Release) -> set[tuple[str, str, object]]:
    flows = set()
    for policy in release.of_kind("NetworkPolicy"):
        for rule in policy.spec.get("egress", []):
            for peer in rule.get("to", []):
                labels = peer["podSelector"]["matchLabels"]
                target = "kafka" if "strimzi.io/cluster" in labels else labels[COMPONENT]
                flows |= {(_of(policy), target, port["port"]) for port in rule["ports"]}
    return flows


def test_only_names_and_what_is_outside_may_be_reached_without_a_named_peer() -> None:
    release = render(
        *("-f", "production", "--set=kafka.mode=external,kafka.external.bootstrapServers=k:9094"),
        "--set=storage.s3.endpointUrl=http://minio:9000",
    )
    ports = {
        str(port["port"])
        for policy in release.of_kind("NetworkPolicy")
        for rule in policy.spec.get("egress", [])
        if "to" not in rule
        for port in rule["ports"]
    }
    assert ports == {"53", "9094", "6379", "9000"}


TRACED = (
    "--set=predictor.settings.REPRISE_TRACES=true",
    "--set=predictor.settings.OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.tracing:4318",
)


def _ports_by_component(release: Release) -> dict[str, list[tuple[int, object]]]:
    return {
        _of(policy): [
            (int(port["port"]), rule.get("to"))
            for rule in policy.spec.get("egress", [])
            for port in rule["ports"]
            if str(port["port"]) == "4318"
        ]
        for policy in release.of_kind("NetworkPolicy")
    }


def test_the_collector_of_traces_may_be_reached_by_whom_exports_them_and_nobody_else() -> None:
    assert not any(_ports_by_component(render("-f", "dev")).values())
    anywhere = _ports_by_component(render("-f", "dev", *TRACED))
    assert anywhere.pop("predictor") == [(4318, None)]
    assert not any(anywhere.values())


def test_the_collector_of_traces_can_be_a_named_peer() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tracing"}}}
    release = render("-f", "dev", *TRACED, f"--set-json=networkPolicy.tracesTo={json.dumps([peer])}")
    assert _ports_by_component(release)["predictor"] == [(4318, [peer])]


def test_the_kubernetes_api_is_open_to_whom_the_code_calls_it_from_and_nobody_else(release: Release) -> None:
    granted = {}
    for role in [*release.of_kind("Role"), *release.of_kind("ClusterRole")]:
        granted[role.component] = {
            (group, resource, frozenset(rule["verbs"]))
            for rule in role.raw["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
    assert granted.items() <= RULES.items()
    assert {each.component for each in release.of_kind("RoleBinding")} == set(granted)


def test_rights_on_rollouts_are_part_of_the_clusters_roles() -> None:
    release = render("-f", "dev", "--set=rollout.enabled=true,rollout.clusterRoles.enabled=true")
    aggregated = {
        label.removeprefix("rbac.authorization.k8s.io/aggregate-to-"): each.raw["rules"][0]["verbs"]
        for each in release.of_kind("ClusterRole")
        for label in each.metadata.labels
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert aggregated == {
        "view": ["get", "list", "watch"],
        "edit": ["create", "update", "patch", "delete"],
        "admin": ["promote"],
    }


def test_topics_are_as_the_platform_declares_them() -> None:
    topics = render("-f", "production").of_kind("KafkaTopic")
    names = "retention.ms", "cleanup.policy"
    assert {
        (each.name, each.spec["partitions"], *(each.spec["config"][name] for name in names))
        for each in topics
    } == {
        (topic.name, topic.partitions, round(topic.retention.total_seconds() * 1000), topic.cleanup)
        for topic in TOPICS
    }
    assert {each.spec["replicas"] for each in topics} == {3}


def test_topics_by_user_and_the_components_have_the_partitions_of_the_values() -> None:
    release = render("-f", "production", "--set=kafka.partitions=24,materializer.replicas=20")
    made = {each.name: each.spec["partitions"] for each in release.of_kind("KafkaTopic")}
    assert made == {topic.name: 24 if topic.by_user else 1 for topic in TOPICS}
    assert release.config("reprise-doctor")["KAFKA_PARTITIONS"] == "24"


def test_predictions_are_kept_in_kafka_for_as_long_as_the_values_say() -> None:
    hours = "--set=kafka.predictionsRetentionHours=72"
    topics = render("-f", "production", hours).of_kind("KafkaTopic")
    kept = {each.name: each.spec["config"]["retention.ms"] for each in topics}
    assert kept == {
        topic.name: round(topic.retention.total_seconds() * 1000) for topic in (EVENTS, DEAD_LETTERS)
    } | {PREDICTIONS.name: 72 * 3_600_000}
    job = render(*EXTERNAL, hours).config("reprise-topics")
    assert job["KAFKA_PREDICTIONS_RETENTION"] == "72h"


def test_uninstalling_keeps_kafka_and_its_topics() -> None:
    release = render("-f", "production")
    kept = {
        each.kind
        for each in release.manifests
        if each.metadata.annotations.get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {"Kafka", "KafkaNodePool", "KafkaTopic"}
    for kind in kept:
        assert all("helm.sh/resource-policy" in each.metadata.annotations for each in release.of_kind(kind))


def test_a_record_survives_a_broker_where_there_are_three() -> None:
    config = render("-f", "production").find("Kafka", "reprise-kafka").spec["kafka"]["config"]
    assert (config["default.replication.factor"], config["min.insync.replicas"]) == (3, 2)
    assert config["auto.create.topics.enable"] is False
    config = render("-f", "dev").find("Kafka", "reprise-kafka").spec["kafka"]["config"]
    assert (config["default.replication.factor"], config["min.insync.replicas"]) == (1, 1)


def test_every_component_has_a_kafka_user_that_may_no_more_than_it_does() -> None:
    users = {each.component: each.spec for each in render("-f", "dev").of_kind("KafkaUser")}
    people = {"doctor", "kafdrop"}
    assert set(users) == {"predictor", "producer", "materializer", "archiver", "backfill", *people}
    assert all(spec["authentication"] == {"type": "scram-sha-512"} for spec in users.values())
    writes = {
        (component, acl["resource"]["name"])
        for component, spec in users.items()
        for acl in spec["authorization"]["acls"]
        if "Write" in acl["operations"]
    }
    assert writes == {
        ("predictor", "ecommerce-predictions"),
        ("producer", "ecommerce-events"),
        ("materializer", "ecommerce-events-dlq"),
    }
    operations: dict[bool, set[str]] = {True: set(), False: set()}
    for component, spec in users.items():
        for acl in spec["authorization"]["acls"]:
            operations[component in people] |= set(acl["operations"])
    # the doctor and Kafdrop tell how topics are configured
    assert operations[True] == {"Read", "Describe", "DescribeConfigs"}
    assert operations[False] == {"Read", "Write", "Describe"}


def test_without_a_producer_the_doctor_may_append_its_event_itself() -> None:
    release = render("-f", "dev", "--set=producer.enabled=false")
    acls = release.find("KafkaUser", "reprise-doctor").spec["authorization"]["acls"]
    assert [acl["resource"]["name"] for acl in acls if "Write" in acl["operations"]] == ["ecommerce-events"]


def test_a_password_comes_from_the_secret_of_the_user_it_is_of(release: Release) -> None:
    strimzi = bool(release.of_kind("Kafka"))
    for each, container in release.containers():
        given = {variable.name: variable for variable in container.env}
        if strimzi and "KAFKA_PASSWORD" in given:
            source = given["KAFKA_PASSWORD"].value_from
            assert source is not None
            assert source["secretKeyRef"]["name"] == given["KAFKA_USERNAME"].value, each.name


def test_a_producer_with_keys_asks_for_them_everywhere_but_on_its_port_for_metrics() -> None:
    keys = "--set=producer.apiKeys.existingSecret=senders,producer.apiKeys.testSecret=canary"
    release = render("-f", "dev", EXTRAS, "--set=status.enabled=true", keys)
    config = release.config("reprise-producer")
    assert config["PRODUCER_API_KEYS_FILE"] == "/etc/reprise/keys/keys"
    pod = release.pod("producer")
    [producer] = pod.spec.containers
    assert {port["name"]: port["containerPort"] for port in producer.ports} == {
        "http": 8001,
        "metrics": int(config["PRODUCER_METRICS_PORT"]),
    }
    assert {"name": "keys", "secret": {"secretName": "senders"}} in pod.spec.volumes
    [monitor] = [each for each in release.of_kind("PodMonitor") if each.component == "producer"]
    assert [each["port"] for each in monitor.spec["podMetricsEndpoints"]] == ["metrics"]
    policy = release.find("NetworkPolicy", "reprise-producer")
    ports = [port["port"] for rule in policy.spec["ingress"] for port in rule["ports"]]
    assert ports == ["http", "http", "metrics", "metrics"]
    [doctor] = release.pod("doctor", "CronJob").spec.containers
    [key] = [each for each in doctor.env if each.name == "DOCTOR_PRODUCER_API_KEY"]
    assert key.value_from == {"secretKeyRef": {"name": "canary", "key": "key"}}


def _clients_of_the_producer(release: Release) -> list[Any]:
    rules = release.find("NetworkPolicy", "reprise-producer").spec["ingress"] or []
    senders = [peer for rule in rules if {"port": "http"} in rule["ports"] for peer in rule["from"]]
    return [peer for peer in senders if "namespaceSelector" in peer]


def test_the_producer_is_closed_unless_the_values_open_it() -> None:
    closed = render("--set=doctor.enabled=false,status.enabled=false")
    assert not closed.find("NetworkPolicy", "reprise-producer").spec.get("ingress")
    assert "PRODUCER_ALLOW_ANONYMOUS" not in closed.config("reprise-producer")
    assert not _clients_of_the_producer(render("--set=monitoring.enabled=true"))
    shop = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    production = render("-f", "production")
    assert _clients_of_the_producer(production) == [shop]
    assert "PRODUCER_ALLOW_ANONYMOUS" not in production.config("reprise-producer")
    for opened in (render("-f", "dev"), render("-f", str(ROOT / "k8s/e2e/values.yaml"))):
        assert _clients_of_the_producer(opened) == [{"namespaceSelector": {}}]
        assert opened.config("reprise-producer")["PRODUCER_ALLOW_ANONYMOUS"] == "true"


def test_ports_of_dns_and_of_the_api_and_the_agent_of_cloud_identities_are_those_of_the_cluster() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/28"}}
    release = render(
        *("-f", "production", "--set=networkPolicy.dnsPorts={53,5353},networkPolicy.apiServerPorts={16443}"),
        f"--set-json=networkPolicy.apiServerTo={json.dumps([block])}",
        "--set=storage.s3.existingSecret=,storage.s3.workloadIdentity=true,rollout.enabled=true",
    )
    for policy in release.of_kind("NetworkPolicy"):
        for rule in policy.spec.get("egress", []):
            if rule["ports"][0].get("protocol") == "UDP":
                assert [port["port"] for port in rule["ports"]] == [53, 53, 5353, 5353]
    assert {"ports": [{"port": 16443}], "to": [block]} in release.egress("rollout")
    assert _agents(release) == {("169.254.170.23/32", 80), ("fd00:ec2::23/128", 80)}


def _agents(release: Release) -> set[tuple[str, int]]:
    return {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in release.egress("predictor")
        for peer in rule.get("to", [])
        if "ipBlock" in peer
        for port in rule["ports"]
    }


def test_agents_of_another_clouds_identities_can_be_reached_instead() -> None:
    gke = [{"cidr": "169.254.169.254/32", "port": 80}, {"cidr": "169.254.169.252/32", "port": 988}]
    agents = f"--set-json=networkPolicy.identityAgents={json.dumps(gke)}"
    identity = "--set=storage.s3.existingSecret=,storage.s3.workloadIdentity=true"
    assert _agents(render("-f", "production", identity, agents)) == {
        ("169.254.169.254/32", 80),
        ("169.254.169.252/32", 988),
    }
    assert _agents(render("-f", "production", agents)) == set()


def test_production_counts_purchases_of_authenticated_senders_alone() -> None:
    release = render("-f", "production", "--set=outcomes.enabled=true")
    assert release.config("reprise-outcomes")["OUTCOMES_SENDERS"] == "authenticated"
