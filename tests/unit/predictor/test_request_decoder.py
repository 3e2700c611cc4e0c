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


def is_valid(request: dict[str, Any]) -> bool:
    """Judge a request as the API's documentation states the contract."""

    def is_id(value: Any) -> bool:
        return isinstance(value, str) and 1 <= len(value) <= 256 and "\0" not in value

    def is_instant(value: Any) -> bool:
        try:
            parse_timestamp(value)
        except InvalidEventError:
            return False
        return True

    amount, event_id, timestamp = map(request.get, ("amount", "event_id", "timestamp"))
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    return (
        request.keys() <= set(FIELDS)
        and is_id(request.get("user_id"))
        and is_id(request.get("product_id"))
        and request.get("event_type") in (None, "view", "purchase")
        and (amount is None or (is_number and 0 <= amount <= 1e12 and request.get("event_type") != "view"))
        and (event_id is None or (is_id(event_id) and request.get("event_type") is not None))
        and (timestamp is None or is_instant(timestamp))
    )


def expected(request: dict[str, Any]) -> list[Any]:
    values = {**dict.fromkeys(FIELDS), **request}
    if values["timestamp"] is not None:
        values["timestamp"] = parse_timestamp(values["timestamp"])
    return [values[name] for name in FIELDS]


@given(requests, st.booleans())
def test_request_decodes_if_it_keeps_the_contract(request: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(request, ensure_ascii=ascii_only).encode()
    if is_valid(request):
        assert fields(DECODER.decode(body)) == expected(request)
    else:
        with pytest.raises(ProblemError) as caught:
            DECODER.decode(body)
        assert {error.field for error in caught.value.errors} <= {*FIELDS, "extra"}


@given(st.lists(requests, max_size=6))
def test_batch_decodes_as_each_of_its_requests(batch: list[dict[str, Any]]) -> None:
    body = json.dumps({"requests": batch}).encode()
    if not 1 <= len(batch) <= 5:
        with pytest.raises(ProblemError, match="requests"):
            DECODER.decode_batch(body)
        return
    decoded = DECODER.decode_batch(body)
    valid = {at: request for at, request in enumerate(batch) if is_valid(request)}
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


def test_faults_of_a_rule_are_named_beside_those_of_a_type() -> None:
    with pytest.raises(ProblemError) as caught:
        DECODER.decode(
            b'{"user_id": "", "product_id": "p\\u0000", "event_type": "view", "amount": 1, "more": 2}'
        )
    assert [error.field for error in caught.value.errors] == ["user_id", "more", "product_id", "amount"]


@pytest.mark.parametrize(
    "fields",
    [
        {"event_id": "e-1"},
        {"event_id": "e-1", "event_type": None},
        *({"event_id": wrong, "event_type": "purchase"} for wrong in ("", "e\0", "e" * 257, 7)),
    ],
)
def test_refused_event_id_is_named_in_single_requests_and_in_batches(fields: dict[str, Any]) -> None:
    request = {"user_id": "u", "product_id": "p", **fields}
    with pytest.raises(ProblemError) as caught:
        DECODER.decode(json.dumps(request).encode())
    batch = DECODER.decode_batch(json.dumps({"requests": [request]}).encode())
    for problem in (caught.value, batch.problems[0]):
        assert problem.kind.status == 422
        assert [error.field for error in problem.errors] == ["event_id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((body, 400) for body in (b"", b"\xef\xbb\xbf{}", b'{"user_id": "u"')),
        *((body, 422) for body in (b"null", b"[]", b'{"user_id": "u"}')),
        (b'{"user_id": "\xff", "product_id": "p"}', 400),
        (b'{"user_id": "\\ud800", "product_id": "p"}', 400),
        (b'{"user_id": "u", "product_id": "p", "amount": 1} {}', 400),
        (b'{"user_id": "u\\u0000", "product_id": "p"}', 422),
        (b'{"user_id": "u", "product_id": "p", "amount": 1e999}', 422),
        (b'{"user_id": "u", "product_id": "p", "amount": NaN}', 422),
        (b'{"user_id": "u", "product_id": "p", "amount": "20"}', 422),
        (b'{"user_id": "u", "product_id": "p", "amount": true}', 422),
        (b'{"user_id": "u", "product_id": "p", "amount": 1, "event_type": "view"}', 422),
        (b'{"user_id": "u", "product_id": "p", "event_type": 3}', 422),
        (b'{"user_id": "u", "product_id": "p", "timestamp": 1769860800}', 422),
        (b'{"user_id": "u", "product_id": "p", "unknown": null}', 422),
    ],
)
def test_what_breaks_the_contract_is_refused_with_a_problem(body: bytes, status: int) -> None:
    with pytest.raises(ProblemError) as caught:
        DECODER.decode(body)
    assert caught.value.kind.status == status
