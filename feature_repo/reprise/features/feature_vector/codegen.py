"""Code generation: one Python function that computes many values, such as a whole feature vector.

The steps of feature functions are compiled as straight-line Python, where a repeated step is computed once. This
saves the calls and look-ups that take most of the time of a single request. The steps and their order stay the same,
so results are bit-identical.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from reprise.features.feature_functions import Dialect, Expressions, Symbol

Compute = Callable[[Mapping[str, Mapping[str, Symbol]], Mapping[str, Symbol]], Iterable[Symbol]]
"""From the rows' fields, by the names of row and field, and the numbers by name, to the values."""


class Tape(Expressions):
    """Records each distinct step once, as an assignment to a variable."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._names: dict[str, str] = {}
        self.used: set[str] = set()

    def step(self, form: str, *operands: Any) -> Symbol:
        """Record a step over symbols and literals, and return the variable of its result."""
        self.used |= {operand.text for operand in operands if isinstance(operand, Symbol)}
        expression = super().step(form, *operands).text
        return Symbol(self, self._names.setdefault(expression, f"v{len(self._names)}"))

    def lines(self) -> list[str]:
        """Return the steps as assignments, in order."""
        return [f"{name} = {expression}" for expression, name in self._names.items()]


def generate_function(
    dialect: Dialect, rows: Mapping[str, Sequence[str]], numbers: Sequence[str], compute: Compute
) -> Callable[..., list[Any]]:
    """Return the function of the rows and numbers that computes what ``compute`` does.

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
    used = tape.used.union(values)
    source = [f"def compute({', '.join([*rows, *numbers])}):"]
    for row, fields in symbols.items():
        variables = [symbol.text for symbol in fields.values()]
        if variables:
            source.append(f"    {', '.join(variables)}, = {row}")
        if dialect.argument:
            source += [f"    {dialect.argument.format(each)}" for each in variables if each in used]
    source += [f"    {line}" for line in tape.lines()]
    source.append(f"    return [{', '.join(map(dialect.result.format, values))}]")
    namespace = dict(dialect.namespace)
    # The source holds finite numbers of the plan, and names made here.
    exec("\n".join(source), namespace)
    function: Callable[..., list[Any]] = namespace["compute"]
    return function
