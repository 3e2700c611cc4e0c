"""``skaffold.yaml``: what of it follows from the Dockerfiles, under what is written by hand."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HEAD = """\
# Written by `make chart` from the Dockerfiles and charts/generator/skaffold_file.py.
#
#   skaffold dev                    build, install, forward ports, and write changed code into the running containers
#   skaffold run                    build and install, once
#   skaffold run -p production --default-repo registry.example.com/reprise
"""
VALUES = "charts/reprise/values-{}.yaml"
# Containers that run on and start anew when their code is written over (charts/reprise/files/reload.py).
RELOADED = ("predictor", "producer", "materializer", "archiver")
# Service, its port, and the port of this machine.
FORWARDED = (
    ("predictor", 80, 8000),
    ("producer", 80, 8001),
    ("status", 80, 8004),
    ("feast-ui", 80, 8888),
    ("kafdrop", 80, 9000),
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the platform.

    Attributes:
        component: Its component, ``predictor``.
        dockerfile: Path of its Dockerfile from the repository's root.
        packages: Folders of the packages that are installed in it.
    """

    component: str
    dockerfile: str
    packages: tuple[str, ...]


def find_images(root: Path, components: set[str]) -> list[Image]:
    """Return the images of these components, in the order of their names."""
    files = [
        *root.glob("services/*/Dockerfile"),
        *root.glob("jobs/*/Dockerfile"),
        root / "feature_repo/Dockerfile",
    ]
    found = []
    for file in files:
        name = file.parent.name
        component = "feast" if name == "feature_repo" else name
        if component in components:
            copied = re.findall(r"^COPY (\S+) \1$", file.read_text(), re.MULTILINE)
            packages = tuple(sorted(path for path in copied if (root / path / "pyproject.toml").exists()))
            found.append(Image(component, str(file.relative_to(root)), packages))
    return sorted(found, key=lambda image: image.component)


def skaffold_file(images: list[Image]) -> str:
    """Return the file for these images."""
    content = {
        "apiVersion": "skaffold/v4beta13",
        "kind": "Config",
        "metadata": {"name": "reprise"},
        "build": {
            # the same sources, the same tag: what has not changed is neither built nor replaced
            "tagPolicy": {"inputDigest": {}},
            "local": {"useBuildkit": True, "push": False},
            "artifacts": [_artifact(image) for image in images],
        },
        "deploy": {
            "statusCheckDeadlineSeconds": 900,
            "tolerateFailuresUntilDeadline": True,
            "helm": _helm(images),
        },
        "profiles": [_dev(), _kind(), _production(images)],
    }
    return HEAD + yaml.safe_dump(content, sort_keys=False, width=120)


def _artifact(image: Image) -> dict[str, Any]:
    made: dict[str, Any] = {"image": f"reprise-{image.component}", "docker": {"dockerfile": image.dockerfile}}
    if image.component in RELOADED:
        made["sync"] = {
            "manual": [
                {"src": f"{package}/src/**/*.py", "dest": "/opt/reprise", "strip": f"{package}/src/"}
                for package in image.packages
            ]
        }
    return made


def _helm(images: list[Image]) -> dict[str, Any]:
    templates: dict[str, str] = {}
    for image in images:
        templates[f"{image.component}.image.repository"] = f"{{{{.IMAGE_REPO_reprise_{image.component}}}}}"
        templates[f"{image.component}.image.tag"] = f"{{{{.IMAGE_TAG_reprise_{image.component}}}}}"
    release = {
        "name": "reprise",
        "chartPath": "charts/reprise",
        "namespace": "reprise",
        "createNamespace": True,
        "valuesFiles": [VALUES.format("dev")],
        "setValueTemplates": templates,
    }
    return {"releases": [release]}


def _dev() -> dict[str, Any]:
    return {
        "name": "dev",
        "activation": [{"command": "dev"}],
        "patches": [
            {
                "op": "add",
                "path": "/deploy/helm/releases/0/setValues",
                "value": {"dev.reload": True, "kafdrop.enabled": True, "feast.ui.enabled": True},
            }
        ],
        "portForward": [
            {
                "resourceType": "service",
                "resourceName": f"reprise-{name}",
                "namespace": "reprise",
                "port": port,
                "localPort": local,
            }
            for name, port, local in FORWARDED
        ],
    }


def _kind() -> dict[str, Any]:
    # k8s/kind.yaml maps the Ingress controller's ports to the machine's
    hosts = {f"{name}.ingress.host": "reprise.localhost" for name in ("predictor", "producer", "status")}
    return {
        "name": "kind",
        "activation": [{"kubeContext": "kind-.*"}],
        "patches": [
            {"op": "add", "path": f"/deploy/helm/releases/0/setValueTemplates/{key}", "value": host}
            for key, host in hosts.items()
        ],
    }


def _production(images: list[Image]) -> dict[str, Any]:
    digests = [
        {
            "op": "add",
            "path": f"/deploy/helm/releases/0/setValueTemplates/{image.component}.image.digest",
            "value": f"{{{{.IMAGE_DIGEST_reprise_{image.component}}}}}",
        }
        for image in images
    ]
    registry = {
        "op": "add",
        "path": "/deploy/helm/releases/0/setValues",
        # the repositories above have it already
        "value": {"global.image.registry": ""},
    }
    values = {
        "op": "replace",
        "path": "/deploy/helm/releases/0/valuesFiles",
        "value": [VALUES.format("production")],
    }
    return {
        "name": "production",
        "build": {
            "tagPolicy": {"gitCommit": {"variant": "Tags"}},
            "local": {"useBuildkit": True, "push": True},
        },
        "patches": [values, registry, *digests],
    }
