"""Which of the discovered features are kept."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from reprise.features.discovery.candidates import Candidate
from reprise.features.discovery.compiler import Compiled
from reprise.features.discovery.selection import Selection, select
from reprise.features.exceptions import NotEnoughEventsError

ROWS = 2_000


def candidate(name: str, *, named: bool = False, depth: int = 1) -> Candidate:
    feature = SimpleNamespace(get_depth=lambda: depth)
    return Candidate("user", name.upper(), name, named, Compiled((), {}, "events"), feature)


def label_and_noise(seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.random(ROWS) < 0.3, rng


def chosen(
    candidates: Sequence[Candidate], columns: Sequence[np.ndarray], label: np.ndarray, max_inputs: int = 10
) -> Selection:
    return select(
        candidates, np.column_stack(columns), label, max_inputs=max_inputs, duplicate_correlation=0.995
    )


def names(selection: Selection) -> list[str]:
    return [c.name for c in selection.kept]


def test_what_says_nothing_is_dropped() -> None:
    label, rng = label_and_noise()
    nearly = np.zeros(ROWS)
    nearly[0] = 1.0
    found = chosen(
        [candidate("informative"), candidate("constant"), candidate("nearly"), candidate("missing")],
        [label + rng.random(ROWS), np.full(ROWS, 3.0), nearly, np.full(ROWS, np.nan)],
        label,
    )
    assert names(found) == ["informative"]
    assert found.dropped["constant"] == "no information: 3 in 100.00% of rows"
    assert found.dropped["nearly"] == "no information: 0 in 99.95% of rows"
    assert found.dropped["missing"] == "no information: missing in 100.00% of rows"


def test_a_named_feature_stays_even_if_it_says_nothing() -> None:
    label, rng = label_and_noise()
    found = chosen(
        [candidate("informative"), candidate("constant", named=True)],
        [label + rng.random(ROWS), np.full(ROWS, 3.0)],
        label,
    )
    assert names(found) == ["informative", "constant"]
    assert found.dropped == {}


def test_of_features_that_rank_rows_alike_one_is_kept() -> None:
    label, rng = label_and_noise()
    value = rng.random(ROWS)
    found = chosen(
        [candidate("value"), candidate("squared"), candidate("negative"), candidate("other")],
        [value, value**2, -value, rng.random(ROWS)],
        label,
    )
    assert names(found) == ["value", "other"]
    assert found.dropped["squared"] == "near-duplicate of value: rank correlation 1.0000"
    assert found.dropped["negative"] == "near-duplicate of value: rank correlation 1.0000"


def test_the_named_of_two_duplicates_is_kept_before_the_shallow_before_the_deep() -> None:
    label, rng = label_and_noise()
    one, two = rng.random(ROWS), rng.random(ROWS)
    found = chosen(
        [
            candidate("deep", depth=3),
            candidate("shallow", depth=1),
            candidate("unnamed"),
            candidate("named", named=True, depth=3),
        ],
        [one, one, two, two],
        label,
    )
    assert names(found) == ["shallow", "named"]


def test_two_named_duplicates_both_stay() -> None:
    label, rng = label_and_noise()
    value = rng.random(ROWS)
    found = chosen([candidate("one", named=True), candidate("two", named=True)], [value, value], label)
    assert names(found) == ["one", "two"]


def test_at_most_max_inputs_are_kept_the_most_important_and_the_named_besides() -> None:
    label, rng = label_and_noise()
    columns = [rng.random(ROWS) + strength * label for strength in (0.0, 0.9, 0.0, 0.6, 0.0)]
    candidates = [candidate(f"f{at}", named=at == 4) for at in range(5)]
    found = chosen(candidates, columns, label, max_inputs=2)
    assert names(found) == ["f1", "f3", "f4"]
    assert set(found.dropped) == {"f0", "f2"}
    assert all("of at most 2" in reason for reason in found.dropped.values())


def test_the_same_sample_makes_the_same_selection_with_importances_of_what_was_ranked() -> None:
    label, rng = label_and_noise()
    columns = [np.zeros(ROWS), *(rng.random(ROWS) + rng.random() * label for _ in range(11))]
    candidates = [candidate(f"f{at}") for at in range(12)]
    one, two = (chosen(candidates, columns, label, max_inputs=5) for _ in range(2))
    assert (names(one), one.dropped, one.importance) == (names(two), two.dropped, two.importance)
    assert set(one.importance) == {f"f{at}" for at in range(1, 12)}
    assert sum(one.importance.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("positives", [0, 49, ROWS - 49, ROWS])
def test_a_sample_with_too_little_of_a_class_is_refused(positives: int) -> None:
    label = np.arange(ROWS) < positives
    with pytest.raises(NotEnoughEventsError, match=f"{positives} rows with and {ROWS - positives} without"):
        chosen([candidate("a")], [np.arange(ROWS, dtype=float)], label)
