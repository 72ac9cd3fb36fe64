"""The forward function of a network without its removed channels."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import core
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network import traced
from prunejax.network.coupling import Coupling
from prunejax.network.groups import Group, channel_labels
from prunejax.network.resizing import Resized
from prunejax.network.structure import Structure

OTHERWISE = (
    "the plan removes channels that cannot be removed for this input: the function was traced with "
    "another one and does something else here"
)


class Sliced:
    """Evaluates a traced function on variables from which channels are missing.

    Args:
      network: the network.
      keep: for each of its groups which channels stay.
      kept: for each leaf that loses channels, by path: for each axis which indices stay.
    """

    def __init__(
        self,
        network: Structure,
        keep: dict[str, np.ndarray],
        kept: dict[str, list[np.ndarray]],
    ) -> None:
        self._network = network
        self._keep = keep
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
        leaves, structure = jax.tree.flatten((variables, x))
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        named = ("jax_enable_x64", "jax_default_matmul_precision")
        settings = tuple(getattr(jax.config, each) for each in named)
        key = structure, shapes, settings
        if key not in self._programs:
            again = traced.make(self._network.apply_fn, variables, x)
            groups = self._network.groups
            program = resized(again, again.coupling(), groups, self._keep, self._kept)
            made = program, again.structure
            if any(isinstance(leaf, core.Tracer) for leaf in again.program.constants.values()):
                return made
            self._programs[key] = made
        return self._programs[key]


def resized(
    function: traced.Traced,
    coupling: Coupling,
    groups: Mapping[str, Group],
    keep: Mapping[str, np.ndarray],
    kept: Mapping[str, list[np.ndarray]],
) -> Resized:
    """The program of a function without some channels of its variables.

    Args:
      function: the traced function.
      coupling: its labels.
      groups: the groups of channels of its variables.
      keep: for each group which channels stay.
      kept: for each leaf that loses channels, by path: for each axis which indices stay.

    Returns:
      The program.

    Raises:
      ValueError: channels that are to go cannot be removed here.
    """
    labels = coupling.labels
    numbers = {path: number for number, path in function.paths.items()}
    removed = np.zeros(len(labels), bool)
    for group, stays in keep.items():
        if not stays.all():
            try:
                removed[channel_labels(coupling, numbers, groups[group])[~stays]] = True
            except ValueError as error:
                raise ValueError(OTHERWISE) from error
    gone = labels.spread(removed)
    for path, leaf in kept.items():
        for axis, stays in zip(coupling.axes(numbers[path]), leaf, strict=True):
            there = np.ones(1, bool) if axis is None else ~gone[axis]
            if not (stays.all() if axis is None else np.array_equal(there, stays)):
                raise ValueError(OTHERWISE)
    if not labels.removable(np.flatnonzero(removed)).all():
        raise ValueError(OTHERWISE)
    return Resized(function.program, coupling, removed)
