"""Whether the model is intact and fits the plan, and whether the predictor serves it."""

import time
from collections.abc import Callable

from reprise.bundle import BundleError, BundleNotFoundError, BundleStore
from reprise.doctor.check import CheckFailedError, CheckSkippedError, Observation, Remedy, ReportProgress
from reprise.doctor.checks.services import PREDICTIONS, Predictor
from reprise.doctor.settings import LATEST
from reprise.features.exceptions import PlanError
from reprise.features.plan import Plan
from reprise.routing import InvalidRoutingError, RoutingDocument
from reprise.runtime.storage import StorageAddressError

MODEL = Remedy(
    "publish a good model, or set MODEL_DIGEST to an earlier one; the predictors keep theirs meanwhile",
    "a-model-is-refused",
)
STATE = Remedy(
    "train on the plan that the materializers run, or give them the model's plan and backfill with --replace",
    PREDICTIONS.section,
)
NO_MODEL = Remedy(
    "train a model: `reprise train`, or kubectl create job --from=cronjob/reprise-trainer",
    "the-trainer-did-not-run",
)
ROLLOUT = Remedy("see what the rollout's operator logs", "a-rollout-is-stuck")
_RELOAD_SECONDS = 15.0
_POLL_SECONDS = 0.5


def check_model(
    store_url: str | None,
    wanted: str,
    plan: Plan,
    report: ReportProgress,
    open_store: Callable[[str], BundleStore] = BundleStore,
) -> Observation:
    """Fetch the model, verify its bytes, and compare its plan's state with that of ``plan``."""
    if store_url is None:
        raise CheckSkippedError("no model store is configured (MODEL_STORE)")
    report(f"fetching the model from {store_url}")
    try:
        store = open_store(store_url)
        bundle = store.fetch(store.latest() if wanted == LATEST else wanted)
        own = Plan.from_dict(bundle.manifest.plan)
    except BundleNotFoundError as error:
        raise CheckFailedError(str(error), NO_MODEL) from error
    except (BundleError, PlanError, StorageAddressError) as error:
        raise CheckFailedError(str(error), MODEL) from error
    manifest = bundle.manifest
    for name, stated, found in (
        ("plan_hash", manifest.plan_hash, own.hash),
        ("schema_hash", manifest.schema_hash, own.schema_hash),
    ):
        if stated != found:
            raise CheckFailedError(
                f"{bundle.digest}: {name} {stated[:12]} is not that of its own plan, {found[:12]}", MODEL
            )
    _check_schema(f"{bundle.digest[:19]}…", own.schema_hash, plan)
    size = len(bundle.model) / 1e6
    return Observation(
        f"{bundle.digest[:19]}… is intact ({size:.1f} MB) and reads the plan's schema {plan.schema_hash[:12]}"
    )


def _check_schema(reader: str, schema_hash: str, plan: Plan) -> None:
    if schema_hash != plan.schema_hash:
        found = (
            f"{reader} reads state of the schema {schema_hash[:12]}; the plan keeps {plan.schema_hash[:12]}"
        )
        raise CheckFailedError(found, STATE)


def check_served_model(
    predictor: Predictor,
    expected: Callable[[], tuple[str, str]],
    plan: Plan,
    report: ReportProgress,
    wait_seconds: float = _RELOAD_SECONDS,
) -> Observation:
    """See whether the predictor serves the expected model and reads the plan's state.

    ``expected`` returns the digest to expect and what determines it; a predictor may take ``wait_seconds`` to load it.
    """
    digest, source = expected()
    deadline = time.monotonic() + wait_seconds
    while True:
        info = predictor.model_info()
        refused: dict[str, str] = info.get("refused") or {}
        if digest in (info["digest"], refused.get("digest")) or time.monotonic() > deadline:
            break
        report(f"waiting for the predictor to load {digest[:19]}…")
        time.sleep(_POLL_SECONDS)
    if info["digest"] != digest:
        found = f"the predictor serves {info['digest'][:19]}…; {source} says {digest[:19]}…"
        if refused:
            found = f"{found}; it refused {refused['digest'][:19]}…: {refused['reason']}"
        raise CheckFailedError(found, MODEL)
    _check_schema("the predictor", info["schema_hash"], plan)
    return Observation(f"the predictor serves {digest[:19]}…, as {source} says")


def expected_model(
    read_document: Callable[[], RoutingDocument | None], store_url: str | None, configured: str
) -> tuple[str, str]:
    """Return the digest of the model that should serve most users, and what determines it."""
    try:
        routing = read_document()
        if routing is not None and not routing.released:
            return routing.arms[0].digest, f"the rollout {routing.rollout}"
        if configured != LATEST:
            return configured, "MODEL_DIGEST"
        if store_url is None:
            raise CheckSkippedError("no model store is configured (MODEL_STORE)")
        return BundleStore(store_url).latest(), "the model store"
    except InvalidRoutingError as error:
        raise CheckFailedError(str(error), ROLLOUT) from error
    except (BundleError, StorageAddressError) as error:
        raise CheckFailedError(str(error), NO_MODEL) from error
