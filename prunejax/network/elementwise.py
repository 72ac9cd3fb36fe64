"""Coupling rules of element-by-element primitives: operands keep and lose channels together."""

from typing import Any

from prunejax.network.at_zero import Outcome, outcome
from prunejax.network.labels import Labels, Shape
from prunejax.network.program import Op
from prunejax.network.values import Value

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
"""The primitives that work element by element; what they give at 0 is computed (``at_zero``)."""


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
    axes, zero = [], []
    for axis, size in enumerate(shape):
        spread = [len(given) == len(shape) and given[axis] == size for given in shapes]
        tied = [value.axes[axis] for value, whole in zip(inputs, spread, strict=True) if whole]
        axes.append(labels.join(tied) if size != 1 else None)
        outcome = _found(
            op,
            dtypes,
            inputs,
            [
                value.vanishes(axis) if whole else value.null
                for value, whole in zip(inputs, spread, strict=True)
            ],
        )
        if not outcome.finite:  # a pole: what is removed does not go away in the masked network
            labels.freeze(axes[-1])
        zero.append(outcome.null)
    everywhere = _found(op, dtypes, inputs, [value.null for value in inputs])
    return Value(tuple(axes), tuple(zero), everywhere.null, everywhere.only)


def _found(op: Op, dtypes: list[Any], inputs: list[Value], zeros: list[bool]) -> Outcome:
    operands = tuple(0 if zero else value.fill for value, zero in zip(inputs, zeros, strict=True))
    if any(zeros) or all(operand is not None for operand in operands):
        return outcome(op, tuple(dtypes), operands)
    return Outcome(null=False, finite=True, only=None)
