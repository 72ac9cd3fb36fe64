"""Multiply-adds of convolutions and matrix products, also inside loops."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from prunejax.network.sets import Shape


class Work(NamedTuple):
    """The multiply-adds of an operation that holds a program of its own.

    Attributes:
      multiply_adds: how many; of a ``scan`` those of all its steps, of a ``while`` those of one
        iteration, of a ``cond`` those of its costliest branch.
      note: what the number leaves out, or "".
    """

    multiply_adds: int
    note: str


def inside(name: str, params: dict[str, Any]) -> Work:
    """Counts what an operation such as ``scan`` does inside.

    Args:
      name: the primitive's name.
      params: its parameters.

    Returns:
      The count; 0 if there is nothing inside.
    """
    if name == "scan":
        work = total(params["jaxpr"])
        return Work(params["length"] * work.multiply_adds, work.note)
    if name == "cond":
        branches = [total(branch) for branch in params["branches"]]
        work = max(branches, key=lambda branch: branch.multiply_adds)
        different = len({branch.multiply_adds for branch in branches}) > 1
        return Work(work.multiply_adds, work.note or ("costliest branch" if different else ""))
    parts = [total(held) for held in _programs(params)]
    count = sum(part.multiply_adds for part in parts)
    note = next((part.note for part in parts if part.note), "")
    if name == "while" and count:
        note = "one iteration"
    return Work(count * _grid(params), note)


def convolution(params: dict[str, Any], left: Shape, kernel: Shape, result: Shape) -> int:
    """Multiply-adds of a convolution; a transposed one multiplies every input by every tap.

    Args:
      params: of ``conv_general_dilated``.
      left: the shape of its input.
      kernel: the shape of its kernel.
      result: the shape of its output.

    Returns:
      The count.
    """
    spec = params["dimension_numbers"].rhs_spec
    if any(step != 1 for step in params["lhs_dilation"]):  # not the zeros between
        terms = math.prod(kernel) // params["feature_group_count"] // kernel[spec[1]]
        return math.prod(left) * terms
    return math.prod(result) * (math.prod(kernel) // kernel[spec[0]])


def product(params: dict[str, Any], left: Shape, result: Shape) -> int:
    """Multiply-adds of a product of matrices.

    Args:
      params: of ``dot_general``.
      left: the shape of its first operand.
      result: the shape of its result.

    Returns:
      The count.
    """
    (contracted, _), _ = params["dimension_numbers"]
    return math.prod(result) * math.prod(left[axis] for axis in contracted)


def total(held: Any) -> Work:
    """Counts what a program does.

    Args:
      held: a jaxpr.

    Returns:
      The count.
    """
    jaxpr = getattr(held, "jaxpr", held)
    count, note = 0, ""
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        shapes = [tuple(getattr(atom.aval, "shape", ())) for atom in equation.invars]
        if name == "conv_general_dilated":
            count += convolution(params, shapes[0], shapes[1], equation.outvars[0].aval.shape)
        elif name == "dot_general":
            count += product(params, shapes[0], equation.outvars[0].aval.shape)
        else:
            work = inside(name, params)
            count, note = count + work.multiply_adds, note or work.note
    return Work(count, note)


def _programs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for held in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(getattr(held, "jaxpr", held), "eqns"):
                yield held


def _grid(params: dict[str, Any]) -> int:
    """The number of programs that a hand-written kernel runs."""
    grid = getattr(params.get("grid_mapping"), "grid", ())
    return math.prod(size for size in grid if isinstance(size, int))
