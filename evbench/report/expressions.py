"""Expressions over quantities that are known to some digits, and texts with such expressions in them. Pure."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from evbench.report.units import format_bytes, format_ratio, format_ratios, format_seconds

TEMPLATE = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
"""`{expression}` or `{expression:format}`."""


@dataclass(frozen=True)
class Quantity:
    """A value that is not negative, and between what it may lie: by rounding, or by a confidence interval.

    >>> evaluate("a * 2 + (b | 4)", {"a": Quantity(1, 0.5, 1.5), "b": Quantity(3)})
    Quantity(value=5.5, low=4.0, high=7.0)
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.low):
            object.__setattr__(self, "low", self.value)
            object.__setattr__(self, "high", self.value)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.value + other.value, self.low + other.low, self.high + other.high)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.value - other.value, self.low - other.high, self.high - other.low)

    def __mul__(self, other: Quantity) -> Quantity:
        return Quantity(self.value * other.value, self.low * other.low, self.high * other.high)

    def __truediv__(self, other: Quantity) -> Quantity:
        """Infinite where the other may be zero."""
        value, high = (up / down if down > 0 else math.inf for up, down in ((self.value, other.value), (self.high, other.low)))
        return Quantity(value, self.low / other.high if other.high > 0 else math.inf, high)

    def __or__(self, other: Quantity) -> Quantity:
        """From the one to the other."""
        return Quantity((self.value + other.value) / 2, min(self.low, other.low), max(self.high, other.high))

    def meets(self, other: Quantity) -> bool:
        return self.low <= other.high * (1 + 1e-9) and other.low <= self.high * (1 + 1e-9)


def rounded(number: Decimal) -> Quantity:
    """What a number may be that is written with these digits, and is not negative.

    >>> rounded(Decimal("0.5")), rounded(Decimal("0.50"))
    (Quantity(value=0.5, low=0.45, high=0.55), Quantity(value=0.5, low=0.495, high=0.505))
    """
    value, half = float(number), 0.5 * 10.0 ** int(number.as_tuple().exponent)
    return Quantity(value, max(0.0, value - half), value + half)


Known = Mapping[str, Quantity | str]
"""Name -> what is known of it."""
_OPERATIONS: dict[type[ast.operator], Callable[[Quantity, Quantity], Quantity]] = {
    ast.Add: Quantity.__add__,
    ast.Sub: Quantity.__sub__,
    ast.Mult: Quantity.__mul__,
    ast.Div: Quantity.__truediv__,
    ast.BitOr: Quantity.__or__,
}


def names_in(text: str) -> set[str]:
    """Of an expression, or of all in a template."""
    expressions = [match[1] for match in TEMPLATE.finditer(text)] or [text]
    return {
        node.id for expression in expressions for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if isinstance(node, ast.Name)
    }


def evaluate(expression: str, known: Known) -> Quantity | str:
    """Raises KeyError for a name that is not known, and ValueError for what is no arithmetic."""
    tree = ast.parse(expression.strip(), mode="eval").body
    return known[tree.id] if isinstance(tree, ast.Name) else _number(tree, known)


def _number(node: ast.expr, known: Known) -> Quantity:
    match node:
        case ast.BinOp() if type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](_number(node.left, known), _number(node.right, known))
        case ast.Constant(value=int() | float() as value):
            return Quantity(float(value))
        case ast.Name() if isinstance(found := known[node.id], Quantity):
            return found
    raise ValueError(f"no arithmetic of numbers: {ast.unparse(node)}")


def fill(template: str, known: Known, texts: Mapping[str, str]) -> str | None:
    """A template with its values. None if one of them is not known.

    Args:
        texts: Name -> how it is written where no format is given.
    """
    found = [(match[1].strip(), match[2]) for match in TEMPLATE.finditer(template)]
    if not all(names_in(expression) <= known.keys() for expression, _ in found):
        return None
    return TEMPLATE.sub(lambda match: _written(match[1].strip(), match[2], known, texts), template)


def _written(expression: str, form: str | None, known: Known, texts: Mapping[str, str]) -> str:
    value = evaluate(expression, known)
    if form is None or isinstance(value, str):
        return texts.get(expression, str(value))
    return FORMS[form](value) if form in FORMS else format(value.value, form)


def _times(found: Quantity) -> str:
    unsure = ", which includes 1" if found.low <= 1 <= found.high else ""
    return f"{format_ratio(found.value)} ({format_ratios(found.low, found.high)}{unsure})"


FORMS: dict[str, Callable[[Quantity], str]] = {
    "time": lambda found: format_seconds(found.value),
    "bytes": lambda found: format_bytes(round(found.value)),
    "rounded": lambda found: f"{found.value:.3g}x ({found.low:.3g} - {found.high:.3g} by rounding)",
    "times": _times,
}
"""Formats of our own; all others are Python's."""
