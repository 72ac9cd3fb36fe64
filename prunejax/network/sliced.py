"""The forward function of a network without its removed channels."""

from typing import Any

import jax
import numpy as np
from jax import core
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network import traced
from prunejax.network.coupling import Coupling
from prunejax.network.resizing import Resized
from prunejax.network.structure import Structure


class Sliced:
    """Evaluates a traced function on variables from which channels are missing.

    Args:
      network: the network.
      kept: for each leaf that loses channels, by path: for each axis which indices stay.
    """

    def __init__(self, network: Structure, kept: dict[str, list[np.ndarray]]) -> None:
        self._network = network
        self._kept = kept
        self._programs: dict[Any, tuple[Resized, Any]] = {}

    def __call__(self, variables: PyTree, x: PyTree) -> PyTree:
        """Applies the smaller network.

        Args:
          variables: as ``Plan.slice`` returns them.
          x: the input, of any batch size that the traced function takes.

        Returns:
          What the traced function returns.

        Raises:
          ValueError: the variables do not have the plan's structure and shapes.
        """
        leaves = jax.tree_util.tree_leaves_with_path(variables)
        paths = list(self._network.leaves)
        if [name(path) for path, _ in leaves] != paths:
            raise ValueError(
                f"the sliced function takes the leaves {', '.join(paths[:12])}, ..., got "
                f"{', '.join(name(path) for path, _ in leaves[:12])}, ..."
            )
        full = []
        for path, (_, leaf) in zip(paths, leaves, strict=True):
            shape = self._network.leaves[path].shape
            wanted = tuple(int(axis.sum()) for axis in self._kept.get(path, [])) or tuple(shape)
            if tuple(np.shape(leaf)) != wanted:
                raise ValueError(
                    f"{path!r} must have the shape that the plan gives it, {wanted}, got "
                    f"{tuple(np.shape(leaf))}"
                )
            full.append(jax.ShapeDtypeStruct(shape, leaf.dtype))
        full = jax.tree.unflatten(jax.tree.structure(variables), full)
        program, structure = self._program(full, traced.describe(x))
        inputs = [leaf for _, leaf in leaves] + jax.tree.leaves(x)
        return jax.tree.unflatten(structure, program.run(inputs))

    def _program(self, variables: PyTree, x: PyTree) -> tuple[Resized, Any]:
        key = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves((variables, x)))
        if key not in self._programs:
            again = traced.make(self._network.apply_fn, variables, x)
            made = resized(again, again.coupling(), self._kept), again.structure
            if any(isinstance(leaf, core.Tracer) for leaf in again.program.constants.values()):
                return made
            self._programs[key] = made
        return self._programs[key]


def resized(
    function: traced.Traced, coupling: Coupling, kept: dict[str, list[np.ndarray]]
) -> Resized:
    """The program of a function without some channels of its variables.

    Args:
      function: the traced function.
      coupling: its labels.
      kept: for each leaf that loses channels, by path: for each axis which indices stay.

    Returns:
      The program.

    Raises:
      ValueError: channels that are to go cannot be removed here.
    """
    labels = coupling.labels
    gone, stays = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for number, path in function.paths.items():
        for axis, left in zip(coupling.axes(number), kept.get(path, []), strict=False):
            if axis is not None:
                gone[labels.find(axis[~left])] = True
                stays[labels.find(axis[left])] = True
    roots = labels.find(np.arange(len(labels)))
    removed = labels.allowed(gone[roots])
    through = labels.spread(removed)
    if (gone & (stays | ~through | ~labels.removable(np.arange(len(labels))))).any():
        raise ValueError(
            "the plan removes channels that cannot be removed for this input: the function was "
            "traced with another one and does something else here"
        )
    return Resized(function.program, coupling, removed)
