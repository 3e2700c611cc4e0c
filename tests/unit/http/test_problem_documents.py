import json

import pytest
from pydantic import BaseModel, Field, ValidationError

from reprise.http.problems import (
    INVALID_JSON,
    INVALID_REQUEST,
    NOT_FOUND,
    ProblemError,
    retry_after,
    validation_problem,
)


class Item(BaseModel, extra="forbid"):
    id: str = Field(max_length=5)
    amount: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class Items(BaseModel):
    items: list[Item]


def problem_of(model: type[BaseModel], body: bytes) -> ProblemError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)
    return validation_problem(caught.value.errors())


def test_document_has_the_members_of_rfc_9457_and_no_empty_ones() -> None:
    document = ProblemError(NOT_FOUND, "There is no model yet.").document()
    assert document == {
        "type": "urn:reprise:problem:not-found",
        "title": "There is nothing at this address",
        "status": 404,
        "detail": "There is no model yet.",
    }


def test_answer_has_the_media_type_the_status_and_the_headers() -> None:
    problem = ProblemError(NOT_FOUND, "x", headers=retry_after(0.2))
    response = problem.response()
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "1"


def test_each_field_at_fault_is_named_with_what_it_held() -> None:
    problem = problem_of(Items, b'{"items": [{"id": "a"}, {"id": "toolong", "amount": -1, "more": 1}]}')
    assert problem.kind == INVALID_REQUEST
    faults = {error["field"]: error for error in problem.document()["errors"]}
    assert set(faults) == {"items.1.id", "items.1.amount", "items.1.more"}
    assert faults["items.1.amount"]["value"] == -1
    assert "greater than or equal to 0" in faults["items.1.amount"]["message"]
    assert problem.detail.startswith("3 fields are at fault")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"id": "a", "amount": NaN}', "nan"),
        (b'{"id": "' + b"x" * 5000 + b'"}', "x" * 99 + "…"),
        (b'{"id": 123456789012345678901234567890}', "123456789012345678901234567890"),
    ],
    ids=["number that JSON lacks", "long text", "huge integer"],
)
def test_value_is_shown_as_json_can_hold_it(body: bytes, value: str) -> None:
    (error,) = json.loads(problem_of(Item, body).encode())["errors"]
    assert error["value"] == value


def test_missing_field_has_no_value() -> None:
    (error,) = problem_of(Item, b"{}").document()["errors"]
    assert error == {"field": "id", "message": "Field required"}


def test_text_that_is_no_json_is_said_to_be_that() -> None:
    problem = problem_of(Item, b'{"id": ')
    assert problem.kind == INVALID_JSON
    assert "EOF" in problem.detail


def test_many_faults_are_counted_and_the_first_listed() -> None:
    problem = problem_of(Items, b'{"items": [' + b",".join([b"{}"] * 250) + b"]}")
    assert len(problem.errors) == 100
    assert problem.detail.startswith("250 fields are at fault")
    assert "the first 100 are listed" in problem.detail
