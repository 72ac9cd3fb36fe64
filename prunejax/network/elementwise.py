"""Coupling rules of element-by-element primitives: their operands keep and lose together."""

from prunejax.network.labels import Labels, Shape
from prunejax.network.program import Op
from prunejax.network.values import Value

KEEPS_ZERO = frozenset(
    (
        "neg",
        "sign",
        "floor",
        "ceil",
        "round",
        "expm1",
        "log1p",
        "tanh",
        "sin",
        "tan",
        "asin",
        "atan",
        "sinh",
        "asinh",
        "atanh",
        "sqrt",
        "cbrt",
        "abs",
        "erf",
        "square",
        "convert_element_type",
        "stop_gradient",
        "copy",
        "copy_p",
        "real",
        "imag",
        "reduce_precision",
    )
)
MOVES_ZERO = frozenset(
    (
        "exp",
        "exp2",
        "logistic",
        "cos",
        "cosh",
        "acos",
        "erfc",
        "not",
        "is_finite",
        "erf_inv",
        "clamp",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "or",
        "xor",
        "shift_left",
        "shift_right_logical",
        "shift_right_arithmetic",
        "nextafter",
    )
)
POLES = frozenset(("log", "rsqrt", "pow", "acosh", "lgamma", "digamma"))
ALL_ZERO = frozenset(("add", "sub", "max", "min", "add_any", "select_n"))
ANY_ZERO = frozenset(("mul", "and"))
QUOTIENTS = frozenset(("div", "rem", "atan2"))

NAMES = KEEPS_ZERO | MOVES_ZERO | POLES | ALL_ZERO | ANY_ZERO | QUOTIENTS | {"integer_pow"}


def rule(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape], shape: Shape) -> Value:
    """Ties the operands axis by axis; an operand of length 1 or of rank 0 is repeated.

    Args:
        labels: the labels so far.
        op: the operation, its name one of `NAMES`.
        inputs: its operands.
        shapes: their shapes.
        shape: the shape of the result.

    Returns:
        The result.
    """
    axes, zero = [], []
    for axis, size in enumerate(shape):
        spread = [len(given) == len(shape) and given[axis] == size for given in shapes]
        tied = [value.axes[axis] for value, whole in zip(inputs, spread, strict=True) if whole]
        axes.append(labels.join(tied) if size != 1 else None)
        zeros = [
            value.vanishes(axis) if whole else value.null
            for value, whole in zip(inputs, spread, strict=True)
        ]
        if _divides_by_zero(op, zeros):
            labels.freeze(axes[-1])
        zero.append(_stays_zero(op, zeros))
    return Value(tuple(axes), tuple(zero), _stays_zero(op, [value.null for value in inputs]))


def _stays_zero(op: Op, zeros: list[bool]) -> bool:
    if op.name in KEEPS_ZERO:
        return zeros[0]
    if op.name == "integer_pow":
        return zeros[0] and op.params["y"] > 0
    if op.name in ALL_ZERO:
        return all(zeros[1:] if op.name == "select_n" else zeros)
    if op.name in ANY_ZERO:
        return any(zeros)
    if op.name in QUOTIENTS:
        return zeros[0] and not zeros[1]
    return False


def _divides_by_zero(op: Op, zeros: list[bool]) -> bool:
    if op.name in QUOTIENTS:
        return zeros[1]
    return (op.name in POLES or (op.name == "integer_pow" and op.params["y"] < 0)) and zeros[0]
