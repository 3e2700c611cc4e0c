"""The plan in the repository is the one that the definition makes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reprise.features.accumulators import LATEST_PRODUCTS
from reprise.features.discovery import planner
from reprise.features.discovery.candidates import assemble, discover
from reprise.features.discovery.definition import Definition, FormulaInput
from reprise.features.discovery.planner import (
    PlanningResult,
    end_of_training,
    make_plan,
    planned_candidates,
    write_plan,
)
from reprise.features.exceptions import DefinitionError, NotEnoughEventsError
from reprise.features.feature_functions import spec_fields
from reprise.features.plan import ENTITY_NAMES, Plan
from support.discovered import definition, discovery, load_saved_features
from support.plans import REPOSITORY, checked_in_plan

Document = dict[str, Any]
Edit = Callable[[Document], object]


def changed(**parts: object) -> Definition:
    return replace(definition(), **parts)  # type: ignore[arg-type]


def test_the_definition_makes_the_checked_in_plan() -> None:
    candidates = planned_candidates(definition(), checked_in_plan())
    assert [c.name for c in candidates] == [
        i.name for entity in checked_in_plan().entities for i in entity.inputs
    ]


def test_the_saved_features_are_the_plans_as_featuretools_loads_them() -> None:
    saved = load_saved_features(REPOSITORY / "plan")
    assert tuple(saved) == ENTITY_NAMES
    for entity in checked_in_plan().entities:
        assert [f.get_name() for f in saved[entity.name]] == [i.source for i in entity.inputs]


def test_every_named_feature_is_in_the_plan_under_its_name() -> None:
    inputs = {i.name: (i.entity, i.source) for i in checked_in_plan().inputs}
    wanted = definition()
    for entity, named in zip(
        ENTITY_NAMES, (wanted.users.named, wanted.products.named, wanted.user_products.named), strict=True
    ):
        for name, source in named.items():
            assert inputs[name] == (entity, source)


def test_the_plan_keeps_no_state_that_no_input_needs() -> None:
    plan = checked_in_plan()
    for entity in plan.entities:
        specs = [each.finish for each in entity.features]
        specs += plan.pair_values.values() if entity.name == "pair" else []
        needed = {name for spec in specs for name in spec_fields(spec)}
        for kept in entity.accumulators:
            if kept.spec["kind"] == LATEST_PRODUCTS:  # for ranking
                continue
            tells_the_new = entity.name == "pair" and kept.id.endswith("_count")
            assert tells_the_new or needed & {f.name for f in kept.fields}, (entity.name, kept.id)


def test_a_written_plan_is_read_back_and_fits_the_definition(planned: PlanningResult, tmp_path: Path) -> None:
    written = write_plan(planned, tmp_path / "plan")
    names = [path.name for path in written]
    assert names == ["users.json", "products.json", "user_products.json", "plan.json"]
    plan = Plan.load(tmp_path / "plan" / "plan.json")
    assert plan.hash == planned.plan.hash
    planned_candidates(definition(), plan)
    assert len(plan.inputs) <= definition().max_inputs + len(planned.plan.request_inputs) + 9


def test_a_plan_of_features_that_the_definition_lost_is_refused() -> None:
    users = definition().users
    fewer = [primitive for primitive in users.aggregations if primitive.name != "decayed_count"]
    with pytest.raises(DefinitionError, match=r"no longer has .*user_decayed_count.*`reprise features plan`"):
        planned_candidates(changed(users=replace(users, aggregations=fewer)), checked_in_plan())


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan["entities"]["user"]["inputs"][0].update(description="something else"),
        lambda plan: plan["request_inputs"].pop(),
    ],
    ids=["another description", "one input less"],
)
def test_a_plan_that_says_something_else_than_the_definition_is_refused(edit: Edit) -> None:
    document = checked_in_plan().to_dict()
    edit(document)
    with pytest.raises(DefinitionError, match="the plan is not what the definition makes"):
        planned_candidates(definition(), Plan.from_dict(document))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("SUM(views.amount)", r"'odd' of users: .* does not find 'SUM\(views.amount\)'"),
        ("MEDIAN(purchases.amount)", r"'odd' of users: .* median has no bounded state"),
    ],
)
def test_a_named_feature_that_is_not_found_or_refused_is_an_error_that_names_it(
    source: str, complaint: str
) -> None:
    users = definition().users
    with pytest.raises(DefinitionError, match=complaint):
        discover(changed(users=replace(users, named={**users.named, "odd": source})))


def test_a_formula_of_a_feature_that_is_not_there_is_an_error() -> None:
    formulas = definition().formulas | {"odd": FormulaInput("request_amount / tears", "per tear")}
    with pytest.raises(DefinitionError, match="'odd' = request_amount / tears: there is no feature 'tears'"):
        assemble(changed(formulas=formulas), discovery().candidates)


def test_an_operand_of_formulas_is_no_input() -> None:
    products = replace(
        definition().products, operands={"product_buyers": "NUM_TRUE(user_products.COUNT(purchases) > 0)"}
    )
    formulas = {"share": FormulaInput("(product_repeat_buyers + 1) / (product_buyers + 4)", "bought again")}
    edited = changed(products=products, formulas=formulas)
    plan = assemble(edited, discover(edited).candidates)
    assert [each.name for each in plan.product.operands] == ["product_buyers"]
    assert "product_buyers" not in plan.input_names
    assert plan.input_names[-1] == "share"
    assert Plan.from_dict(plan.to_dict()).to_dict() == plan.to_dict()


def test_a_history_shorter_than_the_horizon_cannot_be_planned_by(few_users: Path) -> None:
    with pytest.raises(NotEnoughEventsError, match="shorter than the horizon"):
        make_plan(definition(), few_users, timedelta(days=1000))


def test_features_are_selected_by_rows_that_training_learns_from(
    few_users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = end_of_training(few_users, timedelta(days=30))
    instants = pq.read_table(few_users, columns=["timestamp"])["timestamp"].to_pylist()
    assert min(instants) < until < max(instants) - timedelta(days=60)
    seen: list[int] = []

    def refuse(candidates: Any, values: Any, label: Any, **options: Any) -> None:
        seen.append(len(label))
        raise NotEnoughEventsError("seen")

    monkeypatch.setattr(planner, "select", refuse)
    with pytest.raises(NotEnoughEventsError, match="seen"):
        make_plan(definition(), few_users, timedelta(days=30), until)
    assert seen == [sum(at < until for at in instants)]
