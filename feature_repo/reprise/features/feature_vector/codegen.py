"""Code generation: one Python function that computes a whole feature vector.

Feature functions are called with symbols in place of numbers, and record on a tape what they compute. The tape is
then compiled as straight-line Python, where a repeated step is computed once. This saves the calls and look-ups that
take most of the time of a single request. The steps and their order stay the same, so results are bit-identical.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import Operations

GeneratedFunction = Callable[..., list[float]]
"""Takes the states of user, product and pair, the instant, the amount and whether it is a purchase."""


class Symbol:
    """A number that is known only when the generated code runs."""

    __slots__ = ("_tape", "name")

    def __init__(self, tape: Tape, name: str) -> None:
        self._tape = tape
        self.name = name

    def __add__(self, other: Any) -> Symbol:
        return self._tape.step("{} + {}", self, other)

    def __sub__(self, other: Any) -> Symbol:
        return self._tape.step("{} - {}", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._tape.step("{} - {}", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self._tape.step("{} * {}", self, other)

    def __truediv__(self, other: Any) -> Symbol:
        return self._tape.step("{} / {}", self, other)

    def __neg__(self) -> Symbol:
        return self._tape.step("-{}", self)

    def __bool__(self) -> bool:
        raise TypeError("a feature function must not branch: it uses an operation for that")


class Tape:
    """The recorded steps, the names of the symbols that they use, and the operations that record steps."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.used: set[str] = set()

        def record(form: str) -> Callable[..., Symbol]:
            return lambda *operands: self.step(form, *operands)

        self.operations = Operations(
            ratio=record("{0} / {1} if {1} > 0 else nan"),
            sqrt=record("sqrt({})"),
            exp2=record("exp2({})"),
            at_least_zero=record("0.0 if {0} < 0 else {0}"),
            if_missing=record("{1} if {0} != {0} else {0}"),
            above=record("1.0 if {} > {} else 0.0"),
        )

    def step(self, form: str, *operands: Any) -> Symbol:
        """Record a step over symbols and literals, and return its result."""
        self.used |= {operand.name for operand in operands if isinstance(operand, Symbol)}
        expression = form.format(*map(_written, operands))
        return Symbol(self, self._names.setdefault(expression, f"v{len(self._names)}"))

    def lines(self) -> list[str]:
        """Return the steps as assignments, in order."""
        return [f"{name} = {expression}" for expression, name in self._names.items()]


def generate_function(
    fields: Sequence[int],
    compute: Callable[[Operations, Sequence[Sequence[Symbol]], Symbol], list[Symbol]],
) -> GeneratedFunction:
    """Return the function that computes what ``compute`` does.

    Args:
        fields: How many fields the states of user, product and pair have.
        compute: Returns the values, in order, from the operations, four rows (the states, and the request's amount
            and whether it is a purchase) and the instant.

    Raises:
        PlanError: A parameter of a feature function is no finite number.
    """
    tape = Tape()
    states = ("user", "product", "pair")
    rows = [
        [Symbol(tape, f"{state}{at}") for at in range(count)]
        for state, count in zip(states, fields, strict=True)
    ]
    request = [Symbol(tape, "amount"), Symbol(tape, "is_purchase")]
    values = compute(tape.operations, [*rows, request], Symbol(tape, "t"))
    used = tape.used | {value.name for value in values}
    source = ["def compute(user, product, pair, t, amount, is_purchase):"]
    for state, row in zip(states, rows, strict=True):
        if row:
            source.append(f"    {', '.join(symbol.name for symbol in row)}, = {state}")
        source += [f"    if {s.name} is None: {s.name} = nan" for s in row if s.name in used]
    source += [f"    {line}" for line in tape.lines()]
    # `* 1.0` converts an int to float in a third of the time of float().
    source.append(f"    return [{', '.join(f'{value.name} * 1.0' for value in values)}]")
    namespace: dict[str, Any] = {"nan": math.nan, "sqrt": math.sqrt, "exp2": math.exp2}
    # The source holds finite numbers of the plan, and names made here.
    exec("\n".join(source), namespace)
    function: GeneratedFunction = namespace["compute"]
    return function


def _written(operand: Any) -> str:
    if isinstance(operand, Symbol):
        return operand.name
    if isinstance(operand, int | float) and math.isfinite(operand):
        return f"({operand!r})"
    raise PlanError(f"a parameter of a feature function is {operand!r}; expected a finite number")
