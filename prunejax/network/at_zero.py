"""What an element-by-element primitive gives where some operands are 0: found by evaluating it."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prunejax.network.program import Op

PROBES = (-2.5, -1.0, -0.75, 0.5, 1.0, 3.0)
"""Numbers that stand for an operand of which nothing is known: a pole among them shows."""

WHOLE_PROBES = (-3, -1, 1, 2, 5)

MOST_ROWS = 2**16
"""No primitive is evaluated for more combinations of numbers: three unknown operands have 11^3."""


class Outcome(NamedTuple):
    """The results of a primitive over all probes.

    Attributes:
      null: whether all results are 0. Unknown operands are also tried as 0, as huge numbers and as
        the known numbers; NaN is allowed there, because the masked network has it as well.
      finite: whether no result is infinite or NaN while unknown operands are ordinary numbers.
      only: the one result, if every operand was known; None otherwise.
    """

    null: bool
    finite: bool
    only: Any


UNKNOWN = Outcome(null=False, finite=True, only=None)
FEARED = Outcome(null=False, finite=False, only=None)
"""Nothing is known, not even that there is no pole."""


def outcome(op: Op, dtypes: tuple[Any, ...], operands: tuple[Any, ...]) -> Outcome:
    """Evaluates a primitive entry by entry.

    Args:
      op: an operation whose primitive works element by element.
      dtypes: of its operands.
      operands: for each of them its value, or None where it is not known.

    Returns:
      The outcome.
    """
    if all(operand is None for operand in operands):
        return UNKNOWN
    params = tuple(sorted(op.params.items()))
    try:
        return _evaluated(op.primitive, params, dtypes, operands)
    except TypeError:  # parameters that cannot be hashed
        return _evaluated.__wrapped__(op.primitive, params, dtypes, operands)


@functools.lru_cache(maxsize=4096)
def _evaluated(
    primitive: Any, params: Any, dtypes: tuple[Any, ...], operands: tuple[Any, ...]
) -> Outcome:
    if not all(isinstance(dtype, np.dtype) for dtype in dtypes):  # keys of random numbers
        return UNKNOWN
    if primitive.name == "select_n":
        return _selected(dtypes, operands)
    ordinary = [
        _probes(dtype) if operand is None else (operand,)
        for dtype, operand in zip(dtypes, operands, strict=True)
    ]
    special = [
        (*probes, 0, *_limits(dtype), *_known(dtype, dtypes, operands))
        if operand is None
        else probes
        for dtype, operand, probes in zip(dtypes, operands, ordinary, strict=True)
    ]
    if math.prod(map(len, special)) > MOST_ROWS:
        return FEARED
    rows = [*itertools.product(*ordinary)]
    count = len(rows)
    rows += itertools.product(*special)
    # in a program that is being traced too the numbers are computed now; NaN is an answer here
    with (
        jax.ensure_compile_time_eval(),
        jax.debug_nans(False),
        jax.debug_infs(False),
        np.errstate(all="ignore"),
    ):
        columns = [
            jnp.asarray(np.asarray([np.asarray(row[index]).astype(dtype) for row in rows], dtype))
            for index, dtype in enumerate(dtypes)
        ]
        outputs = np.asarray(primitive.bind(*columns, **dict(params)))
        numbers = outputs.astype(np.complex64 if outputs.dtype.itemsize < 8 else np.complex128)
    missing = np.isnan(numbers)
    finite = bool(np.isfinite(numbers[:count]).all())
    null = not np.any(outputs[:count]) and not np.any(outputs[count:][~missing[count:]])
    known = all(operand is not None for operand in operands)
    return Outcome(null, finite, outputs[0].item() if known else None)


def _selected(dtypes: tuple[Any, ...], operands: tuple[Any, ...]) -> Outcome:
    """The outcome of ``select_n``: of one case, or of any case where the choice is not known."""
    choice, *cases = operands
    if choice is not None:
        cases = [cases[min(max(int(choice), 0), len(cases) - 1)]]
    with np.errstate(all="ignore"):
        values = [None if case is None else np.asarray(case).astype(dtypes[1]) for case in cases]
    null = all(value is not None and not np.any(value) for value in values)
    finite = all(
        value is None or bool(np.isfinite(value.astype(np.complex128))) for value in values
    )
    known = all(operand is not None for operand in operands)
    return Outcome(null, finite, values[0].item() if known and values[0] is not None else None)


def _known(dtype: Any, dtypes: tuple[Any, ...], operands: tuple[Any, ...]) -> list[Any]:
    """The known operands of the same type."""
    pairs = zip(dtypes, operands, strict=True)
    return [known for other, known in pairs if known is not None and other == dtype]


def _limits(dtype: Any) -> tuple[Any, ...]:
    if dtype == np.bool_:
        return ()
    if jnp.issubdtype(dtype, jnp.inexact):
        largest = float(jnp.finfo(dtype).max)
        return (-np.inf, -largest, largest, np.inf)
    return (jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)


def _probes(dtype: Any) -> tuple[Any, ...]:
    if dtype == np.bool_:
        return (False, True)
    if jnp.issubdtype(dtype, jnp.inexact):
        return PROBES
    return tuple(n for n in WHOLE_PROBES if n > 0 or not jnp.issubdtype(dtype, jnp.unsignedinteger))
