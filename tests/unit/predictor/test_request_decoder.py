import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from reprise.http.problems import ProblemError
from reprise.predictor.handlers.request_decoder import RequestDecoder

FIELDS = ("user_id", "product_id", "event_type", "amount", "timestamp")
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
        "timestamp": INSTANTS | anything,
    },
) | st.dictionaries(st.sampled_from([*FIELDS, "extra"]), anything | ids | amounts)


def fields(request: Any) -> list[tuple[Any, str]]:
    return [(value := getattr(request, name), str(value)) for name in FIELDS]


def by_pydantic(model: type[BaseModel], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None


@given(requests, st.booleans())
def test_request_decodes_as_the_documented_model_does(request: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(request, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    expected = by_pydantic(DECODER.request, body)
    if expected is None:
        with pytest.raises(ProblemError):
            DECODER.decode(body)
    else:
        assert fields(DECODER.decode(body)) == fields(expected)


@given(st.lists(requests, max_size=6))
def test_batch_decodes_as_each_of_its_requests(batch: list[dict[str, Any]]) -> None:
    body = json.dumps({"requests": batch}).encode()
    if not 1 <= len(batch) <= 5:
        with pytest.raises(ProblemError, match="requests"):
            DECODER.decode_batch(body)
        return
    decoded = DECODER.decode_batch(body)
    each = [by_pydantic(DECODER.request, json.dumps(request).encode()) for request in batch]
    assert list(decoded.positions) == [at for at, request in enumerate(each) if request is not None]
    assert sorted(decoded.problems) == [at for at, request in enumerate(each) if request is None]
    assert len(decoded) == len(batch)
    for place, request in zip(decoded.positions, decoded.requests, strict=True):
        assert fields(request) == fields(each[place])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xef\xbb\xbf{}",
        b'{"user_id": "\xff", "product_id": "p"}',
        b'{"user_id": "\\ud800", "product_id": "p"}',
        b'{"user_id": "u\\u0000", "product_id": "p"}',
        b'{"user_id": "u", "product_id": "p", "amount": 1e999}',
        b'{"user_id": "u", "product_id": "p", "amount": NaN}',
        b'{"user_id": "u", "product_id": "p", "amount": 1} {}',
        b'{"user_id": "u", "product_id": "p", "amount": 1, "event_type": "view"}',
        b'{"user_id": "u", "product_id": "p", "timestamp": 1769860800}',
        b'{"user_id": "u", "product_id": "p", "unknown": null}',
        b'{"user_id": "u"}',
    ],
)
def test_what_breaks_the_contract_is_refused_with_a_problem(body: bytes) -> None:
    with pytest.raises(ProblemError):
        DECODER.decode(body)


def test_valid_request_is_not_validated_by_pydantic() -> None:
    decoder = RequestDecoder(("view", "purchase"), 5)
    decoder._validate = lambda _: pytest.fail("pydantic was asked")  # type: ignore[assignment,method-assign]
    body = b'{"user_id": "u", "product_id": "p", "amount": 1.5, "timestamp": "2026-01-31T12:00:00Z"}'
    assert fields(decoder.decode(body)) == [
        ("u", "u"), ("p", "p"), (None, "None"), (1.5, "1.5"), (1769860800000000, "1769860800000000"),
    ]  # fmt: skip
