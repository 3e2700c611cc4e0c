"""A small A/B test of two models on the running platform, with users who buy as the better one says.

What is to be found is known: each purchase is drawn with the probability that the candidate gives, so the candidate
is the better model. Everything else is the platform's own: the predictor assigns users to arms by the routing document
and logs every answer, the purchases go through the log, the archiver keeps both, and ``reprise outcomes`` judges.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import onnxruntime
import orjson
from redis import Redis

from reprise.bundle import Bundle, BundleStore
from reprise.cli.demo import commands
from reprise.cli.demo.exceptions import NotReadyError
from reprise.cli.demo.processes import ProcessTree
from reprise.routing import RoutingDocument, Share, allocate, assign, document_key

CANDIDATE = "full"
HORIZON_SECONDS = 6
_PROJECT = "reprise"
_PAIRS_A_USER = 12
_BATCH = 500
_APPLIED_SECONDS = 30.0


@dataclass(frozen=True)
class AbTest:
    """What the test came to.

    Attributes:
        report: ``report.json`` of the outcomes job.
    """

    report: Mapping[str, Any]

    def lines(self) -> list[str]:
        """Return what to show of it."""
        users = ", ".join(f"{name} {count:,}" for name, count in self.report["users"].items())
        [candidate] = self.report["candidates"]
        brier = candidate["results"][0]
        newest = brier["looks"][-1]
        interval = (
            "too few users yet"
            if newest["lower"] is None
            else f"{newest['difference']:+.4f} ({newest['lower']:+.4f} to {newest['upper']:+.4f} at all times)"
        )
        checked = self.report["consistency"]
        return [
            f"users {users}: split as the shares say, p = {self.report['ratio']['anytime_p_value']:.2g}",
            f"Brier score on the same predictions: candidate {brier['verdict'].replace('_', ' ')}, {interval}",
            f"{checked['predictions']:,} logged predictions recomputed offline: {checked['mismatched']:,} mismatches",
        ]


def ask_and_buy(
    client: httpx.Client,
    addresses: Mapping[str, str],
    models: BundleStore,
    digests: tuple[str, str],
    redis_port: int,
    pairs: Sequence[tuple[str, str]],
) -> None:
    """Send users to the arms of two models, ask for predictions, and buy as the second of them says.

    Args:
        client: What asks.
        addresses: Of the services.
        models: The model store.
        digests: The baseline's model and the candidate's.
        redis_port: Of the Redis that the predictor follows.
        pairs: Users and products.

    Raises:
        NotReadyError: The predictor does not apply the routing document.
        httpx.HTTPStatusError: A service refused.
    """
    shares = [Share(CANDIDATE, digests[1], 5_000)]
    document = RoutingDocument(
        generation=1, rollout="demo/models", salt="demo", arms=allocate(digests[0], shares, {})
    )
    with Redis(port=redis_port) as redis:
        redis.set(document_key(_PROJECT), document.to_bytes())
    arm_of = assign(document)
    user = next(user for user, _ in pairs if arm_of(user) == 1)
    _await_arm(client, addresses["predictor"], user, pairs[0][1])
    truth = _Truth(models.fetch(digests[1]))
    rng = np.random.default_rng(0)
    for start in range(0, len(pairs), _BATCH):
        asked = [
            {"user_id": user, "product_id": product, "event_type": "view"}
            for user, product in pairs[start : start + _BATCH]
        ]
        answer = client.post(
            f"{addresses['predictor']}/predict/batch", params={"explain": "all"}, json={"requests": asked}
        )
        results = answer.raise_for_status().json()["results"]
        bought = rng.random(len(results)) < truth.probabilities(results)
        _buy(
            client, addresses["producer"], [said for said, buys in zip(results, bought, strict=True) if buys]
        )


def judge(tree: ProcessTree, paths: commands.DemoPaths, redis_port: int) -> AbTest:
    """Archive what was logged and judge it; send everybody back to the configured model."""
    commands.archive(tree, paths)
    commands.outcomes(tree, paths, redis_port, HORIZON_SECONDS)
    with Redis(port=redis_port) as redis:
        released = RoutingDocument(generation=2, rollout="demo/models", salt="demo", arms=())
        redis.set(document_key(_PROJECT), released.to_bytes())
    return AbTest(orjson.loads((paths.outcomes / "report.json").read_bytes()))


def some_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return a few pairs of each user."""
    by_user: dict[str, list[tuple[str, str]]] = {}
    for pair in dict.fromkeys(pairs):
        by_user.setdefault(pair[0], []).append(pair)
    return [pair for found in by_user.values() for pair in found[:_PAIRS_A_USER]]


class _Truth:
    """A model from its bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])

    def probabilities(self, results: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return what it says of answered requests."""
        names, model = self._manifest.input_names, self._manifest.model
        rows = np.array([[said["features_used"][name] for name in names] for said in results], np.float32)
        return np.asarray(self._session.run([model.output], {model.input: rows})[0], np.float64)


def _await_arm(client: httpx.Client, predictor: str, user: str, product: str) -> None:
    give_up = time.monotonic() + _APPLIED_SECONDS
    request = {"user_id": user, "product_id": product}
    while client.post(f"{predictor}/predict", json=request).raise_for_status().json()["arm"] != CANDIDATE:
        if time.monotonic() > give_up:
            raise NotReadyError(
                f"the predictor does not follow the routing document within {_APPLIED_SECONDS:g} s"
            )
        time.sleep(0.2)


def _buy(client: httpx.Client, producer: str, answers: Sequence[Mapping[str, Any]]) -> None:
    now = datetime.now(UTC).isoformat()
    events = [
        {
            "event_id": f"ab-{said['user_id']}-{said['product_id']}",
            "user_id": said["user_id"],
            "product_id": said["product_id"],
            "event_type": "purchase",
            "amount": 10.0,
            "timestamp": now,
        }
        for said in answers
    ]
    if events:
        client.post(f"{producer}/events", json=events).raise_for_status()
