"""One function that finishes a whole request, traced from the finishes themselves.

A finish is written once, over a handful of operations. Called with symbols in place of numbers, it says step
by step what it computes. Written down as Python, a step that repeats only once, these steps are a function
without the calls and look-ups that cost a single request most of its time; they are the same steps on the same
numbers, so its results are the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from reprise.features.exceptions import PlanError

Traced = Callable[..., list[float]]
"""Takes the states of user, product and pair, the instant, the amount and whether it is a purchase."""


class Symbol:
    """A number that is not known yet."""

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
        raise TypeError("a finish must not branch by itself: it uses an operation for that")


class Tape:
    """The steps so far; as ``Operations``, it is what finishes are bound to.

    Attributes:
        used: Names of the symbols that steps were made of.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.used: set[str] = set()

    def step(self, form: str, *operands: Any) -> Symbol:
        """Note a step over symbols and literals, and return its result."""
        self.used |= {operand.name for operand in operands if isinstance(operand, Symbol)}
        expression = form.format(*map(_written, operands))
        return Symbol(self, self._names.setdefault(expression, f"v{len(self._names)}"))

    def lines(self) -> list[str]:
        """Return the steps as assignments, in order."""
        return [f"{name} = {expression}" for expression, name in self._names.items()]

    def ratio(self, numerator: Any, denominator: Any) -> Symbol:
        """Divide; NaN where the denominator is not positive."""
        return self.step("{0} / {1} if {1} > 0 else nan", numerator, denominator)

    def sqrt(self, value: Any) -> Symbol:
        """Square root of a non-negative number."""
        return self.step("sqrt({})", value)

    def exp2(self, value: Any) -> Symbol:
        """Two to the power of ``value``."""
        return self.step("exp2({})", value)

    def at_least_zero(self, value: Any) -> Symbol:
        """Replace negative numbers by zero."""
        return self.step("0.0 if {0} < 0 else {0}", value)

    def if_missing(self, value: Any, default: float) -> Symbol:
        """Replace NaN by ``default``."""
        return self.step("{1} if {0} != {0} else {0}", value, default)

    def above(self, value: Any, threshold: float) -> Symbol:
        """Return 1.0 where ``value`` is greater than ``threshold``, else 0.0; 0.0 for NaN."""
        return self.step("1.0 if {} > {} else 0.0", value, threshold)


def trace(
    fields: Sequence[int], finish: Callable[[Tape, Sequence[Sequence[Symbol]], Symbol], list[Symbol]]
) -> Traced:
    """Return the function that computes what ``finish`` does.

    Args:
        fields: How many fields the states of user, product and pair have.
        finish: Returns the values, in order, from a tape, four rows (the states, and the request's amount and
            whether it is a purchase) and the instant.

    Raises:
        PlanError: A parameter of a finish is no finite number.
    """
    tape = Tape()
    states = ("user", "product", "pair")
    rows = [_symbols(tape, state, count) for state, count in zip(states, fields, strict=True)]
    given = [Symbol(tape, "amount"), Symbol(tape, "is_purchase")]
    values = finish(tape, [*rows, given], Symbol(tape, "t"))
    used = tape.used | {value.name for value in values}
    source = ["def finish(user, product, pair, t, amount, is_purchase):"]
    for state, row in zip(states, rows, strict=True):
        if row:
            source.append(f"    {', '.join(symbol.name for symbol in row)}, = {state}")
        source += [f"    if {s.name} is None: {s.name} = nan" for s in row if s.name in used]
    source += [f"    {line}" for line in tape.lines()]
    # Times 1.0 makes floats of whole numbers, in a third of the time of float().
    source.append(f"    return [{', '.join(f'{value.name} * 1.0' for value in values)}]")
    namespace: dict[str, Any] = {"nan": math.nan, "sqrt": math.sqrt, "exp2": math.exp2}
    # Nothing of the plan is in the source but finite numbers; names are made here.
    exec("\n".join(source), namespace)
    function: Traced = namespace["finish"]
    return function


def _symbols(tape: Tape, state: str, count: int) -> list[Symbol]:
    return [Symbol(tape, f"{state}{at}") for at in range(count)]


def _written(operand: Any) -> str:
    if isinstance(operand, Symbol):
        return operand.name
    if isinstance(operand, int | float) and math.isfinite(operand):
        return f"({operand!r})"
    raise PlanError(f"a parameter of a finish is {operand!r}; expected a finite number")
