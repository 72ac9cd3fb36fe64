"""Coupling rules of element-by-element primitives: operands keep and lose channels together."""

from typing import Any

from prunejax.network.at_zero import UNKNOWN, Outcome, outcome
from prunejax.network.labels import Labels
from prunejax.network.program import Op
from prunejax.network.sets import Axis, Shape
from prunejax.network.values import KNOWN, Value, number

NAMES = frozenset(
    (
        *("neg", "sign", "floor", "ceil", "round", "abs", "square", "integer_pow", "is_finite"),
        *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "logistic"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
        *("asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "lgamma", "digamma"),
        *("bessel_i0e", "bessel_i1e", "real", "imag", "conj", "not", "clz", "population_count"),
        *("convert_element_type", "reduce_precision", "stop_gradient", "copy", "copy_p"),
        *("add", "add_any", "sub", "mul", "div", "rem", "max", "min", "pow", "atan2"),
        *("nextafter", "complex", "igamma", "igammac", "igamma_grad_a", "zeta", "polygamma"),
        *("eq", "ne", "lt", "le", "gt", "ge", "eq_to", "le_to", "lt_to", "and", "or", "xor"),
        *("shift_left", "shift_right_logical", "shift_right_arithmetic", "mulhi"),
        *("clamp", "select_n", "regularized_incomplete_beta", "random_gamma_grad"),
    )
)
"""The primitives that work element by element; what they give at a number is computed."""


def rule(
    labels: Labels,
    op: Op,
    inputs: list[Value],
    shapes: list[Shape],
    dtypes: list[Any],
    shape: Shape,
) -> Value:
    """Ties the operands axis by axis; an operand of length 1 or of rank 0 is repeated.

    Args:
      labels: the labels so far.
      op: the operation.
      inputs: its operands.
      shapes: their shapes.
      dtypes: their types.
      shape: the shape of the result.

    Returns:
      The result.
    """
    axes: list[Axis] = []
    at: list[Any] = []
    rank = len(shape)
    for axis, size in enumerate(shape):
        spread = [len(given) == rank and given[axis] == size for given in shapes]
        tied = [value.axes[axis] for value, whole in zip(inputs, spread, strict=True) if whole]
        axes.append(labels.join(tied) if size != 1 else None)
        if axes[-1] is None:
            at.append(None)
            continue
        there = [
            value.there(axis) if whole else value.fill if value.fill is not None else KNOWN
            for value, whole in zip(inputs, spread, strict=True)
        ]
        found = _found(op, dtypes, [number(each) for each in there])
        if not found.finite:
            labels.freeze(axes[-1], "is infinite or no number where parameters are masked")
        at.append(_after(found, there))
    everywhere = _found(op, dtypes, [value.fill for value in inputs])
    return Value(tuple(axes), tuple(at), everywhere.only if not everywhere.null else 0)


def fill(op: Op, dtypes: list[Any], fills: list[Any]) -> Any:
    """The number that every entry of a result is, None if it is not known."""
    found = _found(op, dtypes, fills)
    return 0 if found.null else found.only


def _after(found: Outcome, there: list[Any]) -> Any:
    if found.null:
        return 0
    if found.only is not None:
        return found.only
    return None if any(each is None for each in there) else KNOWN


def _found(op: Op, dtypes: list[Any], operands: list[Any]) -> Outcome:
    known = [operand for operand in operands if operand is not None]
    if known and (len(known) == len(operands) or 0 in known):
        return outcome(op, tuple(dtypes), tuple(operands))
    return UNKNOWN
