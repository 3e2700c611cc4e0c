"""A small A/B test of two models on the running platform, with users who buy as the better one predicts.

The result is known: each purchase is drawn with the probability of the candidate, so the candidate is the better
model. Everything else is the platform's own: the predictor assigns users to arms by the routing document and logs
every prediction, the purchases go through the log, the archiver stores both, and ``reprise outcomes`` compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson

from reprise.bundle import BundleStore
from reprise.bundle.scorer import Scorer
from reprise.cli.demo import commands
from reprise.cli.demo.latency import purchase
from reprise.cli.demo.parity import predict
from reprise.cli.demo.processes import ProcessTree
from reprise.cli.demo.waiting import wait_until
from reprise.routing import RoutingDocument, Share, allocate, assign
from reprise.routing.store import RoutingStore
from reprise.store.settings import OnlineStoreSettings

CANDIDATE = "full"
HORIZON_SECONDS = 6
_PAIRS_PER_USER = 12
_BATCH = 500
_APPLY_SECONDS = 30.0


@dataclass(frozen=True)
class AbTest:
    """The result of the test.

    Attributes:
        report: ``report.json`` of the outcomes job.
    """

    report: Mapping[str, Any]

    def lines(self) -> list[str]:
        """Return the result as lines for people."""
        users = ", ".join(f"{name} {count:,}" for name, count in self.report["users"].items())
        [candidate] = self.report["candidates"]
        brier = candidate["results"][0]
        latest = brier["looks"][-1]
        interval = (
            "too few users yet"
            if latest["lower"] is None
            else f"{latest['difference']:+.4f} ({latest['lower']:+.4f} to {latest['upper']:+.4f} at all times)"
        )
        consistency = self.report["consistency"]
        return [
            f"users {users}: split as the shares say, p = {self.report['ratio']['anytime_p_value']:.2g}",
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
    """Route users to two models, request predictions, and send purchases as the second model predicts.

    Args:
        client: HTTP client.
        addresses: Base address of each service.
        models: The model store.
        digests: Digests of baseline and candidate.
        redis_port: Redis port of the predictor.
        pairs: Users and products.

    Raises:
        NotReadyError: The predictor does not apply the routing document.
        httpx.HTTPStatusError: A service refused.
    """
    arms = allocate(digests[0], [Share(CANDIDATE, digests[1], 5_000)], {})
    document = RoutingDocument(generation=1, rollout="demo/models", salt="demo", arms=arms)
    _publish(document, redis_port)
    arm_of = assign(document)
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


def compare_arms(tree: ProcessTree, paths: commands.DemoPaths, redis_port: int) -> AbTest:
    """Archive the log, compare the arms, and end the routing."""
    commands.archive(tree, paths)
    commands.outcomes(tree, paths, redis_port, HORIZON_SECONDS)
    _publish(RoutingDocument(generation=2, rollout="demo/models", salt="demo", arms=()), redis_port)
    return AbTest(orjson.loads((paths.outcomes / "report.json").read_bytes()))


def some_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return a few pairs of each user."""
    by_user: dict[str, list[tuple[str, str]]] = {}
    for pair in dict.fromkeys(pairs):
        by_user.setdefault(pair[0], []).append(pair)
    return [pair for found in by_user.values() for pair in found[:_PAIRS_PER_USER]]


def _publish(document: RoutingDocument, redis_port: int) -> None:
    with RoutingStore(OnlineStoreSettings.load(redis_host="127.0.0.1", redis_port=redis_port)) as store:
        store.publish_document(document)
