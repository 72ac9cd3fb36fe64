"""Many networks' states as one, and their steps as one program."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from prunejax.selecting import is_key
from prunejax.training.convolutions import for_stacking, has_shared
from prunejax.training.state import TrainState
from prunejax.training.steps import CompiledStep

WIDEST = 64
"""Channels up to which networks share a convolution on an accelerator: narrower ones leave the
units that multiply matrices idle. (ResNet-20 on an H100: 1.5 times as fast as each by itself.)"""

NETWORKS = "network"


class Stack(NamedTuple):
    """States of networks as one tree.

    Attributes:
      state: every array has the networks in front, but those that are shared.
      shared: parallel to the state; True for a counter that goes on alike in all networks.
      size: how many networks.
    """

    state: Any
    shared: Any
    size: int


def find_shared(body: Any, states: Sequence[TrainState], batch: Any) -> PyTree:
    """Which numbers of a state are, and stay, the same in all networks: counters of steps.

    What depends on those alone is done once for all networks: a schedule, and whether it is time to
    rewire.

    Args:
      body: ``(state, batch) -> state``.
      states: of the networks.
      batch: of one network, arrays or what describes them.

    Returns:
      Parallel to a state; bools.
    """
    leaves, tree = jax.tree.flatten(states[0])
    of_all = [jax.tree.leaves(state) for state in states]
    program = traced(body, states[0], batch).jaxpr
    shared = {
        place
        for place, leaf in enumerate(leaves)
        if leaf.ndim == 0
        and jnp.issubdtype(leaf.dtype, jnp.integer)
        and len({int(own[place]) for own in of_all}) == 1
    }
    depends: dict[Any, frozenset[int]] = {
        variable: frozenset([place]) for place, variable in enumerate(program.invars)
    }

    def of(atom: Any) -> frozenset[int]:
        return frozenset() if hasattr(atom, "val") else depends.get(atom, frozenset())

    for equation in program.eqns:
        reached = frozenset().union(*map(of, equation.invars))
        depends |= dict.fromkeys(equation.outvars, reached)
    after = [of(atom) for atom in program.outvars]
    while differing := {place for place in shared if not after[place] <= shared}:
        shared -= differing
    return tree.unflatten([place in shared for place in range(len(leaves))])


def traced(body: Any, state: TrainState, batch: Any) -> Any:
    """The program of one network's step, whose inputs are the leaves of state and batch."""
    leaves, tree = jax.tree.flatten((state, batch))

    def flat(*leaves: Any) -> list[Any]:
        return jax.tree.leaves(body(*tree.unflatten(leaves)))

    return jax.make_jaxpr(flat)(*leaves)


def stacked(states: Sequence[TrainState], shared: PyTree, devices: "Devices") -> Stack:
    """Copies of states as one, some on each device.

    No program of several devices has a part in it: such programs wait for each other, and several
    of them at once may wait for ever where devices are threads of few cores.

    Args:
      states: on any devices; as many for each.
      shared: from ``find_shared``.
      devices: where the networks go.
    """
    flags, tree = jax.tree.flatten(shared)
    each = len(states) // len(devices.all)
    parts = []
    for number, device in enumerate(devices.all):
        own = jax.device_put(list(states[number * each : (number + 1) * each]), device)
        leaves = list(zip(*map(jax.tree.leaves, own), strict=True))
        parts.append(_together(tuple(flags), leaves))

    def joined(is_shared: bool, pieces: Sequence[Any]) -> Any:
        shape = pieces[0].shape if is_shared else (len(states), *pieces[0].shape[1:])
        if not is_key(pieces[0]):
            sharding = devices.whole if is_shared else devices.parts
            return jax.make_array_from_single_device_arrays(shape, sharding, list(pieces))
        words = joined(is_shared, [jax.random.key_data(piece) for piece in pieces])
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(pieces[0]))

    leaves = [joined(*leaf) for leaf in zip(flags, zip(*parts, strict=True), strict=True)]
    return Stack(tree.unflatten(leaves), shared, len(states))


def unstacked(stack: Stack, devices: "Devices") -> list[TrainState]:
    """The states of the networks, as copies, each on its device."""
    flags, tree = jax.tree.flatten(stack.shared)

    def pieces(leaf: Any) -> list[Any]:
        if not is_key(leaf):
            by_device = {shard.device: shard.data for shard in leaf.addressable_shards}
            return [by_device[device] for device in devices.all]
        impl, words = jax.random.key_impl(leaf), pieces(jax.random.key_data(leaf))
        return [jax.random.wrap_key_data(one, impl=impl) for one in words]

    parts = zip(*map(pieces, jax.tree.leaves(stack.state)), strict=True)
    each = stack.size // len(devices.all)
    return [
        tree.unflatten(_own(tuple(flags), list(leaves), number))
        for leaves in parts
        for number in range(each)
    ]


# As one program each: leaf by leaf, a large tree takes longer than an epoch.


@functools.partial(jax.jit, static_argnums=0)
def _together(shared: tuple[bool, ...], leaves: list[tuple[Any, ...]]) -> list[Any]:
    return [
        jnp.copy(of_all[0]) if is_shared else jnp.stack(of_all)
        for is_shared, of_all in zip(shared, leaves, strict=True)
    ]


@functools.partial(jax.jit, static_argnums=0)
def _own(shared: tuple[bool, ...], leaves: list[Any], number: Any) -> list[Any]:
    return [
        jnp.copy(leaf) if is_shared else leaf[number]
        for is_shared, leaf in zip(shared, leaves, strict=True)
    ]


class Devices(NamedTuple):
    """The devices that networks are spread over.

    Attributes:
      all: they.
      whole: the sharding of what each of them has.
      parts: the sharding of what has the networks in front.
      parts_of_steps: of what has steps and then networks in front.
    """

    all: tuple[Any, ...]
    whole: NamedSharding
    parts: NamedSharding
    parts_of_steps: NamedSharding

    @classmethod
    def of(cls, devices: Sequence[Any] | None) -> "Devices":
        """By default all local ones.

        Raises:
          ValueError: there is none.
        """
        every = jax.local_devices() if devices is None else devices
        is_list = isinstance(every, Sequence | np.ndarray) and not isinstance(every, str)
        every = tuple(every) if is_list else None
        if every is None or not all(isinstance(one, jax.Device) for one in every):
            raise ValueError(
                f"devices must be a list of devices, jax.devices() say, got {devices!r}"
            )
        if not every:
            raise ValueError("training needs at least one device")
        if len(set(every)) < len(every):
            raise ValueError(f"devices has a device twice: {devices}")
        mesh = Mesh(np.array(every), (NETWORKS,))
        specs = PartitionSpec(), PartitionSpec(NETWORKS), PartitionSpec(None, NETWORKS)
        return cls(every, *(NamedSharding(mesh, spec) for spec in specs))


class Program(NamedTuple):
    """Steps of many networks, compiled.

    Attributes:
      run: ``(stacked state, images, labels, order) -> stacked state``, or with batches in the place
        of all images and labels, and without an order.
      bytes: what it takes on each device.
      spreads: whether a number that is not finite may spread from one network to others.
    """

    run: Any
    bytes: int
    spreads: bool


def compiled(
    train_step: CompiledStep,
    stack: Stack,
    arguments: Sequence[Any],
    devices: Devices,
    *,
    widest: int,
    scans: bool,
) -> Program:
    """Compiles one step of many networks, or a scan of steps.

    Args:
      train_step: of one network.
      stack: their states, on the devices.
      arguments: images, labels and order [steps, networks, batch] of a scan; images and labels
        [networks, batch, ...] of a step; arrays or what describes them.
      devices: over which the networks are spread.
      widest: see ``convolutions.for_stacking``.
      scans: whether it is a scan.

    Returns:
      The program, from an earlier call where that was of the same.
    """
    described = jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), (stack.state, arguments))
    config: Any = jax.config
    precision = config.jax_default_matmul_precision
    key = ("stacked", str(described), str(stack.shared), devices.all, widest, scans, precision)
    if key in train_step.made:
        return train_step.made[key]
    images, labels = arguments[:2]
    batch = (arguments[2].shape[2:] if scans else labels.shape[1:])[0]
    one_state = jax.tree.map(
        lambda shared, leaf: jax.ShapeDtypeStruct(
            leaf.shape if shared else leaf.shape[1:], leaf.dtype
        ),
        stack.shared,
        stack.state,
    )
    one_batch = tuple(
        jax.ShapeDtypeStruct((batch, *array.shape[1 if scans else 2 :]), array.dtype)
        for array in (images, labels)
    )
    closed = traced(train_step.body, one_state, one_batch)
    alone = for_stacking(closed, widest=widest)
    tree = jax.tree.structure(one_state)
    axes = tuple(None if shared else 0 for shared in jax.tree.leaves(stack.shared))
    together = jax.vmap(lambda *leaves: tuple(alone(*leaves)), (*axes, 0, 0), out_axes=axes)

    def step(state: Any, images: Any, labels: Any) -> Any:
        return tree.unflatten(together(*jax.tree.leaves(state), images, labels))

    def scan(state: Any, images: Any, labels: Any, order: Any) -> Any:
        def one(state: Any, chosen: Any) -> tuple[Any, None]:
            return step(state, images[chosen], labels[chosen]), None

        return lax.scan(one, state, order)[0]

    whole, parts, parts_of_steps = devices[1:]
    states = jax.tree.map(lambda shared: (whole if shared else parts).spec, stack.shared)
    specs = (whole, whole, parts_of_steps) if scans else (parts, parts)
    spread = jax.shard_map(
        scan if scans else step,
        mesh=whole.mesh,
        in_specs=(states, *(one.spec for one in specs)),
        out_specs=states,
        check_vma=False,
    )
    program = jax.jit(spread, donate_argnums=0).lower(stack.state, *arguments).compile()
    sizes = program.memory_analysis()
    takes = 0
    if sizes is not None:
        takes = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes
        takes += sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    on_each = stack.size // len(devices.all)
    spreads = has_shared(closed, networks=on_each, widest=widest)
    train_step.made[key] = Program(program, takes, spreads)
    return train_step.made[key]
