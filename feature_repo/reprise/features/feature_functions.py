"""Feature functions: the value of a feature at an instant, given the state.

Each is written once, over symbols, and its code is generated in three dialects: Python for single numbers (fold,
predictor), NumPy for arrays of rows (batch, training) and SQL (the pairs' values in batch). NaN, in SQL null, is a
missing value.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.features.exceptions import PlanError

FloatArray = NDArray[np.float64]
Spec = Mapping[str, Any]
"""A feature function in the plan: its kind, the fields that it reads, and its parameters."""
Compute = Callable[[Mapping[str, Mapping[str, "Symbol"]], Mapping[str, "Symbol"]], Iterable["Symbol"]]
"""From the rows' fields, by the names of row and field, and the numbers by name, to the values."""


@dataclass(frozen=True)
class Dialect:
    """How a language writes the operations of symbols besides arithmetic; all but ``above`` keep missing values."""

    ratio: str  # numerator over denominator; missing unless the denominator is positive
    sqrt: str  # square root of a non-negative number
    exp2: str  # two to the power of a number
    at_least_zero: str  # the number, or zero if it is negative
    if_missing: str  # the number, or a default if it is missing
    above: str  # 1.0 if the number is greater than a threshold, else 0.0; 0.0 if it is missing
    argument: str = ""  # the statement that turns None into a missing value
    result: str = "{0}"  # the value as a float
    namespace: Mapping[str, Any] = field(default_factory=dict)  # what the generated code uses


def _array_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


PYTHON = Dialect(
    ratio="{0} / {1} if {1} > 0 else nan",
    sqrt="sqrt({0})",
    exp2="exp2({0})",
    at_least_zero="0.0 if {0} < 0 else {0}",
    if_missing="{1} if {0} != {0} else {0}",
    above="1.0 if {0} > {1} else 0.0",
    argument="if {0} is None: {0} = nan",
    result="{0} * 1.0",  # converts an int in a third of the time of float()
    namespace={"nan": math.nan, "sqrt": math.sqrt, "exp2": math.exp2},
)
NUMPY = Dialect(
    ratio="ratio({0}, {1})",
    sqrt="np.sqrt({0})",
    exp2="np.exp2({0})",
    at_least_zero="np.maximum({0}, 0.0)",
    if_missing="np.where(np.isnan({0}), {1}, {0})",
    above="({0} > {1}).astype(np.float64)",
    namespace={"np": np, "ratio": _array_ratio},
)
SQL = Dialect(
    ratio="CASE WHEN {1} > 0 THEN {0} / {1} END",
    sqrt="sqrt({0})",
    exp2="pow(2.0, {0})",
    at_least_zero="CASE WHEN {0} < 0 THEN 0.0 ELSE {0} END",
    if_missing="coalesce({0}, {1})",
    above="CASE WHEN {0} > {1} THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END",
    result="({0})::DOUBLE",
)


class Expressions:
    """Records what is computed from symbols, as nested expressions of a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def step(self, form: str, *operands: Any) -> Symbol:
        """Record a step over symbols and literals, and return its result."""
        return Symbol(self, f"({form.format(*map(_written, operands))})")


class Tape(Expressions):
    """Records each distinct step once, as an assignment to a variable."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.variables: dict[str, str] = {}  # by the step, in order

    def step(self, form: str, *operands: Any) -> Symbol:
        """Record a step over symbols and literals, and return the variable of its result."""
        expression = super().step(form, *operands).text
        return Symbol(self, self.variables.setdefault(expression, f"v{len(self.variables)}"))


class Symbol:
    """A number that is known only when the generated code runs."""

    __slots__ = ("expressions", "text")

    def __init__(self, expressions: Expressions, text: str) -> None:
        self.expressions = expressions
        self.text = text

    def __sub__(self, other: Any) -> Symbol:
        return self.expressions.step("{0} - {1}", self, other)

    def __mul__(self, other: Any) -> Symbol:
        return self.expressions.step("{0} * {1}", self, other)

    def __truediv__(self, other: Any) -> Symbol:
        return self.expressions.step("{0} / {1}", self, other)

    def __neg__(self) -> Symbol:
        return self.expressions.step("-{0}", self)

    def __bool__(self) -> bool:
        raise TypeError("a feature function must not branch: it uses an operation for that")

    def __getattr__(self, operation: str) -> Callable[..., Symbol]:
        """Return one of the operations of ``Dialect``."""
        form = getattr(self.expressions.dialect, operation)
        return lambda *others: self.expressions.step(form, self, *others)


def _std(n: Symbol, m2: Symbol) -> Symbol:
    """Sample standard deviation, ddof = 1, as pandas and so Featuretools have it."""
    return m2.ratio(n - 1).sqrt()


def _since(t: Symbol, instant: Symbol, *, unit_us: int) -> Symbol:
    """Time since an instant; zero for a request from before it."""
    return ((t - instant) / unit_us).at_least_zero()


def _between(first: Symbol, last: Symbol, n: Symbol, *, unit_us: int) -> Symbol:
    """Average time between consecutive events: from first to last, divided by their number less one."""
    return ((last - first) / unit_us).ratio(n - 1)


def _decayed(t: Symbol, value: Symbol, reference: Symbol, *, half_life_us: int) -> Symbol:
    """Value × 2^(−elapsed ÷ half-life); zero when there was no event."""
    half_lives = ((t - reference) / half_life_us).at_least_zero()
    return (value * (-half_lives).exp2()).if_missing(0.0)


FUNCTIONS: Mapping[str, Callable[..., Symbol]] = {
    "value": lambda field: field,
    "ratio": lambda numerator, denominator: numerator.ratio(denominator),
    "std": _std,
    "since": _since,
    "between": _between,
    "decayed": _decayed,
    "above": lambda of, *, threshold: of.above(threshold),
}
"""By kind. ``t`` is the instant in microseconds. The other positional arguments are fields, or feature functions."""

_SIGNATURES = {kind: inspect.getfullargspec(function) for kind, function in FUNCTIONS.items()}


def evaluate(spec: Spec, state: Mapping[str, Symbol], t: Symbol | None = None) -> Symbol:
    """Return the value of a plan's ``spec`` from the state's fields by name, at the instant ``t``.

    Raises:
        PlanError: The kind is unknown, a parameter or field is missing, a parameter is no finite number, or the
            function needs an instant and there is none.
    """

    def operand(entry: Any) -> Symbol:
        return evaluate(entry, state, t) if isinstance(entry, Mapping) else state[entry]

    operands, parameters = _arguments(spec)
    if t is None and "t" in operands:
        raise PlanError(f"{spec['kind']} depends on the instant, so it cannot be aggregated over pairs")
    try:
        values = [t if name == "t" else operand(spec[name]) for name in operands]
        numbers = {name: spec[name] for name in parameters}
    except (KeyError, TypeError) as error:
        raise PlanError(
            f"finish {dict(spec)}: {error} is neither a parameter nor a field of the state"
        ) from None
    return FUNCTIONS[spec["kind"]](*values, **numbers)


def spec_fields(spec: Spec) -> set[str]:
    """Return the fields of the state that a feature function reads."""
    operands, _ = _arguments(spec)
    entries = [spec[name] for name in operands if name != "t"]
    return {f for each in entries for f in (spec_fields(each) if isinstance(each, Mapping) else {each})}


def feature_sql(spec: Spec, column: Callable[[str], str]) -> str:
    """Return the SQL of a feature function over the columns of its fields.

    Raises:
        PlanError: The feature depends on the instant.
    """
    expressions = Expressions(SQL)
    state = {name: Symbol(expressions, column(name)) for name in spec_fields(spec)}
    return SQL.result.format(evaluate(spec, state).text)


def generate_function(
    dialect: Dialect, rows: Mapping[str, Sequence[str]], numbers: Sequence[str], compute: Compute
) -> Callable[..., list[Any]]:
    """Return the function of the rows and numbers that computes what ``compute`` does, such as a feature vector.

    It is straight-line Python, in which a repeated step is computed once. This saves the calls and look-ups that take
    most of the time of a single request. The steps and their order stay the same, so results are bit-identical.
    ``rows`` has the names of each row's fields, in order, by the row's name.

    Raises:
        PlanError: A parameter of a feature function is no finite number.
    """
    tape = Tape(dialect)
    symbols = {
        row: {name: Symbol(tape, f"{row}{at}") for at, name in enumerate(names)}
        for row, names in rows.items()
    }
    values = [value.text for value in compute(symbols, {name: Symbol(tape, name) for name in numbers})]
    steps = [f"{variable} = {step}" for step, variable in tape.variables.items()]
    steps.append(f"return [{', '.join(map(dialect.result.format, values))}]")
    used = set(re.findall(r"\w+", " ".join(steps)))
    source = []
    for row, fields in symbols.items():
        variables = [symbol.text for symbol in fields.values()]
        if variables:
            source.append(f"{', '.join(variables)}, = {row}")
        if dialect.argument:
            source += [dialect.argument.format(each) for each in variables if each in used]
    namespace = dict(dialect.namespace)
    # The source holds finite numbers of the plan, and names made here.
    exec("\n    ".join([f"def compute({', '.join([*rows, *numbers])}):", *source, *steps]), namespace)  # noqa: S102
    function: Callable[..., list[Any]] = namespace["compute"]
    return function


def _arguments(spec: Spec) -> tuple[list[str], list[str]]:
    """Return the names of the function's operands and of its parameters."""
    signature = _SIGNATURES.get(spec.get("kind", ""))
    if signature is None:
        raise PlanError(f"unknown finish kind {spec.get('kind')!r}; known are {', '.join(FUNCTIONS)}")
    return signature.args, signature.kwonlyargs


def double(number: float) -> str:
    """Return an SQL literal of type DOUBLE; without an exponent it is a decimal to Spark."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"


def _written(operand: Any) -> str:
    if isinstance(operand, Symbol):
        return operand.text
    if isinstance(operand, int | float) and math.isfinite(operand):
        return f"({operand!r})" if isinstance(operand, int) else f"({double(operand)})"
    raise PlanError(f"a parameter of a feature function is {operand!r}; expected a finite number")
