"""The Feast feature view of a row of state."""

from dataclasses import dataclass
from typing import Literal

WATERMARKS = "watermarks"
"""Name of the ``bytes`` field that every state view has besides its state."""

TICK_US = 1
"""Microseconds from a row's newest event to the instant from which the row holds, its ``_ts``.

With it, what Feast finds at or before an instant happened strictly before that instant.
"""

FieldKind = Literal["int64", "double", "bytes"]


@dataclass(frozen=True, slots=True)
class StateField:
    """One number, or a packed list, of an entity's state."""

    name: str
    kind: FieldKind


@dataclass(frozen=True, slots=True)
class StateView:
    """The Feast feature view that holds one entity's state, without the watermarks, in the order of the row.

    The pair has two join keys.
    """

    name: str
    join_keys: tuple[str, ...]
    fields: tuple[StateField, ...]
