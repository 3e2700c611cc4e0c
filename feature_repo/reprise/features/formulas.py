"""Formulas of request-time inputs: arithmetic over other features by name, such as ``spend / (visits + 2)``.

A formula is a Python expression of names, numbers, ``+ - * / // %``, parentheses and the functions of ``FUNCTIONS``.
What is computed from a missing number is missing. So is a quotient unless its denominator is positive. The right side
of ``//`` and ``%`` is a positive number.
"""

import ast
from collections.abc import Mapping

from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import Symbol

FUNCTIONS = {
    "at_least_zero": 1,  # the number, or zero if it is negative
    "if_missing": 2,  # the first number, or the second if it is missing
}
"""The number of arguments of each function; ``Dialect`` has how each language writes it."""

_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "{0} + {1}",
    ast.Sub: "{0} - {1}",
    ast.Mult: "{0} * {1}",
    ast.FloorDiv: "{0} // {1}",
    ast.Mod: "{0} % {1}",
}


def formula_names(formula: str) -> set[str]:
    """Return the names that a formula reads, in any order.

    Raises:
        PlanError: It is no Python expression.
    """
    names = {node.id for node in ast.walk(_parse(formula)) if isinstance(node, ast.Name)}
    return names - set(FUNCTIONS)


def evaluate_formula(formula: str, values: Mapping[str, Symbol]) -> Symbol:
    """Return the value of a formula, given that of each name.

    Raises:
        PlanError: It is no formula, or reads a name without a value; the message has the part at fault.
    """

    def step(form: str, *parts: ast.expr) -> Symbol:
        operands = [value(part) for part in parts]
        symbols = [each for each in operands if isinstance(each, Symbol)]
        if not symbols:
            raise PlanError(f"formula {formula!r}: {' and '.join(map(ast.unparse, parts))} read no input")
        expressions = symbols[0].expressions
        return expressions.step(getattr(expressions.dialect, form, form), *operands)

    def value(part: ast.expr) -> Symbol | float:
        match part:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -float(number)
            case ast.Name(id=name) if name in values:
                return values[name]
            case ast.Name(id=name):
                raise PlanError(f"formula {formula!r}: {name!r} is no feature before it")
            case ast.BinOp(op=ast.Div()):
                return step("ratio", part.left, part.right)
            case ast.BinOp(op=ast.FloorDiv() | ast.Mod()) if not _is_positive(part.right):
                raise PlanError(f"formula {formula!r}: {ast.unparse(part.right)} must be a positive number")
            case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
                return step(_OPERATORS[type(operator)], part.left, part.right)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if FUNCTIONS.get(name) == len(
                arguments
            ):
                return step(name, *arguments)
            case _:
                raise PlanError(f"formula {formula!r}: {ast.unparse(part)!r} is not allowed")

    try:
        result = value(_parse(formula))
    except (RecursionError, OverflowError) as error:
        raise PlanError(f"formula {formula[:60]!r}…: {error}") from None
    if not isinstance(result, Symbol):
        raise PlanError(f"formula {formula!r} reads no input")
    return result


def _parse(formula: str) -> ast.expr:
    try:
        return ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PlanError(f"formula {formula!r} is no expression: {error}") from None


def _is_positive(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant) and isinstance(part.value, int | float) and part.value > 0
