"""The plan as data: what it says, what it refuses, and what its hashes stand for."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprise.features.exceptions import PlanError
from reprise.features.plan import REQUIRED_INPUTS, Plan
from support.plans import PLAN_FILE, checked_in_plan

Document = dict[str, Any]
Edit = Callable[[Document], object]
COUNT = {"kind": "value", "field": "purchases_count"}


def edited(edit: Edit) -> Document:
    document = copy.deepcopy(checked_in_plan().to_dict())
    edit(document)
    return document


def entity_with(part: str, entity: str, *added: Any) -> Edit:
    return lambda document: document["entities"][entity][part].extend(added)


def state(entity: str, **spec: str) -> Edit:
    return entity_with("state", entity, spec)


def an_input(entity: str, name: str, **finish: str) -> Edit:
    document = {"name": name, "source": "", "unit": "", "description": "", "finish": finish or COUNT}
    if entity == "request":
        return lambda plan: plan["request_inputs"].append(document)
    return entity_with("inputs", entity, document)


def test_the_checked_in_file_is_what_the_plan_writes() -> None:
    assert checked_in_plan().dumps() == PLAN_FILE.read_bytes()


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    def reversed_keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(item) for item in value] if isinstance(value, list) else value

    plan = Plan.from_dict(reversed_keys(checked_in_plan().to_dict()))
    assert (plan.hash, plan.schema_hash) == (checked_in_plan().hash, checked_in_plan().schema_hash)
    assert len(bytes.fromhex(plan.hash)) == len(bytes.fromhex(plan.schema_hash)) == 32


def another_description(document: Document) -> None:
    document["entities"]["user"]["inputs"][0]["description"] = "in other words"


def another_order(document: Document) -> None:
    kept = document["entities"]["product"]["state"]
    kept.insert(0, kept.pop(1))


ABOVE = {"kind": "above", "of": COUNT, "threshold": 2}
EDITS: dict[str, tuple[Edit, bool]] = {
    "another description": (another_description, True),
    "another input of the same state": (an_input("user", "one_more"), True),
    "more state": (state("user", kind="smallest_amount", frame="purchases"), False),
    "state in another order": (another_order, False),
    "another inner value of pairs": (lambda d: d["pair_values"].update(purchases_count_above_2=ABOVE), False),
    "another event type": (lambda d: d["frames"].update({"cart": "carts"}), False),
}


@pytest.mark.parametrize(("edit", "same_state"), EDITS.values(), ids=EDITS.keys())
def test_what_is_stored_decides_the_schema_hash(edit: Edit, same_state: bool) -> None:
    plan = Plan.from_dict(edited(edit))
    assert plan.hash != checked_in_plan().hash
    assert (plan.schema_hash == checked_in_plan().schema_hash) is same_state


def first_input(edit: Edit) -> Edit:
    return lambda document: edit(document["entities"]["user"]["inputs"][0])


REFUSED: dict[str, tuple[Edit, str]] = {
    "of another format": (lambda d: d.update(format=2), "plan format 2"),
    "without a format": (lambda d: d.pop("format"), "plan format None"),
    "without entities": (lambda d: d.pop("entities"), "incomplete: KeyError\\('entities'\\)"),
    "without an entity": (lambda d: d["entities"].pop("pair"), "incomplete: KeyError\\('pair'\\)"),
    "without request inputs": (lambda d: d.pop("request_inputs"), "incomplete"),
    "with state that is no object": (entity_with("state", "user", "count"), "incomplete: AttributeError"),
    "with an input that lacks a part": (first_input(lambda i: i.pop("unit")), "incomplete: .*'unit'"),
    "with an unknown accumulator": (state("user", kind="median"), "unknown accumulator kind 'median'"),
    "with an unknown finish": (an_input("user", "odd", kind="median"), "unknown finish kind 'median'"),
    "with a finish of what is not kept": (
        an_input("user", "odd", kind="value", field="tears"),
        "'tears' is neither a parameter nor a field of the state",
    ),
    "with an inner value of what pairs do not keep": (
        lambda d: d["pair_values"].update(odd={"kind": "value", "field": "tears"}),
        "'tears' is neither",
    ),
    "with a sum over pairs of an unknown inner value": (
        state("user", kind="pair_sum", inner="tears"),
        "user: pairs_tears_sum needs the pair value 'tears'",
    ),
    "with pairs of pairs": (state("pair", kind="pair_count"), "the pair's own state cannot be over pairs"),
    "with state over an unknown frame": (
        state("pair", kind="count", frame="returns"),
        "pair: returns_count is over 'returns', which is no frame of the plan",
    ),
    "with the same state twice": (
        state("user", kind="count", frame="views"),
        "user: two fields of the state have the same name",
    ),
    "with two inputs of one name": (an_input("pair", "total_spend"), "features are named twice: total_spend"),
    "with a request input of an entity's name": (
        an_input("request", "total_spend", kind="request", field="amount"),
        "features are named twice: total_spend",
    ),
    "with a request input of an unknown kind": (
        an_input("request", "odd", kind="weather"),
        "odd: .*weather.* is no input of a request",
    ),
    "with a field that requests do not have": (
        an_input("request", "odd", kind="request", field="weather"),
        "odd: .*weather.* is no input of a request",
    ),
    "with a ratio to an unknown input": (
        an_input("request", "odd", kind="ratio_of_inputs", numerator="total_spend", denominator="tears"),
        "'tears' is no feature before it",
    ),
    "with a formula of itself": (
        an_input("request", "odd", kind="formula", formula="odd / total_spend"),
        "'odd' is no feature before it",
    ),
}


@pytest.mark.parametrize(("edit", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_a_plan_is_refused(edit: Edit, complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        Plan.from_dict(edited(edit))


@pytest.mark.parametrize("name", REQUIRED_INPUTS)
def test_a_plan_without_a_promised_input_is_refused(name: str) -> None:
    document = checked_in_plan().to_dict()
    user = document["entities"]["user"]
    user["inputs"] = [each for each in user["inputs"] if each["name"] != name]
    with pytest.raises(PlanError, match=f"lacks inputs that the API promises: {name}"):
        Plan.from_dict(document)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", r"plan\.json: is not JSON"),
        *((text, "a plan is a JSON object, not") for text in ("[]", "null", "7")),
    ],
)
def test_a_file_that_holds_no_plan_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=complaint):
        Plan.load(path)
