"""What a predictor measures of each arm, and the operator asks Prometheus for.

Every metric carries the labels ``arm`` and ``digest``. A predictor shows them all, at zero, as soon as it has loaded an
arm, so that the first answers are counted too; shadows are measured like the others. An arm that cannot answer a
request (its model raises, or gives no probability) is counted as failed, and the baseline answers instead.
"""

from typing import Final

ANSWERS: Final = "reprise_predictor_arm_answers"
"""Counter, ``_total``: what the arm was asked for, with the label ``outcome``, ``answered`` or ``failed``."""

SECONDS: Final = "reprise_predictor_arm_seconds"
"""Histogram: how long the arm took for what was asked, from state to probability, without the store's round trip."""

SCORES: Final = "reprise_predictor_arm_score"
"""Histogram: the probabilities, in twenty bins of the same width."""

USERS: Final = "reprise_predictor_arm_users"
"""Counter, ``_total``: users that a predictor saw for the first time since it applied the document, by the arm that
they are assigned to (whether or not that arm answers); see :class:`reprise.routing.distinct_users.SeenUsers`."""

SCORE_BOUNDS: Final = tuple(number / 20 for number in range(1, 21))
"""Upper bounds of the bins of :data:`SCORES`."""
