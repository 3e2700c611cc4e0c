"""The checks of an installation, in the order in which one builds on another."""

from reprise.doctor import canary, feast_check, log_checks, model_checks, redis_checks, services
from reprise.doctor.check import Check
from reprise.doctor.installation import Installation

_MORE_SECONDS = 30.0  # that the canary may take besides waiting for its features

_LOG = (log_checks.ADVICE, log_checks.SECTION)
_REDIS = (redis_checks.ADVICE, redis_checks.SECTION)
_FEAST = (feast_check.ADVICE, feast_check.SECTION)
_MODEL = (model_checks.ADVICE, model_checks.SECTION)
_SERVICE = (services.ADVICE, services.SECTION)
_CANARY = (canary.ADVICE, canary.SECTION)


def checklist(at: Installation) -> list[Check]:
    """Return the checks of an installation."""
    seconds, longer = at.settings.check_seconds, at.settings.canary_seconds + _MORE_SECONDS
    # An event for the log itself would make a topic of the embedded log that is missing.
    way = ("log", "producer") if at.producer is not None else ("log", "topics")
    return [
        Check("log", at.log, seconds, *_LOG),
        Check("topics", at.topics, seconds, *_LOG, needs=("log",)),
        Check("redis", at.redis, seconds, *_REDIS),
        Check("redis-users", at.redis_users, seconds, *_REDIS, needs=("redis",)),
        Check("feast", at.feast, seconds, *_FEAST),
        Check("model", at.model, seconds, *_MODEL),
        Check("producer", at.taking, seconds, *_SERVICE, follows=("log", "topics")),
        Check("predictor", at.answering, seconds, *_SERVICE, follows=("redis", "model")),
        Check("served-model", at.served_model, seconds, *_MODEL, needs=("redis", "model", "predictor")),
        Check("canary", at.canary, longer, *_CANARY, needs=(*way, "redis", "predictor"), follows=("topics",)),
    ]
