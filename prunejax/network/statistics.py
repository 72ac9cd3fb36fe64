"""Running statistics among variables without collections, recognised by their use."""

import math
from typing import Any

from prunejax.network.program import Op, Program

SHAPES = frozenset(
    ("broadcast_in_dim", "reshape", "squeeze", "transpose", "convert_element_type", "copy")
)
ROOTS = frozenset(("sqrt", "rsqrt"))


def running(program: Program, paths: dict[int, str]) -> frozenset[str]:
    """Means and variances that a normalisation reads.

    A variance is a leaf whose root is taken with nothing but a constant added to it. A mean is a
    leaf of the same size that is subtracted from what that root scales, ``(x - mean) / root``, or
    that the root scales before it is subtracted, ``x s - mean s``. A normalisation has both or
    none.

    Args:
      program: the program.
      paths: the paths of those of its inputs that are variables.

    Returns:
      The paths.
    """
    return _Search(program, paths).running()


class _Search:
    def __init__(self, program: Program, paths: dict[int, str]) -> None:
        self._program = program
        self._leaf = dict(paths)  # values that are a leaf, its shape and type aside
        self._raised = dict(paths)  # those that are a leaf and a constant
        self._fed = {number for number in program.inputs if number not in paths}
        self._scales: dict[int, frozenset[str]] = {}  # made of the roots of these leaves
        self._less: dict[int, str] = {}  # an input less this leaf, or this leaf's negative
        self._scaled: dict[int, tuple[str, frozenset[str]]] = {}  # a leaf times a scale
        self._pairs: set[tuple[str, str]] = set()
        self._sizes = {path: program.shapes[number] for number, path in paths.items()}

    def running(self) -> frozenset[str]:
        for op in self._program.flat():
            if self._fed.intersection(op.inputs):
                self._fed.update(op.outputs)
            self._step(op, op.outputs[0] if op.outputs else -1)
        return frozenset(path for pair in self._pairs for path in pair)

    def _step(self, op: Op, output: int) -> None:
        reads = op.inputs
        if op.name in SHAPES:
            tables: list[dict[int, Any]] = [self._leaf, self._raised, self._scales, self._less]
            tables.append(self._scaled)
            for known in tables:
                if reads[0] in known:
                    known[output] = known[reads[0]]
            return
        variables = [n for n in reads if n not in self._program.constants]
        if op.name in ("add", "max") and len(variables) == 1:
            (number,) = variables
            if number in self._raised:
                self._raised[output] = self._raised[number]
        scaled = op.name in ("mul", "div")
        # a factor that corrects for the first steps
        if scaled and output not in self._fed and reads[0] in self._leaf and self._single(reads[1]):
            self._leaf[output] = self._raised[output] = self._leaf[reads[0]]
        scales = frozenset[str]().union(*(self._scales.get(n, frozenset()) for n in reads))
        if op.name in ROOTS and reads[0] in self._raised:
            scales = frozenset((self._raised[reads[0]],))
        if scales and output not in self._fed:
            self._scales[output] = scales
        for number in reads:
            if scaled and output in self._fed and number in self._less:
                self._less[output] = self._less[number]
        match op.name:
            case "neg" if reads[0] in self._leaf:
                self._less[output] = self._leaf[reads[0]]
            case "sub":
                if reads[1] in self._leaf:
                    self._less[output] = self._leaf[reads[1]]
                if reads[1] in self._scaled:
                    self._pair(*self._scaled[reads[1]])
            case "mul" | "div" if scales:
                for number in reads:
                    if number in self._less:
                        self._pair(self._less[number], scales)
                    elif number in self._leaf and output not in self._fed:
                        self._scaled[output] = (self._leaf[number], scales)

    def _single(self, number: int) -> bool:
        return math.prod(self._program.shapes[number]) == 1

    def _pair(self, mean: str, variances: frozenset[str]) -> None:
        for variance in variances - {mean}:
            if self._sizes[variance] == self._sizes[mean]:
                self._pairs.add((mean, variance))
