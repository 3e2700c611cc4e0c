"""``values.yaml`` with the comment of each value, and its JSON schema.

The schema is as strict as Helm can be about a misspelt key or a wrong type.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from settings_schema import COMPONENTS, closed, global_settings_schema, settings_schema

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """One entry of ``values.yaml``: its keys joined by dots, and the ``# --`` comment above it as one line."""

    path: str
    default: Any
    comment: str


Group = dict[str, "Value | Group"]


def read_values(path: Path) -> Group:
    """Return the entries of a values file; what has a comment is a value, whatever lies below it.

    Raises:
        ValueError: An entry without a comment is no group of entries.
    """
    text = path.read_text()
    return _entries(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), "")


def walk(group: Group) -> Iterator[Value]:
    """Yield all values in the order of the file."""
    for entry in group.values():
        yield from [entry] if isinstance(entry, Value) else walk(entry)


def _entries(node: Any, lines: list[str], path: str) -> Group:
    entries: Group = {}
    for key, value in node.value:
        name = f"{path}.{key.value}" if path else key.value
        if comment := _comment(lines, key.start_mark.line):
            default = yaml.SafeLoader("").construct_object(value, deep=True)
            entries[key.value] = Value(name, default, comment)
        elif isinstance(value, yaml.MappingNode) and value.value:
            entries[key.value] = _entries(value, lines, name)
        else:
            raise ValueError(
                f"values.yaml, line {key.start_mark.line + 1}: {name} has no `# --` comment above it"
            )
    return entries


def _comment(lines: list[str], line: int) -> str:
    said: list[str] = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if text.startswith("# -- "):
            return " ".join([text.removeprefix("# -- "), *reversed(said)])
        if not text.startswith("# "):
            break
        said.append(text.removeprefix("# "))
    return ""


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_QUANTITY: Schema = {
    "type": ["string", "number"],
    "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$",
}
_QUANTITIES = closed({"cpu": _QUANTITY, "memory": _QUANTITY, "ephemeral-storage": _QUANTITY})
_RESOURCES: Schema = closed({"requests": _QUANTITIES, "limits": _QUANTITIES}) | {
    "required": ["requests", "limits"]
}
_NAME = r"^$|^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_URL = r"^$|^(/|[a-z][a-z0-9+]*://).+$"
_TOLERATION = closed(
    {
        "key": _TEXT,
        "operator": {"enum": ["Exists", "Equal", "Lt", "Gt"]},
        "value": _TEXT,
        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        "tolerationSeconds": {"type": "integer"},
    }
)
# What lies deeper is Kubernetes' own, and its API server looks at it.
_AFFINITY = closed({key: {"type": "object"} for key in ("nodeAffinity", "podAffinity", "podAntiAffinity")})
_PEERS: Schema = {
    "type": "array",
    "items": closed(
        {
            "ipBlock": closed({"cidr": _TEXT, "except": {"type": "array", "items": _TEXT}}),
            "namespaceSelector": {"type": "object"},
            "podSelector": {"type": "object"},
        }
    )
    | {"minProperties": 1},
}
_EGRESS = closed(
    {
        "to": _PEERS,
        "ports": {
            "type": "array",
            "items": closed(
                {"port": {"type": ["integer", "string"]}, "endPort": {"type": "integer"}, "protocol": _TEXT}
            ),
        },
    }
) | {"minProperties": 1}
_SCALING = closed(
    {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "selectPolicy": {"enum": ["Max", "Min", "Disabled"]},
        "tolerance": _QUANTITY,
        "policies": {
            "type": "array",
            "items": closed(
                {
                    "type": {"enum": ["Pods", "Percent"]},
                    "value": {"type": "integer", "minimum": 1},
                    "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
                }
            ),
        },
    }
)
_SECCOMP = closed(
    {"type": {"enum": ["RuntimeDefault", "Localhost", "Unconfined"]}, "localhostProfile": _TEXT}
)
_ID: Schema = {"type": "integer", "minimum": 0}
_POD_SECURITY: Schema = {
    "runAsNonRoot": {"type": "boolean"},
    "runAsUser": _ID,
    "runAsGroup": _ID,
    "fsGroup": _ID,
    "fsGroupChangePolicy": {"enum": ["OnRootMismatch", "Always"]},
    "supplementalGroups": {"type": "array", "items": _ID},
    "seccompProfile": _SECCOMP,
    "seLinuxOptions": {"type": "object"},
}
_CONTAINER_SECURITY = closed(
    {
        **{key: _POD_SECURITY[key] for key in ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile")},
        "allowPrivilegeEscalation": {"type": "boolean"},
        "readOnlyRootFilesystem": {"type": "boolean"},
        "privileged": {"type": "boolean"},
        "capabilities": closed({key: {"type": "array", "items": _TEXT} for key in ("add", "drop")}),
        "seLinuxOptions": {"type": "object"},
    }
)
_MOUNT: Schema = {
    "mountPath": {"pattern": "^/", **_TEXT},
    "subPath": _TEXT,
    "subPathExpr": _TEXT,
    "readOnly": {"type": "boolean"},
    "mountPropagation": _TEXT,
}


def _objects(*required: str) -> Schema:
    """Return the schema of a list of Kubernetes' own objects, which its API server checks further."""
    return {"type": "array", "items": {"type": "object", "required": list(required)}}


def _named(properties: Schema, *required: str) -> Schema:
    items = closed({"name": _TEXT, **properties}) | {"required": ["name", *required]}
    return {"type": "array", "items": items}


_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_PATH = closed(
    {"path": {"pattern": "^/", **_TEXT}, "pathType": {"enum": ["Exact", "Prefix", "ImplementationSpecific"]}}
) | {"required": ["path", "pathType"]}
_ADDRESS = r"(\[[0-9a-fA-F:.]+\]|[^,:\s]+):[0-9]+"
_AGENT = closed({"cidr": {"pattern": "^[0-9a-fA-F:.]+/[0-9]+$", **_TEXT}, "port": _PORT}) | {
    "required": ["cidr", "port"]
}
_BINDING_MODE = {"enum": ["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]}

_STORE_READERS = (
    "predictor", "archiver", "compaction", "trainer", "backfill", "forget", "rollout", "outcomes", "scoring",
    "doctor", "feast", "status",
)  # fmt: skip

# The first pattern that matches a value's path says what its default cannot.
_RULES: tuple[tuple[str, Schema], ...] = (
    (r".*\.resources", _RESOURCES),
    (r".*\.(podLabels|podAnnotations|nodeSelector|annotations|labels)", _TEXTS),
    (r"storage\.gcs\.existingSecrets", closed(dict.fromkeys(_STORE_READERS, _TEXT))),
    (r"storage\.(s3|azure)\.existingSecrets", closed(dict.fromkeys((*_STORE_READERS, "feast-ui"), _TEXT))),
    (r".*\.tolerations", {"type": "array", "items": _TOLERATION}),
    (r".*\.affinity", _AFFINITY),
    (r"networkPolicy\.(.*From|.*To|clients)", _PEERS),
    (r"networkPolicy\.extraEgress", {"type": "array", "items": _EGRESS}),
    (r"networkPolicy\..*Ports", {"type": "array", "minItems": 1, "items": _PORT}),
    (r".*\.gateways", _objects("name")),
    (r".*\.additionalPaths", {"type": "array", "items": _PATH}),
    (r".*\.(args|command|pullSecrets|disabled|additionalHosts)", {"type": "array", "items": _TEXT}),
    (r".*\.behavior", closed({"scaleUp": _SCALING, "scaleDown": _SCALING})),
    (r"(.*\.)?podSecurityContext", closed(_POD_SECURITY)),
    (r"containerSecurityContext", _CONTAINER_SECURITY),
    (r".*\.extraEnv", _named({"value": _TEXT, "valueFrom": {"type": "object"}})),
    (r".*\.extraVolumeMounts", _named(_MOUNT, "mountPath")),
    (r".*\.extraVolumes", _objects("name")),
    (r".*\.extraContainers", _objects("name", "image")),
    (r"extraObjects", _objects("apiVersion", "kind", "metadata")),
    (r"commonLabels", _TEXTS),
    (r".*\.timeZone", {"pattern": r"^$|^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"}),
    (r".*\.serviceAccount\.name", {"pattern": _NAME}),
    (r".*\.image\.digest", {"pattern": r"^$|^sha256:[0-9a-f]{64}$"}),
    (r"global\.image\.pullPolicy", {"enum": ["Always", "IfNotPresent", "Never"]}),
    (r".*\.service\.type", {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}),
    (r".*\.pathType", {"enum": ["Exact", "Prefix", "ImplementationSpecific"]}),
    (r".*\.path", {"pattern": "^/"}),
    (r".*\.(port|target.*Percentage)", {"minimum": 1}),
    (
        r".*\.(minReplicas|maxReplicas|lagThreshold|partitions|days|users|products|pollingSeconds|fallbackFailures|.*Hours|.*Days)",
        {"minimum": 1},
    ),
    (r".*\.accessMode", _BINDING_MODE),
    (r".*\.size", _QUANTITY),
    (
        r".*\.(existingSecret|testSecret|existingClaim|storageClass|secretName|className|priorityClassName)",
        {"pattern": _NAME},
    ),
    (r".*\.caSecret\.name", {"pattern": _NAME}),
    (r"kafka\.topicPrefix", {"pattern": r"^[A-Za-z0-9._-]{0,100}$"}),
    (r".*\.maxUnavailable", {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%$"}),
    (r".*\.group", {"pattern": r"^[A-Za-z0-9._-]{0,200}$"}),
    (r"kafka\.mode", {"enum": ["strimzi", "external"]}),
    (r"redis\.mode", {"enum": ["bundled", "external"]}),
    (r".*\.securityProtocol", {"enum": ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]}),
    (r".*\.saslMechanism", {"enum": ["SCRAM-SHA-512", "SCRAM-SHA-256"]}),
    (r".*\.bootstrapServers", {"pattern": rf"^$|^{_ADDRESS}(,{_ADDRESS})*$"}),
    (r"redis\.external\.nodes", {"pattern": rf"^$|^{_ADDRESS}(,{_ADDRESS})*$"}),
    (r"network\.listen", {"pattern": r"^$|^[0-9a-fA-F:.]+$"}),
    (r"network\.ipFamilyPolicy", {"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]}),
    (r"network\.ipFamilies", {"type": "array", "maxItems": 2, "items": {"enum": ["IPv4", "IPv6"]}}),
    (r"networkPolicy\.identityAgents", {"type": "array", "items": _AGENT}),
    (r"redis\.maxMemory", {"pattern": r"^$|^[0-9]+([kmg]b?)?$"}),
    (r"topics\.replication", {"type": ["integer", "null"], "minimum": 1}),
    (r"feast\.project", {"pattern": r"^[A-Za-z0-9][A-Za-z0-9_-]*$"}),
    (r"monitoring\.pushgateway", {"pattern": r"^$|^https?://[^/\s]+$"}),
    (r"storage\.(models|offline)\.url|scoring\.out|trainer\.spark\.(files|eventLogs)", {"pattern": _URL}),
    (r"trainer\.executor", {"enum": ["duckdb", "spark", "auto"]}),
    (r"trainer\.spark\.(executors|cores)", {"minimum": 1}),
    (r"trainer\.spark\.memory", {"pattern": "^[0-9]+[kmgt]$"}),
    (
        r"trainer\.spark\.conf",
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    ),
    (
        r".*\.schedule",
        {"pattern": r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( \S+){4})$"},
    ),
    (r"monitoring\.rules\..*Matchers", {"pattern": r"^$|^[a-z_]+(=|!=|=~|!~)\".*\"$"}),
    (r"fullnameOverride", {"pattern": r"^$|^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"}),
    (r"feast\.settings", closed({"REPRISE_STATES": _TEXT})),
    (r"global\.settings", global_settings_schema()),
)


def values_schema(values: Group) -> Schema:
    """Return the schema of these values.

    Raises:
        ValueError: A value's type cannot be told from its default, and no rule says it.
    """
    head: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart reprise",
    }
    schema = head | _group(values)
    # of a chart that has this one as a subchart: its own globals, and the condition
    schema["properties"]["global"]["additionalProperties"] = True
    schema["properties"]["enabled"] = {"type": "boolean"}
    return schema


def _group(group: Group) -> Schema:
    properties = {
        key: _value(entry) if isinstance(entry, Value) else _group(entry) for key, entry in group.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(value: Value) -> Schema:
    component, _, key = value.path.partition(".")
    if key == "settings" and component in COMPONENTS:
        return settings_schema(COMPONENTS[component]) | {"description": value.comment}
    rule = next((schema for pattern, schema in _RULES if re.fullmatch(pattern, value.path)), None)
    schema = _plain(value, rule or {})
    return schema | {"description": value.comment}


def _plain(value: Value, rule: Schema) -> Schema:
    if "type" in rule or "enum" in rule:
        return rule
    match value.default:
        case bool():
            kind: Schema = {"type": "boolean"}
        case int():
            kind = {"type": "integer", "minimum": 0}
        case float():
            kind = {"type": "number", "minimum": 0}
        case str():
            kind = {"type": "string"}
        case _:
            raise ValueError(
                f"values.yaml: what may {value.path} be? Say it among the rules of values_schema.py"
            )
    return kind | rule
