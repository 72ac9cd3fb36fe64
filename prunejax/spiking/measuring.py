"""What spiking costs: firing rates, synaptic operations, energy; and how its classes separate."""

import functools
import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from prunejax.masks import name
from prunejax.network import Network
from prunejax.network.program import Op, bind
from prunejax.network.recording import evaluate
from prunejax.spiking.reading import (
    Circuit,
    Kernel,
    channels_last,
    check_variables,
    images_axis,
    in_batches,
    inputs_of,
    read,
)

PICOJOULES_PER_MAC = 4.6
"""A multiplication and an addition in 32-bit floating point, 45 nm: Horowitz 2014."""

PICOJOULES_PER_SOP = 0.9
"""An addition in 32-bit floating point, 45 nm: Horowitz 2014."""


class Measures(NamedTuple):
    """What a spiking network does for one image, on average.

    Energies count arithmetic alone. Reading weights and potentials from memory, which mostly costs
    more, is not in them: they compare networks, and say little of a device.

    Attributes:
      firing_rates: by layer of neurons, the share of neurons and steps with a spike.
      firing_rate: of all neurons together.
      synaptic_operations: by layer with a kernel that reads spikes: for each spike the unmasked
        weights that it reaches.
      sops: their sum.
      multiply_adds: of the kernels that read other numbers, as the first one reads images: each
        unmasked weight where it is used, once if the input is the same at every step.
      macs: their sum.
      dense_macs: of the same network without masks, with ReLU in the place of neurons: one step.
      energy: of the spiking network, in nanojoules.
      dense_energy: of that network, in nanojoules.
    """

    firing_rates: dict[str, float]
    firing_rate: float
    synaptic_operations: dict[str, float]
    sops: float
    multiply_adds: dict[str, float]
    macs: float
    dense_macs: float
    energy: float
    dense_energy: float

    def __str__(self) -> str:
        lines = [f"{layer:<24}fires {rate:8.2%}" for layer, rate in self.firing_rates.items()]
        for counted, what in ((self.multiply_adds, "MACs"), (self.synaptic_operations, "SOPs")):
            lines += [f"{layer:<24}{number:14,.0f} {what}" for layer, number in counted.items()]
        lines += [
            f"firing rate {self.firing_rate:.2%}, {self.sops:,.0f} synaptic operations and "
            f"{self.macs:,.0f} multiply-adds per image",
            f"{self.energy:,.1f} nJ of arithmetic, the dense network {self.dense_energy:,.1f} nJ",
            "(45 nm, 32 bits; memory, which mostly costs more, is not counted)",
        ]
        return "\n".join(lines)


def measure(
    network: Network,
    variables: PyTree,
    images: Float[Array, "..."] | Float[np.ndarray, "..."],
    masks: PyTree | None = None,
    *,
    batch_size: int = 256,
) -> Measures:
    """Counts spikes, the operations that they cause, and what these cost.

    Each convolution is done on numbers of spikes and on its mask, so that strides, padding and
    borders are exact. A spike that an average pool takes in is counted with the weights behind
    the pool, a maximum counts once.

    Args:
      network: traced in evaluation mode, of any batch size.
      variables: its variables.
      images: any number of them, or frames with time on the first axis.
      masks: of the parameters; without them each weight counts, those that are 0 too.
      batch_size: how many go through the network at once.

    Returns:
      Means over images.

    Raises:
      ValueError: the network has no spiking neurons, there are no images, or variables or masks
        are not those of the network.

    Warns:
      UserWarning: a layer never fires; it and its rate are named.
    """
    check_variables(network, variables)
    whole = _as_weights(network, variables, masks)
    sums: dict[str, Float[np.ndarray, "..."]] = {}
    axis = images_axis(network, images)
    for batch in in_batches(network, images, batch_size):
        counted = jax.device_get(_counting(read(network, batch))(variables, whole, batch))
        for key, value in counted.items():
            sums[key] = sums.get(key, np.zeros(())) + np.sum(value, dtype=np.float64)
    return _summed(read(network, network.traced.example), sums, images.shape[axis])


def _summed(circuit: Circuit, sums: dict[str, Any], images: int) -> Measures:
    rates = {
        layer: float(sums[f"fired/{layer}"] / sums[f"steps/{layer}"]) for layer in circuit.neurons
    }
    for layer, rate in rates.items():
        if rate == 0:
            warnings.warn(
                f"the neurons of {layer!r} never fire: their rate is 0 on {images} images, so that "
                "their spikes tell nothing of the input. Lower the threshold, or raise weights",
                stacklevel=3,
            )
    operations = {layer: float(sums[f"operations/{layer}"] / images) for layer in circuit.kernels}
    spiking = {
        layer: count
        for layer, count in operations.items()
        if circuit.kernels[layer].spikes is not None
    }
    analog = {layer: count for layer, count in operations.items() if layer not in spiking}
    sops, macs = sum(spiking.values()), sum(analog.values())
    dense = float(sum(_dense(circuit, kernel) for kernel in circuit.kernels.values()))
    fired = sum(sums[f"fired/{layer}"] for layer in circuit.neurons)
    steps = sum(sums[f"steps/{layer}"] for layer in circuit.neurons)
    return Measures(
        firing_rates=rates,
        firing_rate=float(fired / steps),
        synaptic_operations=spiking,
        sops=sops,
        multiply_adds=analog,
        macs=macs,
        dense_macs=dense,
        energy=(PICOJOULES_PER_MAC * macs + PICOJOULES_PER_SOP * sops) / 1000,
        dense_energy=PICOJOULES_PER_MAC * dense / 1000,
    )


@functools.lru_cache(maxsize=16)
def _counting(circuit: Circuit) -> Any:
    """Sums over a batch, per example, so that float32 holds them."""
    neurons, kernels = circuit.neurons, circuit.kernels
    seen = [one.spikes for one in neurons.values()]
    read_by = [one.op.inputs[one.side] for one in kernels.values()]
    behind = [one.op.inputs[1 - one.side] for one in kernels.values()]

    @jax.jit
    def counted(variables: PyTree, whole: PyTree, images: Array) -> dict[str, Array]:
        inputs = inputs_of(circuit, variables, images)
        values = iter(evaluate(circuit.program, inputs, [*seen, *read_by]))
        used = dict(
            zip(
                kernels,
                evaluate(circuit.program, inputs_of(circuit, whole, images), behind),
                strict=True,
            )
        )
        found = {}
        for layer, one in neurons.items():
            spikes = channels_last(next(values), one)
            found[f"fired/{layer}"] = jnp.sum(spikes, axis=(0, 2, 3))
            size = spikes.size // spikes.shape[1]
            found[f"steps/{layer}"] = jnp.full(spikes.shape[1], size, jnp.float32)
        for layer, one in kernels.items():
            given, mask = next(values), used[layer] != 0
            counts = jnp.ones_like(given) if one.spikes is None else jnp.round(given * one.spikes)
            found[f"operations/{layer}"] = _per_example(_product(one.op, one.side, counts, mask))
        return found

    return counted


def _dense(circuit: Circuit, kernel: Kernel) -> int:
    """The multiply-adds of a whole kernel on one example, once."""
    shapes = [circuit.program.shapes[number] for number in kernel.op.inputs]
    if kernel.op.name == "dot_general":
        made = math.prod(circuit.program.shapes[kernel.op.outputs[0]])
        contracted = kernel.op.params["dimension_numbers"][0][0]
        summed = math.prod(shapes[0][axis] for axis in contracted)
        return made * summed // kernel.examples
    batch = kernel.op.params["dimension_numbers"].lhs_spec[0]
    shapes[0] = tuple(1 if axis == batch else size for axis, size in enumerate(shapes[0]))
    # not inside jit: XLA's CPU compiler makes garbage of a convolution of two constants
    made = _product(kernel.op, 0, *(jnp.ones(shape, jnp.float32) for shape in shapes))
    return int(np.sum(np.asarray(made), dtype=np.float64))


def _product(op: Op, side: int, given: Array, kernel: Array) -> Array:
    operands = (given, kernel) if side == 0 else (kernel, given)
    params = dict(op.params)
    if op.name == "dot_general":
        params["preferred_element_type"] = None
    return bind(op, params, [operand.astype(jnp.float32) for operand in operands])[0]


def _per_example(product: Array) -> Array:
    return jnp.sum(product.reshape(product.shape[0], -1), axis=1)


def _as_weights(network: Network, variables: PyTree, masks: PyTree | None) -> PyTree:
    """The variables with some number for each weight that is kept and 0 for the others.

    The numbers differ, so that what a kernel is computed from them (centred, say) is not 0.
    """
    by_path: dict[str, Any] = {}
    if masks is not None:
        for path, mask in jax.tree_util.tree_leaves_with_path(masks):
            owner = network.endings.get(name(path))
            if owner is None or network.leaves[owner].shape != np.shape(mask):
                raise ValueError(f"the mask {name(path)!r} is of no leaf of the network")
            by_path[owner] = mask

    def one(path: jax.tree_util.KeyPath, leaf: Any) -> Any:
        mask = by_path.get(name(path))
        drawn = np.random.default_rng(0).uniform(0.5, 1.5, np.shape(leaf))
        return jnp.asarray(drawn if mask is None else drawn * np.asarray(mask), leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, variables)


class Separation(NamedTuple):
    """How the firing of a layer tells classes apart.

    Attributes:
      class_variance: the mean over classes and channels of the variance over a class's images of
        the normalised counts: the lower, the more alike images of one class are.
      cosine: the mean over classes of the cosine between the mean counts of a class in training
        and in test images.
    """

    class_variance: float
    cosine: float


def separation(
    train_counts: Float[np.ndarray, "train channels"],
    train_labels: Int[np.ndarray, " train"],
    test_counts: Float[np.ndarray, "test channels"],
    test_labels: Int[np.ndarray, " test"],
) -> Separation:
    """Compares the firing of the last layer between and within classes.

    Counts n of each image are normalised: (max - n) / (max - min) over its channels, 0 where all
    are equal. Source: Chen et al. 2025.

    Args:
      train_counts: from ``firing_counts``, of training images.
      train_labels: their classes.
      test_counts: likewise, of test images.
      test_labels: their classes.

    Returns:
      Both numbers; the variance is that of the test images.

    Raises:
      ValueError: numbers of images and labels differ, or a class of the test has no training image.
    """
    for counts, labels in ((train_counts, train_labels), (test_counts, test_labels)):
        if len(counts) != len(labels):
            raise ValueError(f"there are counts of {len(counts)} images and {len(labels)} labels")
    train, test = _normalised(train_counts), _normalised(test_counts)
    variances, cosines = [], []
    for label in np.unique(test_labels):
        of_train, of_test = train[train_labels == label], test[test_labels == label]
        if not len(of_train):
            raise ValueError(f"there is no training image of class {label}")
        variances.append(of_test.var(axis=0).mean())
        first, second = of_train.mean(axis=0), of_test.mean(axis=0)
        length = np.linalg.norm(first) * np.linalg.norm(second)
        cosines.append(float(first @ second / length) if length else 0.0)
    return Separation(float(np.mean(variances)), float(np.mean(cosines)))


def _normalised(counts: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    counts = np.asarray(counts, np.float64)
    low, high = counts.min(axis=1, keepdims=True), counts.max(axis=1, keepdims=True)
    spread = high - low
    return np.where(spread > 0, (high - counts) / np.where(spread > 0, spread, 1), 0)
