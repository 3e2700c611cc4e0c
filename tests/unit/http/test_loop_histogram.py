import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from reprise.http.histogram import LoopHistogram

BOUNDS = (0.001, 0.25, 1.0, 5.0)
disable_created_metrics()  # type: ignore[no-untyped-call]


@given(st.lists(st.floats(0, 10) | st.sampled_from(BOUNDS), max_size=30))
def test_it_exposes_what_the_clients_own_would(amounts: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    observe = LoopHistogram("took", "Time.", ("stage",), BOUNDS, ours).of("read")
    histogram = Histogram("took", "Time.", ("stage",), buckets=BOUNDS, registry=theirs).labels("read")
    for amount in amounts:
        observe(amount)
        histogram.observe(amount)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.lists(st.floats(0, 10) | st.sampled_from(BOUNDS), max_size=9), max_size=3))
def test_many_at_once_count_as_one_by_one(blocks: list[list[float]]) -> None:
    at_once, one_by_one = CollectorRegistry(), CollectorRegistry()
    many = LoopHistogram("took", "Time.", ("stage",), BOUNDS, at_once).many_of("read")
    one = LoopHistogram("took", "Time.", ("stage",), BOUNDS, one_by_one).of("read")
    for block in blocks:
        many(block)
        for amount in block:
            one(amount)
    for bound in (*map(str, BOUNDS), "+Inf"):
        label = {"stage": "read", "le": bound}
        assert at_once.get_sample_value("took_bucket", label) == one_by_one.get_sample_value(
            "took_bucket", label
        )
    totals = [registry.get_sample_value("took_sum", {"stage": "read"}) for registry in (at_once, one_by_one)]
    assert totals[0] == pytest.approx(totals[1])


def test_same_label_is_counted_together() -> None:
    registry = CollectorRegistry()
    histogram = LoopHistogram("took", "Time.", ("stage",), BOUNDS, registry)
    histogram.of("read")(0.5)
    histogram.of("read")(0.5)
    assert registry.get_sample_value("took_count", {"stage": "read"}) == 2


def test_bounds_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="took: the bounds must rise"):
        LoopHistogram("took", "Time.", ("stage",), (1.0, 0.5), CollectorRegistry())


def test_labels_are_told_apart_and_can_be_removed() -> None:
    registry = CollectorRegistry()
    histogram = LoopHistogram("took", "Time.", ("arm", "digest"), BOUNDS, registry)
    histogram.of("a", "1")(0.5)
    histogram.of("a", "2")(0.5)
    histogram.remove("a", "1")
    assert registry.get_sample_value("took_count", {"arm": "a", "digest": "1"}) is None
    assert registry.get_sample_value("took_count", {"arm": "a", "digest": "2"}) == 1


def test_missing_label_is_refused() -> None:
    with pytest.raises(ValueError, match="took has the labels arm, digest"):
        LoopHistogram("took", "Time.", ("arm", "digest"), BOUNDS, CollectorRegistry()).of("a")
