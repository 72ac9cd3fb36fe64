"""A plan of which channels stay: smaller variables, masks, and the smaller forward function."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax import names
from prunejax.masks import name
from prunejax.network import belonging, plan_files
from prunejax.network.costs import Convention, Cost, GlobalPool, measure
from prunejax.network.layers import Layer
from prunejax.network.sliced import Sliced, resized
from prunejax.network.structure import Structure


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Which channels of which group stay; ``Network.plan`` makes it.

    Attributes:
      network: the network it is for.
      keep: for every group of the network a bool array, [width].
    """

    network: Structure
    keep: dict[str, np.ndarray]

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "keep": self.keep}  # what is computed from them is not

    def slice(self, variables: PyTree, *, donate: bool = False) -> PyTree:
        """Leaves the removed channels out.

        Args:
          variables: what the network was traced with, or another tree some of whose leaves
            belong to it by their path, whole or its end: ``params`` alone, gradients, the state
            of an optax optimiser (moments, L-BFGS's history, SM3's maxima). Leaves may be
            ``jax.ShapeDtypeStruct``s. Optimisers that divide by the number of a parameter's
            entries, or look at its shape (Adafactor, Muon), go on with the smaller ones.
          donate: frees each ``jax.Array`` as soon as what stays of it is made, so that no model
            has to fit into memory twice: only its largest array does. ``variables`` cannot be used
            afterwards; JAX raises ``RuntimeError`` ("Array has been deleted") where they are.
            Arrays without removed channels are not freed: they are part of what is returned.
            NumPy arrays cannot be freed, nor what is traced, inside ``jax.jit``. If an error is
            raised for what cannot be sliced, nothing has been freed.

        Returns:
          The same tree with smaller leaves; leaves without removed channels and scalars that
          belong to no leaf of the network are as they were, the same objects.

        Raises:
          ValueError: no leaf belongs to the network, or a leaf that does cannot be sliced:
            it has another shape, it is a mean over entries that go (Adafactor's rows and
            columns), or a vector of all parameters (``optax.flatten``).
        """
        network = self.network
        belonging.refuse_vectors(variables, network.leaves)
        belonging.refuse_foreign(variables, network)
        return belonging.sliced(
            variables, network.endings, network.leaves, self.by_leaf(), donate=donate
        )

    def masks(self, variables: PyTree) -> PyTree:
        """Masks that remove exactly what ``slice`` leaves out of the parameters.

        The removed entries are those of the layers that make a channel and of those that read it.
        With them at 0, the traced function computes what the sliced one does.

        Args:
          variables: what the network was traced with, or its parameters alone.

        Returns:
          A parallel tree for ``prunejax.masks``: a bool array where a parameter has channels that
          can be removed, None elsewhere. Of Flax linen's collections only ``params`` is masked;
          in other trees every floating point leaf.

        Raises:
          ValueError: no leaf belongs to the network, a leaf that does has another shape, or
            the network has no channels that can be removed.
        """
        if not self.network.groups:
            raise ValueError(
                "the network has no channels that can be removed, so there is nothing to mask: "
                "print it for what its layers feed"
            )
        kept = self.by_leaf()
        grouped = {
            member.path for group in self.network.groups.values() for member in group.members
        }

        def mask(path: jax.tree_util.KeyPath, leaf: Any) -> Any:
            owner = belonging.find(self.network.endings, name(path))
            if owner is None or owner not in grouped or owner not in self.network.trainable:
                return None
            shape = self.network.leaves[owner].shape
            if tuple(np.shape(leaf)) != tuple(shape):
                raise ValueError(
                    f"cannot mask {name(path)!r}: its shape is {tuple(np.shape(leaf))}, but the "
                    f"network was traced with {tuple(shape)}"
                )
            made = np.ones(shape, bool)
            for axis, stays in enumerate(kept.get(owner, [])):
                made &= stays.reshape([-1 if index == axis else 1 for index in range(len(shape))])
            return jnp.asarray(made)

        belonging.refuse_foreign(variables, self.network)
        return jax.tree_util.tree_map_with_path(mask, variables)

    @functools.cached_property
    def apply_fn(self) -> Callable[..., Any]:
        """The forward function of the smaller network, ``(variables, x) -> outputs``.

        The traced function's equations are evaluated with smaller shapes; for a batch of a new
        shape it is traced anew. Statistics over channels (LayerNorm, GroupNorm) go on dividing by
        the number of channels there were, as in the masked network; the same module built with
        fewer features would not. Derivatives that functions bring along (``jax.custom_jvp``,
        ``jax.custom_vjp``) are kept where they hold channel by channel; where they do not,
        differentiating raises ``ValueError`` with the function's name.

        Returns:
          ``(variables, x) -> outputs`` with ``variables`` as ``slice`` returns them. It can be
          jitted, differentiated and exported. Calling it raises ``ValueError`` if the variables do
          not have the plan's shapes.
        """
        return Sliced(self.network, self.keep, self.by_leaf())

    def by_leaf(self) -> dict[str, list[np.ndarray]]:
        """For each leaf that loses channels, by path: for each axis which indices stay."""
        kept: dict[str, list[np.ndarray]] = {}
        for group_name, stays in self.keep.items():
            if stays.all():
                continue
            for member in self.network.groups[group_name].members:
                shape = self.network.leaves[member.path].shape
                axes = kept.setdefault(member.path, [np.ones(size, bool) for size in shape])
                axes[member.axis][member.indices[~stays]] = False
        return kept

    def cost(self, convention: Convention = "macs", *, global_pool: GlobalPool = "window") -> Cost:
        """Counts parameters and multiply-adds of what is left; nothing is traced again.

        Args:
          convention: as in ``Network.cost``.
          global_pool: as in ``Network.cost``.

        Returns:
          The cost of each layer and of the whole, for the batch that the network was traced with.

        Raises:
          ValueError: there is no such convention.
        """
        network, leaves = self.network, self.slice(self.network.leaves)
        return measure(self.layers, leaves, network.trainable, convention, global_pool)

    @functools.cached_property
    def layers(self) -> dict[str, Layer]:
        """The layers of what is left, as ``Network.layers``."""
        network = self.network
        smaller = resized(
            network.traced, network.coupling, network.groups, self.keep, self.by_leaf()
        )
        return network.traced.flows(smaller.described()).layers

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the plan as JSON, in one atomic step.

        Args:
          path: the file; an existing one is replaced.

        Returns:
          The path written.

        Raises:
          OSError: the file cannot be written.
        """
        return plan_files.write(path, self.network.fingerprint(), self.keep)

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Structure) -> "Plan":
        """Reads a plan that ``save`` wrote.

        Args:
          path: the file.
          network: the network it was made for, traced again.

        Returns:
          The plan.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file holds no plan, or one for a network with other paths, shapes or
            groups.
        """
        keep = plan_files.read(path, network.fingerprint(), network.groups)
        try:
            return plan(network, keep)
        except ValueError as error:
            raise ValueError(f"{path} is damaged or no plan: {error}") from error


def plan(
    network: Structure,
    keep: Mapping[str, Any],
    *,
    round_to: int | None = None,
    min_channels: int = 1,
) -> Plan:
    """Plans which channels stay; see ``Network.plan``."""
    return Plan(network, complete(network, keep, round_to=round_to, min_channels=min_channels))


def complete(
    network: Structure, keep: Mapping[str, Any], *, round_to: int | None, min_channels: int
) -> dict[str, np.ndarray]:
    """Checks a selection and completes it for all groups; see ``Network.plan``.

    Args:
      network: the network.
      keep: bool arrays by group name.
      round_to: a number of channels, or None.
      min_channels: a number of channels.

    Returns:
      A bool array for every group.

    Raises:
      ValueError: as ``Network.plan`` says.
    """
    for word, number in (("round_to", round_to), ("min_channels", min_channels)):
        if number is not None and number < 1:
            raise ValueError(f"{word} must be at least 1, got {number}")
        if number is not None and number != int(number):
            raise ValueError(f"{word} must be an integer, got {number}")
    if not isinstance(keep, Mapping):
        raise ValueError(f"keep must be a dict from group names, got a {type(keep).__name__}")
    for group_name in keep:
        names.choose("group of channels", group_name, network.groups)
    made = {}
    for group_name, group in network.groups.items():
        stays = np.array(keep.get(group_name, np.ones(group.width, bool)))
        if stays.dtype != np.bool_ or stays.shape != (group.width,):
            raise ValueError(
                f"keep[{group_name!r}] must be a bool array of shape ({group.width},), got "
                f"{stays.dtype}{list(stays.shape)}"
            )
        if not stays.any():
            raise ValueError(
                f"group {group_name!r} would vanish: none of its {group.width} channels is kept, "
                f"which {', '.join(group.layers)} would have to produce"
            )
        wanted = max(int(stays.sum()), min_channels)
        if round_to is not None:
            wanted = -(-wanted // round_to) * round_to
        missing = max(0, min(wanted, group.width) - int(stays.sum()))
        stays[np.flatnonzero(~stays)[:missing]] = True
        made[group_name] = stays
    return made
