"""docs/adding-a-feature.md, performed: its diff, its command, and what it says comes of it.

Without ``REPRISE_SOAK=1`` the command selects features on fewer events than the guide's.
"""

import json
import re
import shlex
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reprise.features.discovery.definition import load_definition
from reprise.features.discovery.planner import planned_candidates
from reprise.features.executors.batch import BatchExecutor
from reprise.features.main import command
from reprise.features.plan import Plan
from reprise.features.vectorizer import FeatureVectorizer
from support.collection import SOAK
from support.discovered import load_saved_features
from support.hard_histories import Request, random_history
from support.parity import answers, folded_states, reference_answers
from support.plans import REPOSITORY, checked_in_plan

GUIDE = REPOSITORY.parent / "docs" / "adding-a-feature.md"
DAY_US = 86_400_000_000

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory, few_users: Path) -> Path:
    """Apply the guide's one diff to a copy of the repository's definition, and run the guide's first command there."""
    folder = tmp_path_factory.mktemp("checkout")
    repository = folder / "feature_repo"
    repository.mkdir()
    (repository / "definitions.py").write_bytes((REPOSITORY / "definitions.py").read_bytes())
    [diff] = blocks("diff")
    subprocess.run(["git", "apply", "--whitespace=error-all"], cwd=folder, input=diff, text=True, check=True)
    reprise, part, *arguments = shlex.split(blocks("sh")[0])
    assert (reprise, part) == ("reprise", "features")
    if not SOAK:
        arguments += ["--events", str(few_users)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "recent_views" in result.output
    return repository


@pytest.fixture(scope="module")
def plan(example: Path) -> Plan:
    return Plan.load(example / "plan" / "plan.json")


def test_the_edit_is_in_one_file_and_adds_two_lines() -> None:
    [diff] = blocks("diff")
    assert re.findall(r"^\+\+\+ (.*)$", diff, flags=re.MULTILINE) == ["b/feature_repo/definitions.py"]
    lines = [line for line in diff.splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
    assert len(lines) == 2
    assert all(line.startswith("+") for line in lines)


def test_state_input_and_fields_are_in_the_plan_as_the_guide_shows_them(example: Path, plan: Plan) -> None:
    state, model_input = (json.loads(block) for block in blocks("json"))
    user, before = (each.to_dict()["entities"]["user"] for each in (plan, checked_in_plan()))
    assert state in user["state"]
    assert state not in before["state"]
    assert model_input in user["inputs"]
    assert "recent_views" not in checked_in_plan().input_names
    assert {"views_decayed_count_2d", "views_decayed_count_2d_us"} <= plan.user.field_index.keys()
    assert "`views_decayed_count_2d` and `views_decayed_count_2d_us`" in " ".join(GUIDE.read_text().split())
    assert plan.hash != checked_in_plan().hash
    assert plan.schema_hash != checked_in_plan().schema_hash
    saved = load_saved_features(example / "plan")["user"]
    assert "DECAYED_COUNT(views.timestamp, half_life_days=2)" in [feature.get_name() for feature in saved]


def test_the_new_plan_is_the_same_three_ways(example: Path, plan: Plan) -> None:
    definition = load_definition(example)
    candidates = planned_candidates(definition, plan)
    events = random_history(8, 40, users=3, products=2, years=0.1)
    # Requests of one instant cost the reference little more than one
    instants = [event.timestamp_us + 1 for event in events[:: 2 if SOAK else 8]]
    pairs = product({event.user_id for event in events}, {event.product_id for event in events})
    requests = [Request(*pair, instant) for instant, pair in product(instants, sorted(pairs))]
    with BatchExecutor(plan) as executor:
        found = answers(executor, plan, events, requests)
    reference = reference_answers(events, requests, candidates, definition)
    assert found.compared().mismatches == ()
    assert found.compared_with(reference, [c.name for c in candidates]).mismatches == ()
    recent = found.batch[:, plan.input_names.index("recent_views")]
    assert len(np.unique(recent)) > (10 if SOAK else 5)


def test_a_view_counts_half_after_two_days(plan: Plan) -> None:
    [viewed] = [event for event in random_history(1, 60) if event.event_type == "view"][:1]
    states = folded_states(plan, [viewed])
    rows = states.of(viewed.user_id, viewed.product_id)
    finished = FeatureVectorizer(plan).vector(*rows, viewed.timestamp_us + 2 * DAY_US)
    assert finished[plan.input_names.index("recent_views")] == 0.5
