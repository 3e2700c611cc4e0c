"""What of a component's settings can be set through its ``settings`` map, as JSON schema."""

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from reprise.archiver.settings import ArchiverSettings
from reprise.backfill.settings import BackfillSettings
from reprise.doctor.settings import DoctorSettings
from reprise.forget.settings import ForgetSettings
from reprise.materializer.settings import MaterializerSettings
from reprise.outcomes.settings import OutcomesSettings
from reprise.predictor.settings import PredictorSettings
from reprise.producer.settings import ProducerSettings
from reprise.rollout.settings import RolloutSettings
from reprise.runtime.logs import LEVELS
from reprise.runtime.settings import ProcessSettings
from reprise.scoring.settings import ScoringSettings
from reprise.status.settings import StatusSettings
from reprise.topics.settings import TopicsSettings
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the platform: its settings class, and the variables that the chart sets from other values."""

    settings: type[ProcessSettings]
    owned: Set[str] = frozenset()


COMPONENTS = {
    "predictor": Component(PredictorSettings, {
        "MODEL_STORE", "PREDICTOR_DRAIN_SECONDS", "PREDICTOR_METRICS_PORT", "PREDICTOR_API_KEYS_FILE",
    }),
    "producer": Component(ProducerSettings, {
        "PRODUCER_DRAIN_SECONDS", "PRODUCER_METRICS_PORT", "PRODUCER_API_KEYS_FILE", "PRODUCER_ALLOW_ANONYMOUS",
    }),
    "materializer": Component(MaterializerSettings, {"MATERIALIZER_GROUP"}),
    "archiver": Component(ArchiverSettings, {"ARCHIVER_GROUP"}),
    "trainer": Component(TrainerSettings, {
        "TRAINER_EVENTS", "TRAINER_OUT", "TRAINER_WORK_DIR", "TRAINER_TRUTH", "TRAINER_ROLLOUT",
        "TRAINER_EXECUTOR", "TRAINER_SPARK_MASTER", "TRAINER_SPARK_FILES",
    }),
    "backfill": Component(BackfillSettings, {
        "BACKFILL_EXECUTOR", "BACKFILL_DUCKDB_MAX_EVENTS", "BACKFILL_SPARK_MASTER", "BACKFILL_SPARK_FILES",
    }),
    "forget": Component(ForgetSettings, {"FORGET_GROUP", "MODEL_STORE"}),
    "rollout": Component(RolloutSettings, {
        "MODEL_STORE", "ROLLOUT_NAMESPACE", "ROLLOUT_PREDICTOR_SELECTOR", "ROLLOUT_PREDICTOR_PORT_NAME",
        "ROLLOUT_PROMETHEUS_URL",
        "ROLLOUT_PROMETHEUS_MATCHERS",
    }),
    "outcomes": Component(OutcomesSettings, {
        "MODEL_STORE", "OUTCOMES_EVENTS", "OUTCOMES_OUT", "OUTCOMES_PUBLISH", "OUTCOMES_WORK_DIR",
    }),
    "scoring": Component(ScoringSettings, {
        "MODEL_STORE", "SCORING_HORIZON", "SCORING_OUT",
        "SCORING_EXECUTOR", "SCORING_DUCKDB_MAX_EVENTS", "SCORING_SPARK_MASTER", "SCORING_SPARK_FILES",
    }),
    "status": Component(StatusSettings, {
        "STATUS_TARGETS", "STATUS_DOCUMENTATION", "STATUS_PROMETHEUS_URL", "STATUS_PROMETHEUS_NAMESPACE",
        "STATUS_SCORES", "STATUS_REPORT_COMMAND",
    }),
    "doctor": Component(DoctorSettings, {
        "DOCTOR_PREDICTOR_URL", "DOCTOR_PRODUCER_URL", "DOCTOR_MATERIALIZER_REDIS_USERNAME",
        "DOCTOR_PREDICTOR_REDIS_USERNAME", "FEAST_REGISTRY", "MODEL_DIGEST", "MODEL_STORE",
    }),
    "topics": Component(TopicsSettings),
}  # fmt: skip
"""The components by their key in the values."""

# Where Kafka, Redis and the stores are, is said once for all components; the embedded log is not used in a cluster.
_SHARED = {
    "API_HOST", "API_PORT", "FEAST_PROJECT", "KAFKA_CA_FILE", "KAFKA_CLIENT_ID", "KAFKA_PARTITIONS", "KAFKA_PASSWORD",
    "KAFKA_PREDICTIONS_RETENTION", "KAFKA_SASL_MECHANISM", "KAFKA_SECURITY_PROTOCOL", "KAFKA_SERVERS",
    "KAFKA_TOPIC_PREFIX", "KAFKA_USERNAME",
    "PUSHGATEWAY_GROUPING", "PUSHGATEWAY_URL", "REDIS_CA_FILE", "REDIS_DB", "REDIS_HOST", "REDIS_NODES",
    "REDIS_PASSWORD", "REDIS_PORT", "REDIS_TLS", "REDIS_TYPE", "REDIS_USERNAME", "REPRISE_LOG_DIR",
    "REPRISE_EVIDENCE_SIGNING_KEY_FILE", "REPRISE_EVIDENCE_TRUSTED_KEYS_FILE", "REPRISE_LOG_FSYNC",
    "REPRISE_OFFLINE_STORE", "REPRISE_ROUTING_SIGNING_KEY_FILE", "REPRISE_ROUTING_TRUSTED_KEYS_FILE",
    "REPRISE_SIGNING_KEY_FILE", "REPRISE_TRUSTED_KEYS_FILE",
}  # fmt: skip

_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|us|[wdhms]))+$"
_DURATIONS = rf"{_DURATION[:-1]}(,{_DURATION[1:-1]})*$"

_DURATION_LIST: dict[str, Any] = {
    "type": ["string", "array"],
    "pattern": _DURATIONS,
    "items": {"type": "string", "pattern": _DURATION},
}

# Validators know more than their fields' types.
_SPECIAL: dict[str, dict[str, Any]] = {
    "LOG_LEVEL": {"enum": list(LEVELS)},
    "OUTCOMES_EARLY_HORIZON": {"pattern": _DURATION, "default": "1d"},
    "OUTCOMES_EXPOSURE": {"pattern": _DURATION, "default": "1d"},
    "OUTCOMES_HORIZON": {"pattern": _DURATION},
    "OUTCOMES_IN_FLIGHT": {"pattern": _DURATION, "default": "30s"},
    "OUTCOMES_LATENESS": {"pattern": _DURATION, "default": "15m"},
    "OUTCOMES_LOOKBACK": {"pattern": _DURATION, "default": "90d"},
    "SCORING_HORIZONS": _DURATION_LIST,
    "TRAINER_HORIZON": {**_DURATION_LIST, "minItems": 1, "default": "30d"},
}


def settings_schema(component: Component) -> dict[str, Any]:
    """Return the schema of a component's ``settings``: environment names, typed and bounded."""
    cls = component.settings
    fields = cls.model_json_schema(by_alias=False)["properties"]
    properties = {}
    for name, variable in cls.env_names().items():
        secret = SecretStr.__name__ in str(cls.model_fields[name].annotation)
        if secret or variable in _SHARED or variable in component.owned:
            continue
        properties[variable] = _setting(fields[name]) | _SPECIAL.get(variable, {})
    return closed(properties)


def global_settings_schema() -> dict[str, Any]:
    """Return the schema of the settings that all components have."""
    return settings_schema(Component(ProcessSettings))


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": dict(sorted(properties.items()))}


def _setting(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in {"title", "format", "anyOf"}}
    choices = [_setting(choice) for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if choices:
        [choice] = choices
        kept |= choice | {"type": [choice["type"], "null"]}
    if "description" in kept:
        kept["description"] = re.sub(r"\s+", " ", kept["description"])
    return kept
