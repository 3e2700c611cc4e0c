"""Metrics of arms that predictors export and the rollout operator queries.

Each has the labels ``arm`` and ``digest``, and starts at zero once the arm is loaded, so that the first increase is
visible. Shadows are measured like other arms.
"""

from typing import Final

ANSWERS: Final = "reprise_predictor_arm_answers"
"""Counter, ``_total``: requests by ``outcome``, ``answered`` or ``failed`` (the baseline answers instead)."""

SECONDS: Final = "reprise_predictor_arm_seconds"
"""Histogram: duration from state to probability, without reading the store."""

SCORES: Final = "reprise_predictor_arm_score"
"""Histogram: probabilities, in twenty bins of equal width."""

USERS: Final = "reprise_predictor_arm_users"
"""Counter, ``_total``: distinct users since the document was applied, by assigned arm, whether or not it answers."""

SCORE_BOUNDS: Final = tuple(number / 20 for number in range(1, 21))
"""Upper bounds of the bins of :data:`SCORES`."""
