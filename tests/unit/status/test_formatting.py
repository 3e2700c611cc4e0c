from datetime import UTC, datetime, timedelta

import pytest

from reprise.status.formatting import age, count, digest, duration, parts, percent, plain
from reprise.status.report import Figure

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.00084, "0.84 ms"),
        (0.0123, "12 ms"),
        (1.25, "1.2 s"),
        (95, "95 s"),
        (600, "10 min"),
        (7200, "2 h"),
        (3 * 86_400, "3 days"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_ages() -> None:
    assert age(NOW - timedelta(hours=5), NOW) == "5 h ago"
    assert age(NOW, NOW) == "just now"
    assert age(NOW + timedelta(seconds=3), NOW) == "just now"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.034, "0.034"), (3.14159, "3.1"), (45.67, "45.7"), (1234.5, "1,234"), (98_765.4, "98,765")],
)
def test_numbers(value: float, shown: str) -> None:
    assert plain(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0%"), (0.00123, "0.12%"), (0.2, "20%"), (0.333, "33.3%"), (1, "100%")]
)
def test_shares(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_counts_digests_and_units() -> None:
    assert (count(1, "event"), count(2500, "event")) == ("1 event", "2,500 events")
    assert digest("sha256:" + "ab" * 32) == "abababababab"
    assert parts(Figure(value=0.012, unit="s")) == ("12", "ms")
    assert parts(Figure(value=12.34, unit="1/s")) == ("12.3", "/s")
    assert parts(Figure(value=0.015, unit="share")) == ("1.5", "%")
    assert parts(Figure(value=1500, unit="events")) == ("1,500", "")
