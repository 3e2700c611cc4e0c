"""Which of the discovered features are kept."""

from collections.abc import Collection, Mapping
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

from reprise.features.discovery.candidates import Candidate
from reprise.features.discovery.compiler import Compiled
from reprise.features.discovery.selection import Selection, select
from reprise.features.exceptions import NotEnoughEventsError

ROWS = 2_000


def candidate(name: str, *, named: bool = False, depth: int = 1) -> Candidate:
    feature = SimpleNamespace(get_depth=lambda: depth)
    return Candidate("user", name.upper(), name, named, False, Compiled((), {}, "events"), feature)


LABEL = np.random.default_rng(0).random(ROWS) < 0.3
RNG = np.random.default_rng(1)
NOISE = [RNG.random(ROWS) for _ in range(12)]


def chosen(
    columns: Mapping[str, np.ndarray],
    max_inputs: int = 10,
    label: np.ndarray = LABEL,
    named: Collection[str] = (),
    depths: Mapping[str, int] = MappingProxyType({}),
) -> Selection:
    """Select among these columns; ``depths`` has the depth of each that is not 1."""
    candidates = [candidate(name, named=name in named, depth=depths.get(name, 1)) for name in columns]
    values = np.column_stack(list(columns.values()))
    return select(candidates, values, label, max_inputs=max_inputs, duplicate_correlation=0.995)


def names(selection: Selection) -> list[str]:
    return [c.name for c in selection.kept]


def test_what_says_nothing_is_dropped_unless_it_is_named() -> None:
    nearly = np.zeros(ROWS)
    nearly[0] = 1.0
    constant = np.full(ROWS, 3.0)
    missing = np.full(ROWS, np.nan)
    columns = {"informative": LABEL + NOISE[0], "constant": constant, "nearly": nearly, "missing": missing}
    found = chosen({**columns, "kept": constant}, named=["kept"])
    assert names(found) == ["informative", "kept"]
    assert found.dropped == {
        "constant": "no information: 3 in 100.00% of rows",
        "nearly": "no information: 0 in 99.95% of rows",
        "missing": "no information: missing in 100.00% of rows",
    }


def test_of_features_that_rank_rows_alike_one_is_kept() -> None:
    value = NOISE[0]
    found = chosen({"value": value, "squared": value**2, "negative": -value, "other": NOISE[1]})
    assert names(found) == ["value", "other"]
    reason = "near-duplicate of value: rank correlation 1.0000"
    assert found.dropped == {"squared": reason, "negative": reason}


def test_all_named_duplicates_are_kept_before_the_shallow_before_the_deep() -> None:
    one, two = NOISE[:2]
    found = chosen(
        {"deep": one, "shallow": one, "unnamed": two, "named": two, "twin": two},
        named=["named", "twin"],
        depths={"deep": 3, "named": 3},
    )
    assert names(found) == ["shallow", "named", "twin"]


def test_at_most_max_inputs_are_kept_the_most_important_and_the_named_besides() -> None:
    strengths = enumerate((0.0, 0.9, 0.0, 0.6, 0.0))
    columns = {f"f{at}": NOISE[at] + strength * LABEL for at, strength in strengths}
    found = chosen(columns, max_inputs=2, named=["f4"])
    assert names(found) == ["f1", "f3", "f4"]
    assert set(found.dropped) == {"f0", "f2"}
    assert all("of at most 2" in reason for reason in found.dropped.values())


@pytest.mark.parametrize("positives", [0, 49, ROWS - 49, ROWS])
def test_a_sample_with_too_little_of_a_class_is_refused(positives: int) -> None:
    label = np.arange(ROWS) < positives
    told = f"{positives} rows with and {ROWS - positives} without"
    with pytest.raises(NotEnoughEventsError, match=told) as caught:
        chosen({"a": np.arange(ROWS, dtype=float)}, label=label)
    assert ("a longer horizon" if positives < 50 else "a shorter horizon") in str(caught.value)
