import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from reprise.status.scrape.exposition import UnreadableError, parse


def test_page_of_the_client_library_is_read_with_labels_and_escapes() -> None:
    registry = CollectorRegistry()
    Counter("reprise_things", "Things.", ("kind",), registry=registry).labels('a "b"\\\n').inc(3)
    Histogram("reprise_seconds", "Time.", buckets=(0.1, 1), registry=registry).observe(0.5)
    samples = parse(generate_latest(registry).decode())
    assert samples.one("reprise_things_total", kind='a "b"\\\n') == 3
    assert {labels["le"]: value for labels, value in samples.all("reprise_seconds_bucket")} == {
        "0.1": 0,
        "1.0": 1,
        "+Inf": 1,
    }


def test_metrics_of_others_are_left_out_and_what_is_not_there_is_none() -> None:
    samples = parse('go_goroutines 7\nreprise_ready 1\npython_info{version="3"} 1\n')
    assert list(samples.series) == ["reprise_ready"]
    assert samples.one("reprise_predictor_store_up") is None


@pytest.mark.parametrize("text", ["", "<html>", "reprise_ready one\n", 'reprise_ready{a="b 1\n', "up 1\n"])
def test_what_is_no_page_of_our_metrics_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError, match=r"its (answer|metrics)"):
        parse(text)
