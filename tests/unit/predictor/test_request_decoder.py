import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.events import InvalidEventError, parse_timestamp
from reprise.http.problems import ProblemError
from reprise.predictor.handlers.request_decoder import RequestDecoder
from support.collection import SOAK

FIELDS = ("user_id", "product_id", "event_type", "amount", "event_id", "timestamp")
DECODER = RequestDecoder(("view", "purchase"), 5)
INSTANTS = st.sampled_from(
    ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456+02:00", "2026-01-31", "now", ""]
)

ids = st.text(max_size=4) | st.sampled_from(["u" * 256, "u" * 257, "\U0001f600" * 256, "\0", "a\0", " "])
amounts = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-5, 2**70)
    | st.sampled_from([0, -0.0, 1e308])
)
anything = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=1)
)
requests = st.fixed_dictionaries(
    {"user_id": ids, "product_id": ids},
    optional={
        "event_type": st.sampled_from(["view", "purchase", "cart", None]) | anything,
        "amount": amounts | anything,
        "event_id": ids | anything,
        "timestamp": INSTANTS | anything,
    },
) | st.dictionaries(st.sampled_from([*FIELDS, "extra"]), anything | ids | amounts)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
bodies = st.binary(max_size=40) | (
    requests | trees | st.fixed_dictionaries({"requests": trees | st.lists(requests | trees, max_size=5)})
).map(lambda tree: json.dumps(tree).encode())


def fields(request: Any) -> list[Any]:
    return [getattr(request, name) for name in FIELDS]


def faults(request: dict[str, Any]) -> set[str]:
    """Return the fields at fault, as the API's documentation states the contract."""

    def is_id(value: Any) -> bool:
        return isinstance(value, str) and 1 <= len(value) <= 256 and "\0" not in value

    def is_instant(value: Any) -> bool:
        try:
            parse_timestamp(value)
        except InvalidEventError:
            return False
        return True

    event_type, amount, event_id, timestamp = map(request.get, FIELDS[2:])
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    known_type = event_type if event_type in ("view", "purchase") else None
    keeps = {
        "user_id": is_id(request.get("user_id")),
        "product_id": is_id(request.get("product_id")),
        "event_type": event_type is None or known_type is not None,
        "amount": amount is None
        or (is_number and 0 <= amount <= 1e12 and event_type is not None and known_type != "view"),
        "event_id": event_id is None or (is_id(event_id) and event_type is not None),
        "timestamp": timestamp is None or is_instant(timestamp),
    }
    return {name for name, kept in keeps.items() if not kept} | (request.keys() - set(FIELDS))


def expected(request: dict[str, Any]) -> list[Any]:
    values = {**dict.fromkeys(FIELDS), **request}
    if values["timestamp"] is not None:
        values["timestamp"] = parse_timestamp(values["timestamp"])
    return [values[name] for name in FIELDS]


@given(requests, st.booleans())
def test_request_decodes_if_it_keeps_the_contract_and_its_faults_are_named_otherwise(
    request: dict[str, Any], ascii_only: bool
) -> None:
    body = json.dumps(request, ensure_ascii=ascii_only).encode()
    if not (wrong := faults(request)):
        assert fields(DECODER.decode(body)) == expected(request)
    else:
        with pytest.raises(ProblemError) as caught:
            DECODER.decode(body)
        assert {error.field for error in caught.value.errors} == wrong
        assert caught.value.kind.status == 422


@given(st.lists(requests, max_size=6))
def test_batch_decodes_as_each_of_its_requests(batch: list[dict[str, Any]]) -> None:
    body = json.dumps({"requests": batch}).encode()
    if not 1 <= len(batch) <= 5:
        with pytest.raises(ProblemError, match="requests"):
            DECODER.decode_batch(body)
        return
    decoded = DECODER.decode_batch(body)
    valid = {at: request for at, request in enumerate(batch) if not faults(request)}
    assert list(decoded.positions) == list(valid)
    assert sorted(decoded.problems) == [at for at in range(len(batch)) if at not in valid]
    assert len(decoded) == len(batch)
    assert list(map(fields, decoded.requests)) == list(map(expected, valid.values()))


@settings(max_examples=1000 if SOAK else 100)
@given(bodies)
def test_any_body_is_decoded_or_refused_with_a_problem_that_can_be_encoded(body: bytes) -> None:
    refusals: list[ProblemError] = []
    for decode in (DECODER.decode, DECODER.decode_batch):
        try:
            decode(body)
        except ProblemError as problem:
            refusals.append(problem)
    assert {problem.kind.status for problem in refusals} <= {400, 422}
    assert all(problem.encode() for problem in refusals)


def test_every_field_at_fault_is_named_with_what_was_expected() -> None:
    body = b'{"user_id": "", "event_type": "cart", "amount": -1, "timestamp": 5, "more": [1]}'
    with pytest.raises(ProblemError) as caught:
        DECODER.decode(body)
    found = {error.field: (error.message, error.value) for error in caught.value.errors}
    assert found == {
        "user_id": ("Expected `str` of length >= 1", ""),
        "product_id": ("Field required", None),
        "event_type": ("Expected purchase or view", "cart"),
        "amount": ("Expected `float` >= 0.0", -1),
        "timestamp": ("Expected an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z", 5),
        "more": ("Unknown field", "[1]"),
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((body, 400) for body in (b"", b"\xef\xbb\xbf{}", b'{"user_id": "u"')),
        *((body, 422) for body in (b"null", b"[]")),
        (b'{"user_id": "\xff", "product_id": "p"}', 400),
        (b'{"user_id": "\\ud800", "product_id": "p"}', 400),
        (b'{"user_id": "u", "product_id": "p", "amount": 1} {}', 400),
        (b'{"user_id": "u", "product_id": "p", "amount": 1e999}', 422),
        (b'{"user_id": "u", "product_id": "p", "amount": NaN}', 422),
    ],
)
def test_what_breaks_the_contract_is_refused_with_a_problem(body: bytes, status: int) -> None:
    with pytest.raises(ProblemError) as caught:
        DECODER.decode(body)
    assert caught.value.kind.status == status
