"""Inputs are counted in the bins of training, and compared once there are enough of them."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.bundle import Histogram, Manifest
from reprise.outcomes.features.feature_drift import DRIFT_THRESHOLD, ModelDrift, bin_counts, measure_drift
from reprise.outcomes.settings import OutcomesSettings
from reprise.trainer.evaluation.histograms import feature_histogram
from support.served_bundles import bundle_files

DIGEST = "sha256:ab"
DAY_US = 86_400_000_000
NOW_US = 100 * DAY_US

FLOATS = st.lists(st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=200)


def manifest(**inputs: Sequence[float]) -> Manifest:
    histograms = {name: feature_histogram(np.array(values, np.float32)) for name, values in inputs.items()}
    return Manifest.from_bytes(bundle_files(feature_histograms=histograms).manifest)


def drift(rows: list[dict[str, Any]], of: Manifest, **others: Any) -> ModelDrift:
    """The drift over predictions, each with what is special about it."""
    usual = {"answered_us": NOW_US, "digest": DIGEST, "shadow": False}
    said = [
        usual
        | {"row_id": at, "user_id": f"u{at}"}
        | row
        | {"features": orjson.dumps(row["features"]).decode()}
        for at, row in enumerate(rows)
    ]
    given = {"publish": False, "drift_min_predictions": 100, "drift_min_users": 50}
    with duckdb.connect() as connection:
        connection.register("predictions", pa.Table.from_pylist(said))
        return measure_drift(connection, DIGEST, of, OutcomesSettings.load(**given | others))


def spends(values: Sequence[float | None], **others: Any) -> list[dict[str, Any]]:
    return [{"features": {"total_spend": value}, **others} for value in values]


@given(FLOATS, FLOATS)
def test_every_value_is_in_exactly_one_bin(training: list[float], now: list[float]) -> None:
    histogram = feature_histogram(np.array(training, np.float32))
    found = bin_counts(np.array(now, np.float64), histogram)
    assert found.sum() == len(now)
    assert found[-1] == np.isnan(now).sum()
    assert len(found) == max(1, len(histogram.counts)) + 1


@given(FLOATS)
def test_values_of_training_are_counted_as_training_counted_them(values: list[float]) -> None:
    histogram = feature_histogram(np.array(values, np.float32))
    found = bin_counts(np.array(values, np.float32).astype(np.float64), histogram)
    assert tuple(found.tolist()) == (*(histogram.counts or (0,)), histogram.missing)


def test_what_lies_beyond_the_outer_edges_is_in_the_outer_bins() -> None:
    histogram = Histogram(edges=(0.0, 1.0, 2.0), counts=(5, 5))
    assert bin_counts(np.array([-9.0, 0.0, 1.0, 2.0, 9.0]), histogram).tolist() == [2, 3, 0]


def test_inputs_as_in_training_do_not_drift() -> None:
    rng = np.random.default_rng(0)
    known = manifest(total_spend=rng.normal(size=5_000))
    found = drift(spends(rng.normal(size=2_000).tolist()), known)
    [spend] = found.features
    assert spend.index < spend.by_chance < DRIFT_THRESHOLD
    assert (found.predictions, found.users, found.drifted) == (2_000, 2_000, 0)
    assert sum(spend.found) == 2_000


def test_value_that_logs_keep_exactly_falls_where_the_model_saw_it() -> None:
    # 0.1 as float32 is above 0.1, so an edge there would have 0.1 itself in the bin below
    known = manifest(total_spend=[0.1] * 500 + [0.2] * 500)
    [spend] = drift(spends([0.1] * 500 + [0.2] * 500), known).features
    assert spend.index == pytest.approx(0.0, abs=1e-12)


def test_missing_values_drift_like_any_others() -> None:
    rng = np.random.default_rng(0)
    known = manifest(total_spend=rng.normal(size=5_000))
    [spend] = drift(spends([*rng.normal(size=500).tolist(), *[None] * 500]), known).features
    assert spend.index > DRIFT_THRESHOLD
    assert spend.missing == (0.0, 0.5)


def test_the_furthest_moved_input_comes_first() -> None:
    rng = np.random.default_rng(0)
    known = manifest(total_spend=rng.normal(size=5_000), product_views=rng.normal(size=5_000))
    rows = [
        {"features": {"total_spend": float(a), "product_views": float(b) + 1.0}}
        for a, b in rng.normal(size=(1_000, 2))
    ]
    found = drift(rows, known)
    assert [each.feature for each in found.features] == ["product_views", "total_spend"]
    assert found.drifted == 1


def test_only_recent_answers_of_the_model_itself_count() -> None:
    known = manifest(total_spend=[1.0, 2.0] * 100)
    rows = [
        *spends([1.0, 2.0] * 100),
        *spends([2.0] * 50, digest="sha256:cd"),
        *spends([2.0] * 50, shadow=True),
        *spends([2.0] * 50, answered_us=NOW_US - 8 * DAY_US),
    ]
    found = drift(rows, known)
    assert found.predictions == 200
    assert found.since_us == NOW_US - 7 * DAY_US
    assert found.features[0].index == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "limits", [{"drift_min_predictions": 201}, {"drift_min_users": 201}, {"drift_window": "1d"}]
)
def test_too_few_say_nothing(limits: dict[str, Any]) -> None:
    old = spends([2.0] * 200, answered_us=NOW_US - 2 * DAY_US)
    found = drift([*old, *spends([1.0], digest="sha256:cd")], manifest(total_spend=[1.0] * 200), **limits)
    assert found.features == ()
    assert found.predictions in {0, 200}


def test_of_too_many_some_are_drawn() -> None:
    found = drift(spends([1.0] * 4_000), manifest(total_spend=[1.0] * 200), drift_rows=1_000)
    assert found.sampled == 0.25
    assert 800 < sum(found.features[0].found) < 1_200
    assert found.predictions == 4_000


def test_input_that_training_has_no_histogram_of_is_left_out() -> None:
    assert drift(spends([1.0] * 200), manifest()).features == ()


def test_input_that_training_never_had_is_another_population_once_it_is_there() -> None:
    known = manifest(total_spend=[float("nan")] * 500)
    [spend] = drift(spends([3.0] * 200), known).features
    assert spend.found == (200, 0)
    assert spend.index > DRIFT_THRESHOLD
