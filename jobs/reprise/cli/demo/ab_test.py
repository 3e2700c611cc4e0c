"""A small A/B test of two models on the running platform, with users who buy as the better one predicts.

The result is known: each purchase is drawn with the probability of the candidate, so the candidate is the better
model. Everything else is the platform's own: the predictor assigns users to arms by the routing document and logs
every prediction, the purchases go through the log, the archiver stores both, and ``reprise outcomes`` compares.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from reprise.bundle import BundleStore
from reprise.bundle.scorer import Scorer
from reprise.cli.demo.latency import purchase
from reprise.cli.demo.parity import predict
from reprise.cli.demo.waiting import wait_until
from reprise.routing import Arm, RoutingDocument, Share, allocate, assign
from reprise.routing.store import RoutingStore
from reprise.store.settings import OnlineStoreSettings

CANDIDATE = "full"
_PAIRS_PER_USER = 12
_BATCH = 500
_APPLY_SECONDS = 30.0


def result_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the result, which is ``report.json`` of the outcomes job, as lines for people."""
    users = ", ".join(f"{name} {count:,}" for name, count in report["users"].items())
    [candidate] = report["candidates"]
    brier = candidate["results"][0]
    latest = brier["looks"][-1]
    interval = (
        "too few users or conversions yet"
        if latest["lower"] is None
        else f"{latest['difference']:+.4f} ({latest['lower']:+.4f} to {latest['upper']:+.4f} at all times)"
    )
    consistency = report["consistency"]
    return [
        f"users {users}: split as the shares say, p = {report['ratio']['anytime_p_value']:.2g}",
        f"Brier score on the same predictions: candidate {brier['verdict'].replace('_', ' ')}, {interval}",
        f"{consistency['predictions']:,} logged predictions recomputed offline:"
        f" {consistency['mismatched']:,} mismatches",
    ]


def simulate_users(
    client: httpx.Client,
    addresses: Mapping[str, str],
    models: BundleStore,
    digests: tuple[str, str],
    redis_port: int,
    pairs: Sequence[tuple[str, str]],
) -> None:
    """Route users to the models of two digests, request predictions, and send purchases as the second predicts."""
    arms = allocate(digests[0], [Share(CANDIDATE, digests[1], 5_000)], {})
    arm_of = assign(publish(1, arms, redis_port))
    probe = {"user_id": next(user for user, _ in pairs if arm_of(user) == 1), "product_id": pairs[0][1]}

    def applied() -> bool:
        answer = client.post(f"{addresses['predictor']}/predict", json=probe).raise_for_status().json()
        return bool(answer["arm"] == CANDIDATE)

    wait_until(applied, _APPLY_SECONDS, "the predictor has not applied the routing document", every=0.2)
    scorer = Scorer.of(models.fetch(digests[1]))
    rng = np.random.default_rng(0)
    # In batches, because a purchase counts within the horizon of its prediction.
    for start in range(0, len(pairs), _BATCH):
        requests = [
            {"user_id": user, "product_id": product, "event_type": "view"}
            for user, product in pairs[start : start + _BATCH]
        ]
        results = list(predict(client, addresses["predictor"], requests))
        probabilities = scorer.score_features([result["features_used"] for result in results])
        purchases = [
            purchase(
                f"ab-{asked['user_id']}-{asked['product_id']}", asked["user_id"], asked["product_id"], 10.0
            )
            for asked, buys in zip(requests, rng.random(len(results)) < probabilities, strict=True)
            if buys
        ]
        if purchases:
            client.post(f"{addresses['producer']}/events", json=purchases).raise_for_status()


def some_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return a few pairs of each user."""
    by_user: dict[str, list[tuple[str, str]]] = {}
    for pair in dict.fromkeys(pairs):
        by_user.setdefault(pair[0], []).append(pair)
    return [pair for found in by_user.values() for pair in found[:_PAIRS_PER_USER]]


def publish(generation: int, arms: tuple[Arm, ...], redis_port: int) -> RoutingDocument:
    """Route users to these arms, or to the configured model if there are none; return the document."""
    document = RoutingDocument(generation=generation, rollout="demo/models", salt="demo", arms=arms)
    with RoutingStore(OnlineStoreSettings.load(redis_host="127.0.0.1", redis_port=redis_port)) as store:
        store.publish_document(document)
    return document
