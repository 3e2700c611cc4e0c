"""Random records of the events topic, each made again by its seed."""

import random
import time
from typing import Any

import orjson

from reprise.events import ArrivalWindow, Event, InvalidEventError, decode_event, encode_event
from reprise.log import Record
from support.collection import SOAK

RECORDS = 10_000 if SOAK else 500
BATCH = 500
SKEW = 300.0
WINDOW = ArrivalWindow(SKEW)
ERA_US = (631_152_000_000_000, 4_102_444_800_000_000)
NAMES = (
    "event_id", "user_id", "product_id", "event_type", "amount", "timestamp", "metadata", "schema_version",
)  # fmt: skip
TIMESTAMPS = (
    "2026-01-31T12:00:00", "2026-01-31", "2026-01-31 12:00:00.123456789Z", "20260131T120000,5Z",
    "2026-W05-6T12:00:00+05:30", "2026-01-31T24:00:00Z", "2026-01-31T23:59:60Z", "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "1990-01-01T00:00:00+00:00:01",
    "1989-12-31T23:59:59.999999Z", "2099-12-31T23:59:59.999999Z", "2026-01-31T12:00:00+24:00",
    "２０２６-01-31T12:00:00Z", "soon", "", 1_769_860_800,
)  # fmt: skip
NUMBERS = ("1e12", "1.0000000001e12", "1e308", "-0.0", "5e-324", "1" + "0" * 300, "18446744073709551616", "-1",
           '"12.5"', '" 7 "', '"1_0"', '"nan"', '"1e400"', '"\u0663"')  # fmt: skip
ODD = ("null", "true", "[]", "{}", '""', '"\\u0000"', '"\\ud83d\\ude00"', f'"{"x" * 257}"', "7", '"VIEW"', '"a b"',
       "[[1]]", '{"": {"a": [1e5, null]}}', '"\u2028\u0085"', "2")  # fmt: skip
NO_JSON = ("1e400", "NaN", "-Infinity", "1_000", "0x10", "01", "1.", '"\\ud800"', "'a'", "")


def random_fields(rng: random.Random) -> dict[str, str]:
    """Return the JSON of an event's fields by name."""
    at = rng.randrange(*ERA_US) if rng.random() < 0.5 else time.time_ns() // 1000 - rng.randrange(10**9)
    kind = rng.choice(("view", "purchase", "purchase", "add_to_cart", "a.b-c"))
    event = Event(f"e{rng.random()}", rng.choice(("u1", "é😀", "u" * 256)), "p1", kind, at)
    fields: dict[str, Any] = orjson.loads(encode_event(event))
    if kind != "view" and rng.random() < 0.8:
        fields["amount"] = round(10 ** rng.uniform(-3, 12), rng.randrange(4))
    if rng.random() < 0.3:
        fields["metadata"] = {"channel": "app", "": [1, {"deep": None}]}
    return {name: orjson.dumps(value).decode() for name, value in fields.items()}


def random_json(rng: random.Random) -> str:
    """Return an event's JSON with some odd, deep, repeated, missing or unknown fields."""
    fields = random_fields(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        name = rng.choice((*NAMES, "campaign", "Metadata", "\\u0000"))
        depth = rng.choice((1, 100, 253, 254, 255, 256, 1000, 1022, 1024, 5000))
        deep = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
        stamp = orjson.dumps(rng.choice(TIMESTAMPS)).decode()
        fields[name] = rng.choice((rng.choice(ODD), rng.choice(NUMBERS), stamp, deep))
    if rng.random() < 0.05:
        fields[rng.choice(NAMES)] = rng.choice(NO_JSON)
    if rng.random() < 0.1:
        del fields[rng.choice(NAMES[:6])]
    if rng.random() < 0.1:
        number = rng.choice(("1e15", "1", "1e-7", '"\\u0001"', '"\u00e9"'))
        fields["metadata"] = '{"many":[' + ",".join([number] * rng.randrange(10_000, 25_000)) + "]}"
    pairs = [f'"{name}":{value}' for name, value in fields.items()]
    if rng.random() < 0.1:
        pairs.append(rng.choice(pairs))
    return "{" + rng.choice((",", ", ", ",\n")).join(pairs) + "}"


def random_payload(rng: random.Random) -> bytes:
    """Return JSON, JSON in another encoding, JSON with changed bytes, or other bytes."""
    text = random_json(rng)
    payload = text.encode()
    kind = rng.random()
    if kind < 0.1:
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "cp1252")), "replace")
    if kind < 0.3:
        changed = bytearray(payload)
        for _ in range(rng.choice((1, 1, 2, 10))):
            at = rng.randrange(len(changed))
            pieces = (b"", rng.randbytes(1), b'"', b"}", b"\x00", b"\xff\xfe")
            changed[at : at + rng.randrange(3)] = rng.choice(pieces)
        return bytes(changed)
    if kind < 0.35:
        return payload[: rng.randrange(len(payload))]
    if kind < 0.4:
        other = rng.randbytes(rng.randrange(300))
        return rng.choice((other, b"[" + payload + b"]", b'"x"', b"null", b"\xff" * 300_000))
    return payload


def random_record(seed: int) -> Record:
    rng = random.Random(seed)
    payload = random_payload(rng)
    now_ms = time.time_ns() // 1_000_000
    logged_ms = rng.choice((now_ms, now_ms, now_ms, 0, -1, now_ms + 10**10, 2**62))
    key = rng.choice((b"u1", b"", rng.randbytes(20), b"k" * 5000))
    return Record(seed % 6, seed, logged_ms, key, payload)


def problem_of(record: Record) -> InvalidEventError | None:
    """Return why a record is no event."""
    try:
        WINDOW.check(decode_event(record.value), record.timestamp_ms)
    except InvalidEventError as error:
        return error
    return None
