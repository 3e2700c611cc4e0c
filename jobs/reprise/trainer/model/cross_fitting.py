"""Votes for rows by forests that have not seen their users."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from reprise.trainer.data.labelled_rows import LabelledRows
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.forest import Floats, SplitForest

RowsT = TypeVar("RowsT", bound=LabelledRows)


def cross_fitted_votes(rows: RowsT, grow: Callable[[RowsT], SplitForest], *, seed: int, jobs: int) -> Floats:
    """Return the votes for the rows of each half of the users by a forest that is grown on the other half.

    So no forest votes for a user whom it has seen, and all have seen as late rows as the published forest.

    Raises:
        TrainingRefusedError: Half of the users have rows of one label only.
    """
    half = np.random.default_rng(seed).integers(0, 2, int(rows.users.max()) + 1)[rows.users] == 1
    votes = np.empty(len(rows))
    for mine in (half, ~half):
        others = rows.subset(~mine)
        if not 0 < others.positives < len(others):
            raise TrainingRefusedError(
                "half of the users have rows of one label only, too few to calibrate a model on the others",
                "events of more users",
            )
        votes[mine] = grow(others).score(rows.inputs[mine], jobs=jobs)
    return votes
