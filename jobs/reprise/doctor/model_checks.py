"""Whether the model is whole and fits the plan, and whether it is the one that answers."""

import time
from collections.abc import Callable
from typing import Any

from reprise.bundle import Bundle, BundleError, BundleNotFoundError, BundleStore
from reprise.doctor.check import Say, Seen
from reprise.doctor.exceptions import CheckFailedError, CheckSkippedError
from reprise.doctor.services import Predictor
from reprise.doctor.settings import LATEST
from reprise.features.exceptions import PlanError
from reprise.features.plan import Plan
from reprise.routing import InvalidRoutingError, RoutingDocument
from reprise.runtime.storage import StorageAddressError

SECTION = "a-model-is-refused"
NO_MODEL_SECTION = "the-trainer-did-not-run"
STATE_SECTION = "predictions-fail"
ADVICE = (
    "publish a good model, or set MODEL_DIGEST to a former one; the predictors go on with theirs meanwhile"
)
STATE_ADVICE = (
    "train on the plan that the materializers run, or give them the model's plan and backfill with --replace"
)
TRAIN_ADVICE = "train a model: `reprise train`, or kubectl create job --from=cronjob/reprise-trainer"
_RELOAD_SECONDS = 15.0
_LOOK_SECONDS = 0.5


def look_at_model(store_url: str | None, wanted: str, plan: Plan, say: Say) -> Seen:
    """Fetch the model, verify its bytes, and see that it is for the state that the plan keeps.

    Raises:
        CheckFailedError: There is none, it is damaged, or it is for another state.
        CheckSkippedError: No store is named.
    """
    if store_url is None:
        raise CheckSkippedError("no model store is named (MODEL_STORE)")
    say(f"fetching the model from {store_url}")
    try:
        store = BundleStore(store_url)
        bundle = store.fetch(store.latest() if wanted == LATEST else wanted)
        own = Plan.from_dict(bundle.manifest.plan)
    except BundleNotFoundError as error:
        raise CheckFailedError(str(error), TRAIN_ADVICE, NO_MODEL_SECTION) from error
    except (BundleError, PlanError, StorageAddressError) as error:
        raise CheckFailedError(str(error), ADVICE, SECTION) from error
    _check_hashes(bundle, own, plan)
    size = len(bundle.model) / 1e6
    return Seen(
        f"{bundle.digest[:19]}… is whole ({size:.1f} MB) and for the plan's schema {plan.schema_hash[:12]}"
    )


def _check_hashes(bundle: Bundle, own: Plan, plan: Plan) -> None:
    manifest = bundle.manifest
    for name, said, found in (
        ("plan_hash", manifest.plan_hash, own.hash),
        ("schema_hash", manifest.schema_hash, own.schema_hash),
    ):
        if said != found:
            raise CheckFailedError(
                f"{bundle.digest}: {name} {said[:12]} is not that of its own plan, {found[:12]}",
                ADVICE,
                SECTION,
            )
    if own.schema_hash != plan.schema_hash:
        raise CheckFailedError(
            f"{bundle.digest[:19]}… reads state of the schema {own.schema_hash[:12]}, and the plan keeps "
            f"{plan.schema_hash[:12]}",
            STATE_ADVICE,
            STATE_SECTION,
        )


def look_at_served_model(
    predictor: Predictor,
    expected: Callable[[], tuple[str, str]],
    plan: Plan,
    say: Say,
    wait_seconds: float = _RELOAD_SECONDS,
) -> Seen:
    """See that the predictor answers with the model that it should, and by the state that is kept.

    Args:
        predictor: The predictor.
        expected: Returns the digest that should answer, and who says so.
        plan: What the materializers keep.
        say: Told what is waited for.
        wait_seconds: How long a predictor may take to notice another model.

    Raises:
        CheckFailedError: It answers with another.
    """
    digest, source = expected()
    give_up = time.monotonic() + wait_seconds
    while True:
        info = predictor.model_info()
        if info["digest"] == digest or _refuses(info, digest) or time.monotonic() > give_up:
            break
        say(f"waiting for the predictor to take {digest[:19]}…")
        time.sleep(_LOOK_SECONDS)
    if info["digest"] != digest:
        raise CheckFailedError(_other_model(info, digest, source), ADVICE, SECTION)
    if info["schema_hash"] != plan.schema_hash:
        raise CheckFailedError(
            f"the predictor reads state of the schema {info['schema_hash'][:12]}, and the plan keeps "
            f"{plan.schema_hash[:12]}",
            STATE_ADVICE,
            STATE_SECTION,
        )
    return Seen(f"the predictor answers with {digest[:19]}…, as {source} says")


def expected_model(document: bytes | None, store_url: str | None, configured: str) -> tuple[str, str]:
    """Return the digest of the model that should answer most users, and who says so.

    Raises:
        CheckFailedError: What says so cannot be read.
        CheckSkippedError: Nobody says so.
    """
    try:
        routing = RoutingDocument.from_bytes(document) if document is not None else None
        if routing is not None and not routing.released:
            return routing.arms[0].digest, f"the rollout {routing.rollout}"
        if configured != LATEST:
            return configured, "MODEL_DIGEST"
        if store_url is None:
            raise CheckSkippedError("no model store is named (MODEL_STORE)")
        return BundleStore(store_url).latest(), "the model store"
    except InvalidRoutingError as error:
        raise CheckFailedError(
            str(error), "see what the rollout's operator logs", "a-rollout-is-stuck"
        ) from error
    except (BundleError, StorageAddressError) as error:
        raise CheckFailedError(str(error), TRAIN_ADVICE, NO_MODEL_SECTION) from error


def _refuses(info: dict[str, Any], digest: str) -> bool:
    refused = info.get("refused")
    return refused is not None and refused["digest"] == digest


def _other_model(info: dict[str, Any], digest: str, source: str) -> str:
    seen = f"the predictor answers with {info['digest'][:19]}…, and {source} says {digest[:19]}…"
    refused = info.get("refused")
    return f"{seen}; it has refused {refused['digest'][:19]}…: {refused['reason']}" if refused else seen
