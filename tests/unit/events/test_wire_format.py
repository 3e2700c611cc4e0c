"""The event's JSON: what is read, what is refused and why, and what is written."""

import json
import time
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.events import (
    ArrivalWindow,
    EarlyEventError,
    Event,
    InvalidEventError,
    LateEventError,
    decode_event,
    encode_event,
    event_key,
    format_timestamp,
    parse_timestamp,
)

VALID = {
    "schema_version": 1,
    "event_id": "e1",
    "user_id": "u1",
    "product_id": "p1",
    "event_type": "purchase",
    "amount": 12.5,
    "timestamp": "2026-01-31T12:00:00.000001Z",
    "metadata": {"channel": "app"},
}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)


def payload(**changes: Any) -> bytes:
    return json.dumps({**VALID, **changes}).encode()


def test_golden_bytes() -> None:
    event = decode_event(payload(), {"channel"})
    assert event == Event("e1", "u1", "p1", "purchase", 1_769_860_800_000_001, 12.5, {"channel": "app"})
    assert encode_event(event) == (
        b'{"schema_version":1,"event_id":"e1","user_id":"u1","product_id":"p1","event_type":"purchase",'
        b'"amount":12.5,"timestamp":"2026-01-31T12:00:00.000001Z","metadata":{"channel":"app"}}'
    )


@pytest.mark.parametrize("text", ["2026-01-31T14:00:00.000001+02:00", "2026-01-31t12:00:00.000001z"])
def test_timestamps_are_turned_to_utc(text: str) -> None:
    event = decode_event(payload(timestamp=text))
    assert event.timestamp_us == 1_769_860_800_000_001


@pytest.mark.parametrize(
    ("kept", "metadata"),
    [(set(), {}), ({"email"}, {"email": "someone@example.com"}), ({"channel", "none"}, {"channel": "app"})],
)
def test_only_named_other_fields_are_kept(kept: set[str], metadata: dict[str, str]) -> None:
    assert decode_event(payload(email="someone@example.com"), kept).metadata == metadata


def test_event_that_grows_beyond_64_kib_when_written_is_refused() -> None:
    whole = payload(metadata={"many": []})
    assert decode_event(whole.replace(b"[]", b"[%s1]" % (b"1e15," * 3_000)), {"many"}).metadata
    with pytest.raises(InvalidEventError, match="when written"):
        decode_event(whole.replace(b"[]", b"[%s1]" % (b"1e15," * 12_000)), {"many"})


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": ""}, "event_id"),
        ({"user_id": 7}, "user_id"),
        ({"product_id": "p" * 257}, "product_id"),
        ({"user_id": "a\x00b"}, "user_id"),
        ({"event_type": "Purchase"}, "event_type"),
        ({"event_type": None}, "event_type"),
        ({"amount": -1}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "many"}, "amount"),
        ({"amount": "inf"}, "amount"),
        ({"amount": "1_000"}, "amount"),
        ({"amount": "\u0663"}, "amount"),
        ({"amount": 1e308}, "amount"),
        ({"amount": 1.001e12}, "amount"),
        ({"amount": 1.0, "event_type": "view"}, "amount"),
        ({"timestamp": "2026-01-31T12:00:00"}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "1989-12-31T23:59:59Z"}, "timestamp"),
        ({"timestamp": "2100-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": 1_769_860_800}, "timestamp"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"of": nested(300)}}, "metadata"),
        ({"event_id": nested(900)}, "event_id"),
        ({"schema_version": 2}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
    ],
)
def test_what_breaks_the_contract_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        decode_event(payload(**changes), {"of"})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: expected ")


def test_an_events_clock_is_compared_with_its_arrival_or_with_now_where_that_is_no_time() -> None:
    event = decode_event(payload())
    logged_ms = event.timestamp_us // 1000 - 299_000
    ArrivalWindow(300).check(event, logged_ms)
    with pytest.raises(
        EarlyEventError, match=r"timestamp: expected at most 298 s after its arrival at 2026-01"
    ):
        ArrivalWindow(298).check(event, logged_ms)
    # the writer's clock is wrong in both, or the record has no time
    early = replace(event, timestamp_us=(time.time_ns() + 10**15) // 1000)
    for future_ms in (early.timestamp_us // 1000, -1, None):
        ArrivalWindow(300).check(event, future_ms)
        with pytest.raises(EarlyEventError):
            ArrivalWindow(300).check(early, future_ms)


def test_an_events_age_at_its_arrival_has_a_maximum_unless_that_is_zero() -> None:
    event = decode_event(payload())
    logged_ms = event.timestamp_us // 1000 + 10 * 86_400_000
    ArrivalWindow(300, 10).check(event, logged_ms)
    with pytest.raises(
        LateEventError, match=r"timestamp: expected at most 10 days before its arrival at 2026-02"
    ):
        ArrivalWindow(300, 10).check(event, logged_ms + 1)
    oldest = decode_event(payload(timestamp="1990-01-01T00:00:00Z"))
    for arrived_ms in (logged_ms, time.time_ns(), -1, None):
        ArrivalWindow(300, 0).check(oldest, arrived_ms)
        with pytest.raises(LateEventError):
            ArrivalWindow(300, 3650).check(oldest, arrived_ms)


@pytest.mark.parametrize("broken", [b"", b"no json", b"[]", b'"text"', b"{", b"x" * 70_000])
def test_what_is_no_event_at_all_is_refused(broken: bytes) -> None:
    with pytest.raises(InvalidEventError):
        decode_event(broken)


@given(
    st.builds(
        Event,
        event_id=TEXT,
        user_id=TEXT,
        product_id=TEXT,
        event_type=st.sampled_from(["purchase", "cart"]),
        timestamp_us=st.integers(631_152_000_000_000, 4_102_444_799_999_999),
        amount=st.none() | st.floats(0, 1e12),
    )
)
def test_what_is_written_is_read_back(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


@given(st.integers(-60_000_000_000_000_000, 250_000_000_000_000_000))
def test_instants_survive_their_text(instant: int) -> None:
    assert parse_timestamp(format_timestamp(instant)) == instant


@pytest.mark.parametrize("event_id", ["a", "", "événement", "0" * 256])
def test_event_key_is_the_batch_sqls(event_id: str) -> None:
    [(key,)] = duckdb.execute("SELECT ('0x' || md5(?)[:15])::BIGINT", [event_id]).fetchall()
    assert event_key(event_id) == key
    assert 0 <= key < 2**60
