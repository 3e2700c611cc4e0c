"""An archive of a shop that two models were tried in: events, predictions and bundles, all of it known."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from reprise.archive import OfflineStore
from reprise.bundle import BundleStore, Histogram
from reprise.events import Event, encode_event, format_timestamp
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.plan import Plan
from reprise.features.vectorizer import FeatureVectorizer
from reprise.log import EVENTS, PREDICTIONS, Record
from reprise.routing import RoutingDocument, Share, allocate, assign
from reprise.trainer.evaluation.histograms import feature_histogram
from support.offline import put
from support.served_bundles import bundle_files, small_plan

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24
START_US = 1_767_225_600_000_000
HORIZON_US = 2 * DAY_US
PARTITIONS = 3
DAYS = 24
SALT = "shop"
BASELINE_WEIGHTS = {"pair_purchases": -0.7}
TRUE_WEIGHTS = {"pair_purchases": 1.5}
BIAS = -0.8


@dataclass
class Archive:
    """Where everything is, and what is in it."""

    offline: str
    models: str
    document: RoutingDocument
    events: list[Event]
    predictions: list[dict[str, object]]
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shop:
    """How the shop is.

    Attributes:
        users: How many users there are.
        visits: How often a user comes, on average.
        seed: Of everything random.
        candidate_share: The candidate's share of the users, basis points.
        share_before: What it was in the first third of the days.
        candidate_weights: The candidate's model; the truth is ``TRUE_WEIGHTS``.
        late: Share of the events that come to the log ten minutes late.
        corrupt: Changes the features that a prediction logs.
        shadow: Whether the candidate only scores what the baseline answers.
        histograms: Of the inputs in training, as ``input_histograms`` gives them.
    """

    users: int = 600
    visits: float = 5.0
    seed: int = 0
    candidate_share: int = 5_000
    share_before: int | None = None
    candidate_weights: dict[str, float] = field(default_factory=lambda: dict(TRUE_WEIGHTS))
    late: float = 0.0
    corrupt: Callable[[int, dict[str, float | None]], None] | None = None
    shadow: bool = False
    histograms: Mapping[str, Histogram] = field(default_factory=dict)


@dataclass(frozen=True)
class _Visit:
    at_us: int
    user: str
    product: str


def make_archive(folder: Path, shop: Shop) -> Archive:
    plan = small_plan()
    models = BundleStore(str(folder / "models"))
    horizon = HORIZON_US // 1_000_000
    manifest: dict[str, Any] = {"horizon_seconds": horizon, "feature_histograms": shop.histograms}
    digests = {
        name: models.publish(bundle_files(weights=weights, bias=BIAS, **manifest, seed=number))
        for number, (name, weights) in enumerate(
            (("baseline", BASELINE_WEIGHTS), ("candidate", shop.candidate_weights))
        )
    }
    share = 0 if shop.shadow else shop.candidate_share
    before = _document(digests, shop.share_before or share, 1, shop.shadow)
    now = _document(digests, share, 2, shop.shadow, before)
    arm_of = _arm_of(before, now, START_US + DAYS * DAY_US // 3)
    events, predictions, arrivals = _lived(shop, plan, digests, arm_of)
    store = OfflineStore(str(folder / "offline"))
    arrived = zip(events, arrivals, strict=True)
    _archive(store, EVENTS.name, [(event.user_id, us // 1000, encode_event(event)) for event, us in arrived])
    archive_predictions(store, predictions)
    return Archive(str(folder / "offline"), str(folder / "models"), now, events, predictions, dict(digests))


def input_histograms(predictions: list[dict[str, Any]]) -> dict[str, Histogram]:
    """Return the histograms that a trainer would keep of inputs that were distributed as those of some predictions."""
    names = list(predictions[0]["features"])
    rows = np.array([[said["features"][name] for name in names] for said in predictions], dtype=np.float32)
    return {name: feature_histogram(rows[:, at]) for at, name in enumerate(names)}


def _document(
    digests: dict[str, str], share: int, generation: int, shadow: bool, held: RoutingDocument | None = None
) -> RoutingDocument:
    buckets = {arm.name: arm.buckets for arm in held.arms[1:]} if held else {}
    arms = allocate(digests["baseline"], [Share("candidate", digests["candidate"], share, shadow)], buckets)
    return RoutingDocument(generation=generation, rollout="shop/trial", salt=SALT, arms=arms)


def _arm_of(before: RoutingDocument, now: RoutingDocument, change_us: int) -> Callable[[int, str], str]:
    earlier, later = assign(before), assign(now)

    def arm_of(at_us: int, user: str) -> str:
        return ("baseline", "candidate")[(earlier if at_us < change_us else later)(user)]

    return arm_of


def _lived(
    shop: Shop, plan: Plan, digests: dict[str, str], arm_of: Callable[[int, str], str]
) -> tuple[list[Event], list[dict[str, object]], list[int]]:
    """Live through the visits in order; a visit is a view, a prediction, and perhaps a purchase later."""
    rng = np.random.default_rng(shop.seed)
    fold, vectorizer, states = Fold(plan), FeatureVectorizer(plan), InMemoryStates(plan)
    weights = {"baseline": BASELINE_WEIGHTS, "candidate": shop.candidate_weights}
    queue: list[tuple[int, int, str, object]] = []
    number = 0

    def later(at_us: int, kind: str, what: object) -> None:
        nonlocal number
        number += 1
        heapq.heappush(queue, (at_us, number, kind, what))

    for user in range(shop.users):
        for at in rng.uniform(0, DAYS * DAY_US, rng.poisson(shop.visits)):
            product = f"p{rng.integers(2)}-{user}"
            later(START_US + int(at), "visit", _Visit(START_US + int(at), f"u{user}", product))
    events: list[Event] = []
    arrivals: list[int] = []
    predictions: list[dict[str, object]] = []

    def happen(event: Event) -> None:
        delay = 600_000_000 if rng.random() < shop.late else int(rng.integers(1_000, 50_000))
        later(event.timestamp_us + delay, "arrival", event)

    while queue:
        now_us, _, kind, what = heapq.heappop(queue)
        if isinstance(what, Event):
            if kind == "arrival":
                events.append(what)
                arrivals.append(now_us)
                states.fold(fold, what)
            else:
                happen(what)
            continue
        assert isinstance(what, _Visit)
        arm = arm_of(now_us, what.user)
        inputs = vectorizer.vector(*states.of(what.user, what.product), now_us, None, "view")
        features: dict[str, float | None] = {
            name: None if np.isnan(value) else value
            for name, value in zip(vectorizer.names, inputs, strict=True)
        }
        if shop.corrupt is not None:
            shop.corrupt(len(predictions), features)
        predictions.append(_record(what, arm, digests[arm], features, weights[arm]))
        if shop.shadow:
            said = _record(what, "candidate", digests["candidate"], features, weights["candidate"])
            predictions.append(said | {"shadow": True})
        happen(Event(f"v{number}", what.user, what.product, "view", now_us + 2_000))
        bought = features["pair_purchases"] or 0.0
        chance = _sigmoid(BIAS + TRUE_WEIGHTS["pair_purchases"] * bought)
        if rng.random() < chance:
            at_us = now_us + int(rng.integers(HOUR_US, HORIZON_US))
            amount = float(rng.integers(5, 50))
            later(at_us, "purchase", Event(f"b{number}", what.user, what.product, "purchase", at_us, amount))
    return events, predictions, arrivals


def _record(
    visit: _Visit, arm: str, digest: str, features: dict[str, float | None], weights: dict[str, float]
) -> dict[str, object]:
    logit = BIAS + sum(weight * (features[name] or 0.0) for name, weight in weights.items())
    probability = _sigmoid(logit)
    return {
        "schema_version": 1, "answered_at": format_timestamp(visit.at_us + 3_000),
        "timestamp": format_timestamp(visit.at_us), "user_id": visit.user, "product_id": visit.product,
        "event_type": "view", "amount": None, "probability": probability, "prediction": probability >= 0.5,
        "threshold": 0.5, "model_version": digest, "arm": arm,
        "known": {"user": True, "product": True, "pair": True}, "features": features, "trace_id": None,
    }  # fmt: skip


def archive_predictions(
    store: OfflineStore, predictions: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]] = ()
) -> None:
    """Archive predictions, ``after`` those that are there."""
    rows = [(str(said["user_id"]), START_US // 1000, orjson.dumps(said)) for said in (*after, *predictions)]
    _archive(store, PREDICTIONS.name, rows, len(after))


def _archive(store: OfflineStore, topic: str, rows: list[tuple[str, int, bytes]], archived: int = 0) -> None:
    """Archive rows of user, milliseconds of arrival and value; the first ones are there already."""
    for partition in range(PARTITIONS):
        chosen = [at for at, row in enumerate(rows) if sum(row[0].encode()) % PARTITIONS == partition]
        records = [
            Record(partition, offset, rows[at][1], b"", rows[at][2])
            for offset, at in enumerate(chosen)
            if at >= archived
        ]
        put(store, records, topic=topic)


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.float32(logit))))
