"""Dataclasses of arrays: one element per row."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Columns:
    """Base of a dataclass of arrays of equal length; fields that are no arrays are the same for every row."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._values()[0])

    def take(self, rows: slice | Indices) -> Self:
        """Return some of the rows; a slice copies nothing."""
        return type(self)(
            *(value[rows] if isinstance(value, np.ndarray) else value for value in self._values())
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, of which there is at least one; every field is an array."""
        return cls(
            *(np.concatenate(column) for column in zip(*(part._values() for part in parts), strict=True))
        )

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
