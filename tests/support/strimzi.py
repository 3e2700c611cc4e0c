"""The pods that Strimzi's operator makes of the chart's resources, as far as admission looks at them.

The rules are those of strimzi-kafka-operator, in cluster-operator/src/main/java/io/strimzi/operator/cluster/model:

- KafkaPool: the template of a node pool takes the place of Kafka's; they are not merged.
- KafkaCluster: a container, and kafka-init if there is a rack or a listener on node ports.
- EntityOperator, KafkaExporter: a container each for topic operator, user operator and exporter, without a pod context.

A security context of a template is used as it is. Otherwise a provider of
api/src/main/java/io/strimzi/plugin/security/profiles/impl makes it: Baseline gives brokers with persistent claims
fsGroup 0, and containers nothing; Restricted gives containers a context too.
"""

from typing import Any, Literal

from support.chart import Release

Provider = Literal["baseline", "restricted"]
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "capabilities": {"drop": ["ALL"]},
}
_IMAGE = "quay.io/strimzi/kafka:1.2.0-kafka-4.3.1"


def strimzi_pods(release: Release, provider: Provider, *, templates: bool = True) -> list[dict[str, Any]]:
    """Return a pod of each node pool, of the Entity Operator and of the exporter, with the templates or without."""
    [kafka] = release.of_kind("Kafka")
    spec, name = kafka.spec, kafka.name
    if not templates:
        parts = ("kafka", "entityOperator", "kafkaExporter")
        spec |= {each: {**spec[each], "template": {}} for each in parts}
    pods = []
    for pool in release.of_kind("KafkaNodePool"):
        template = pool.spec.get("template") or spec["kafka"].get("template") or {}
        on_node_ports = any(each["type"] == "nodeport" for each in spec["kafka"]["listeners"])
        init = {"kafka-init": "initContainer"} if "rack" in spec["kafka"] or on_node_ports else {}
        claims = [each for each in pool.spec["storage"]["volumes"] if each["type"] == "persistent-claim"]
        broker = {"kafka": "kafkaContainer"}
        pod = _pod(f"{name}-{pool.name}-0", f"{name}-kafka", template, broker, provider, init)
        if claims and "securityContext" not in pod["spec"]:
            pod["spec"]["securityContext"] = {"fsGroup": 0}
        pod["spec"]["volumes"] += [
            {"name": f"data-{each['id']}", "persistentVolumeClaim": {"claimName": f"data-{each['id']}-{pool.name}-0"}}
            for each in claims
        ]  # fmt: skip
        pods.append(pod)
    operators = {f"{each}-operator": f"{each}OperatorContainer" for each in ("topic", "user")}
    for part, suffix, containers in (
        ("entityOperator", "entity-operator", operators),
        ("kafkaExporter", "kafka-exporter", {"kafka-exporter": "container"}),
    ):
        if part in spec:
            full = f"{name}-{suffix}"
            pods.append(_pod(full, full, spec[part].get("template", {}), containers, provider))
    return pods


def _pod(
    name: str,
    account: str,
    template: dict[str, Any],
    containers: dict[str, str],
    provider: Provider,
    init_containers: dict[str, str] | None = None,
) -> dict[str, Any]:
    def made(names: dict[str, str]) -> list[dict[str, Any]]:
        default = {"securityContext": RESTRICTED} if provider == "restricted" else {}
        shared = {"image": _IMAGE, **default}
        return [{"name": each, **shared, **template.get(part, {})} for each, part in names.items()]

    own = template.get("pod", {})
    spec = {
        "serviceAccountName": account,
        "containers": made(containers),
        "initContainers": made(init_containers or {}),
        "volumes": [
            {"name": "strimzi-tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "5Mi"}},
            {"name": "certificates", "secret": {"secretName": f"{name}-certs"}},
            {"name": "configuration", "configMap": {"name": f"{name}-config"}},
        ],
        **{key: own[key] for key in ("securityContext", "affinity") if key in own},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
