"""Whatever is sent, the answer is one of the documented ones."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.collection import SOAK
from support.predictor import RunningPredictor, published, running_predictor
from support.served_bundles import bundle_files

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
ids = st.text(min_size=1, max_size=256) | trees
requests = st.fixed_dictionaries(
    {"user_id": ids, "product_id": ids},
    optional={
        "amount": st.floats(min_value=0) | trees,
        "event_type": st.sampled_from(["view", "purchase"]) | trees,
        "timestamp": st.datetimes().map(str) | st.just("2026-01-31T12:00:00Z") | trees,
    },
)
batches = st.fixed_dictionaries({"requests": st.lists(requests | trees, max_size=5) | trees})
bodies = st.binary(max_size=40) | (requests | batches | trees).map(lambda tree: json.dumps(tree).encode())


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPredictor]:
    store = tmp_path_factory.mktemp("models")
    published(store, bundle_files(weights={"request_amount": 0.1, "total_spend": 0.01}))
    with running_predictor(store) as running:
        yield running


@settings(
    max_examples=300 if SOAK else 80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(["/predict", "/predict/batch"]), body=bodies)
def test_any_body_is_answered_as_documented(predictor: RunningPredictor, path: str, body: bytes) -> None:
    response = predictor.client.post(path, content=body)
    assert response.status_code in {200, 400, 422}
    document = response.json()
    if response.status_code == 200:
        results = document["results"] if path.endswith("batch") else [document]
        for result in results:
            assert result.get("status") == 422 or 0 <= result["probability"] <= 1
    else:
        assert document["status"] == response.status_code
        assert document["detail"]


@settings(
    max_examples=100 if SOAK else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(query=st.text(alphabet="explain=al&%0é", max_size=14))
def test_any_query_is_answered_as_documented(predictor: RunningPredictor, query: str) -> None:
    response = predictor.client.post(f"/predict?{query}", json={"user_id": "u", "product_id": "p"})
    assert response.status_code in {200, 422}
