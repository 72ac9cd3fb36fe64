"""A plan of which channels stay: smaller variables, masks, and the smaller forward function."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax import names
from prunejax.files import write_atomically
from prunejax.masks import name
from prunejax.network import belonging, reading
from prunejax.network.costs import Convention, Cost, GlobalPool, measure
from prunejax.network.layers import Layer
from prunejax.network.sliced import Sliced, resized

if TYPE_CHECKING:
    from prunejax.network.network import Network


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Which channels of which group stay; `Network.plan` makes it.

    Attributes:
        network: the network it is for.
        keep: for every group of the network a bool array, [width].
    """

    network: Any
    keep: dict[str, np.ndarray]

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "keep": self.keep}  # what is computed from them is not

    def slice(self, variables: PyTree) -> PyTree:
        """Leaves the removed channels out.

        Args:
            variables: what the network was traced with, or another tree some of whose leaves
                belong to it by their path, whole or its end: `params` alone, gradients, the state
                of an optax optimiser (moments, L-BFGS's history, SM3's maxima). Leaves may be
                `jax.ShapeDtypeStruct`s. Optimisers that divide by the number of a parameter's
                entries, or look at its shape (Adafactor, Muon), go on with the smaller ones.

        Returns:
            The same tree with smaller leaves; leaves without removed channels and scalars that
            belong to no leaf of the network are as they were.

        Raises:
            ValueError: if no leaf belongs to the network, or if a leaf that does cannot be sliced:
                it has another shape, it is a mean over entries that go (Adafactor's rows and
                columns), or a vector of all parameters (`optax.flatten`).
        """
        network = self.network
        belonging.refuse_vectors(variables, network.leaves)
        self._check_belongs(variables)
        return belonging.sliced(variables, network.endings, network.leaves, self.kept())

    def masks(self, variables: PyTree) -> PyTree:
        """Masks that remove exactly what `slice` leaves out of the parameters.

        The removed entries are those of the layers that make a channel and of those that read it.
        With them at 0, the traced function computes what the sliced one does.

        Args:
            variables: what the network was traced with, or its parameters alone.

        Returns:
            A parallel tree for `prunejax.masks`: a bool array where a parameter has channels that
            can be removed, None elsewhere. Of Flax linen's collections only `params` is masked;
            in other trees every floating point leaf.

        Raises:
            ValueError: if no leaf belongs to the network, if a leaf that does has another shape, or
                if the network has no channels that can be removed.
        """
        if not self.network.groups:
            raise ValueError(
                "the network has no channels that can be removed, so there is nothing to mask: "
                "print it for what its layers feed"
            )
        kept = self.kept()
        grouped = {
            member.path for group in self.network.groups.values() for member in group.members
        }

        def mask(path: jax.tree_util.KeyPath, leaf: Any) -> Any:
            found = self._leaf(name(path))
            if found is None or found not in grouped or found not in self.network.trainable:
                return None
            shape = self.network.leaves[found].shape
            self._check_shape(name(path), leaf, shape, "cannot mask")
            made = np.ones(shape, bool)
            for axis, stays in enumerate(kept.get(found, [])):
                made &= stays.reshape([-1 if index == axis else 1 for index in range(len(shape))])
            return jnp.asarray(made)

        self._check_belongs(variables)
        return jax.tree_util.tree_map_with_path(mask, variables)

    def apply_fn(self) -> Callable[..., Any]:
        """The forward function of the smaller network.

        The traced function's equations are evaluated with smaller shapes; for a batch of a new
        shape it is traced anew. Statistics over channels (LayerNorm, GroupNorm) go on dividing by
        the number of channels there were, as in the masked network; the same module built with
        fewer features would not. Derivatives that functions bring along (`jax.custom_jvp`,
        `jax.custom_vjp`) are kept where they hold channel by channel; where they do not,
        differentiating raises `ValueError` with the function's name.

        Returns:
            `(variables, x) -> outputs` with `variables` as `slice` returns them. It can be jitted,
            differentiated and exported. Calling it raises `ValueError` if the variables do not
            have the plan's shapes.
        """
        return Sliced(self.network, self.kept())

    def kept(self) -> dict[str, list[np.ndarray]]:
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
            convention: as in `Network.cost`.
            global_pool: as in `Network.cost`.

        Returns:
            The cost of each layer and of the whole, for the batch that the network was traced with.

        Raises:
            ValueError: if there is no such convention.
        """
        network, leaves = self.network, self.slice(self.network.leaves)
        return measure(self.layers, leaves, network.trainable, convention, global_pool)

    @functools.cached_property
    def layers(self) -> dict[str, Layer]:
        """The layers of what is left, as `Network.layers`."""
        network = self.network
        program = resized(network.traced, network.coupling, self.kept()).described()
        return network.traced.flows(program).layers

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the plan as JSON, in one atomic step.

        Args:
            path: the file; an existing one is replaced.

        Returns:
            The path written.

        Raises:
            OSError: if the file cannot be written.
        """
        content = {
            "format": "prunejax plan 1",
            "network": self.network.fingerprint(),
            "keep": {
                group: {"width": len(stays), "channels": np.flatnonzero(stays).tolist()}
                for group, stays in self.keep.items()
            },
        }
        return write_atomically(path, json.dumps(content, indent=1).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Any) -> "Plan":
        """Reads a plan that `save` wrote.

        Args:
            path: the file.
            network: the network it was made for, traced again.

        Returns:
            The plan.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no plan, whatever else it is, or one for a network with other
                paths, shapes or groups.
        """
        held = Path(path).read_bytes()
        try:
            content = reading.parsed(held)
            if content["format"] != "prunejax plan 1":
                raise ValueError(f"its format is {str(content['format'])[:40]!r}")
            fingerprint = content["network"]
            keep = reading.kept(content)
        except reading.DAMAGED as error:
            raise ValueError(f"{path} is damaged or no plan: {_said(error)}") from error
        if set(keep) != set(network.groups):
            raise ValueError(f"{path} was made for another network: its groups are {_few(keep)}")
        if fingerprint != network.fingerprint():
            raise ValueError(
                f"{path} was made for another network: its leaves have other paths or shapes"
            )
        try:
            return network.plan(keep)
        except ValueError as error:
            raise ValueError(f"{path} is damaged or no plan: {error}") from error

    def _leaf(self, path: str) -> str | None:
        return belonging.find(self.network.endings, path)

    def _check_belongs(self, tree: PyTree) -> None:
        paths = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        if not any(self._leaf(path) for path in paths):
            raise ValueError(
                f"no leaf belongs to the network: it has {_few(self.network.leaves)}, "
                f"the tree {_few(paths)}"
            )
        ends, network = self.network.endings, self.network
        # parameters alone, or the leaves of a bare tree: nothing but the network's
        alone = any(path in ends for path in paths) and not any(
            path.split("/")[0] in network.collections for path in paths
        )
        foreign = [
            path
            for path in paths
            if self._leaf(path) is None and (alone or path.split("/")[0] in network.collections)
        ]
        if foreign:
            raise ValueError(
                f"these are the variables of another network: this one has no {_few(foreign)}"
            )

    def _check_shape(self, path: str, leaf: Any, shape: tuple[int, ...], what: str) -> None:
        if tuple(np.shape(leaf)) != tuple(shape):
            raise ValueError(
                f"{what} {path!r}: its shape is {tuple(np.shape(leaf))}, but the network was "
                f"traced with {tuple(shape)}"
            )


def complete(
    network: "Network", keep: Mapping[str, Any], *, round_to: int | None, min_channels: int
) -> dict[str, np.ndarray]:
    """Checks what is kept and completes it; `Network.plan` says how.

    Args:
        network: the network.
        keep: bool arrays by group name.
        round_to: a number of channels, or None.
        min_channels: a number of channels.

    Returns:
        A bool array for every group.

    Raises:
        ValueError: as `Network.plan` says.
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


def _said(error: BaseException) -> str:
    """What an error says, with its class where that says more than a key."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _few(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
