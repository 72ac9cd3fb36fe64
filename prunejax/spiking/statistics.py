"""Running means of what neurons show: criticality, firing rates, entropies, over any batches."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax import names
from prunejax.network import Network
from prunejax.network.recording import evaluate
from prunejax.neurons import Neuron
from prunejax.spiking.reading import (
    Circuit,
    channels_last,
    check_variables,
    in_batches,
    inputs_of,
    read,
)

Reading = Literal["derivative", "primitive"]

Summary = Callable[[Array, Array, Neuron], Array]
"""``(spikes, membrane, neuron) -> what to average``: both are [time, batch, space, channels], the
result is [batch, ...]."""

Scores = dict[str, Float[Array, "..."]]
"""By the names of the layers of neurons, in topological order."""


class Running(NamedTuple):
    """Sums so far.

    Attributes:
      sums: by layer.
      images: of how many images.
    """

    sums: Scores
    images: int


class Statistic:
    """A mean over images of something that neurons show, batch by batch.

    ``state = statistic.init()``, ``state = statistic.update(state, variables, images)`` as often as
    you like, ``statistic.finalize(state)``. The network is compiled once per shape of the images;
    its variables may change between updates.

    Args:
      network: traced in evaluation mode, of any batch size.
      summary: what is averaged.

    Raises:
      ValueError: the network has no spiking neurons.
    """

    def __init__(self, network: Network, summary: Summary) -> None:
        read(network, network.traced.example)
        self._network, self._summary = network, summary

    def init(self) -> Running:
        """No images yet."""
        return Running({}, 0)

    def update(self, state: Running, variables: PyTree, images: PyTree) -> Running:
        """Adds images.

        Args:
          state: the sums so far.
          variables: of the network.
          images: a batch, or frames with time on the first axis if the network was traced so.

        Returns:
          The sums.

        Raises:
          ValueError: the variables are not those of the network.
        """
        check_variables(self._network, variables)
        circuit = read(self._network, images)
        found = _summed(circuit, self._summary)(variables, images)
        count = int(found["images"])
        sums = {layer: found[layer] for layer in circuit.neurons}  # jit sorts by name
        if state.images:
            sums = {layer: state.sums[layer] + value for layer, value in sums.items()}
        return Running(sums, state.images + count)

    def finalize(self, state: Running) -> Scores:
        """The means.

        Raises:
          ValueError: there were no images.
        """
        if not state.images:
            raise ValueError("there were no images: call update at least once")
        return {layer: value / state.images for layer, value in state.sums.items()}

    def of(self, variables: PyTree, images: Any, batch_size: int) -> Scores:
        """The means over one array of images (or frames, time first), in batches.

        Raises:
          ValueError: ``batch_size`` is below 1, or there are no images.
        """
        state = self.init()
        for batch in in_batches(self._network, images, batch_size):
            state = self.update(state, variables, batch)
        return self.finalize(state)


@functools.lru_cache(maxsize=32)
def _summed(circuit: Circuit, summary: Summary) -> Callable[..., Scores]:
    """Sums over a batch of what neurons show, compiled."""
    wanted = [value for one in circuit.neurons.values() for value in (one.spikes, one.membrane)]

    @jax.jit
    def summed(variables: PyTree, images: PyTree) -> Scores:
        found = iter(evaluate(circuit.program, inputs_of(circuit, variables, images), wanted))
        sums, count = {}, 0
        for layer, neurons in circuit.neurons.items():
            spikes = channels_last(next(found), neurons)
            membrane = channels_last(next(found), neurons)
            sums[layer] = jnp.sum(summary(spikes, membrane, neurons.kind), axis=0)
            count = spikes.shape[1]
        return {**sums, "images": jnp.int32(count)}

    return summed


def streaming_criticality(network: Network, reading: Reading = "derivative") -> Statistic:
    """Criticality over batches; see ``criticality``.

    Raises:
      ValueError: there is no such reading, or the network has no spiking neurons.
    """
    names.choose("reading", reading, READINGS)
    return Statistic(network, READINGS[reading])


def criticality(
    network: Network,
    variables: PyTree,
    images: Float[Array, "..."] | Float[np.ndarray, "..."],
    *,
    reading: Reading = "derivative",
    batch_size: int = 256,
) -> Scores:
    """How close neurons sit to their threshold, per channel: the mean over images of the maximum
    over space of the mean over time of a function of the potential before the reset.

    Source: Chen et al. 2025, Section 4 ("derivative"), and the code they released ("primitive").

    Args:
      network: traced in evaluation mode, of any batch size.
      variables: its variables.
      images: any number of them, or frames with time on the first axis.
      reading: "derivative": the surrogate's derivative, highest where the potential is at the
        threshold; "primitive": the surrogate itself, which rises on beyond it.
      batch_size: how many go through the network at once.

    Returns:
      For each layer of neurons one score per channel, [channels]; see ``of_weights`` and
      ``of_channels`` for scores of the weights and channels that drive them.

    Raises:
      ValueError: there is no such reading, the network has no spiking neurons, or there are no
        images.
    """
    return streaming_criticality(network, reading).of(variables, images, batch_size)


def firing_rates(
    network: Network,
    variables: PyTree,
    images: Float[Array, "..."] | Float[np.ndarray, "..."],
    *,
    batch_size: int = 256,
) -> Scores:
    """In which share of the steps each neuron fires.

    Args:
      network: as ``criticality``.
      variables: its variables.
      images: any number of them, or frames with time on the first axis.
      batch_size: how many go through the network at once.

    Returns:
      For each layer of neurons the rates in [0, 1], [space, channels]; space is 1 without images.

    Raises:
      ValueError: as ``criticality``.
    """
    return Statistic(network, _rates).of(variables, images, batch_size)


def feature_entropy(
    network: Network,
    variables: PyTree,
    images: Float[Array, "..."] | Float[np.ndarray, "..."],
    *,
    batch_size: int = 256,
) -> Scores:
    """The entropy of firing in bits, H(p) = -p log2 p - (1 - p) log2 (1 - p), per channel.

    p is a neuron's firing rate over steps and images; a channel has the mean over its neurons, a
    layer the mean over its channels. It is 1 where neurons fire every other step, which is where
    potentials lie around the threshold.

    Args:
      network: as ``criticality``.
      variables: its variables.
      images: any number of them, or frames with time on the first axis.
      batch_size: how many go through the network at once.

    Returns:
      For each layer of neurons the entropies, [channels].

    Raises:
      ValueError: as ``criticality``.
    """
    rates = firing_rates(network, variables, images, batch_size=batch_size)
    return {layer: jnp.mean(_entropy(of_layer), axis=0) for layer, of_layer in rates.items()}


def firing_counts(
    network: Network,
    variables: PyTree,
    images: Float[Array, "..."] | Float[np.ndarray, "..."],
    *,
    batch_size: int = 256,
) -> Float[np.ndarray, "images channels"]:
    """How often the neurons of the last layer fire for each image, a channel's neurons together.

    Args:
      network: as ``criticality``.
      variables: its variables.
      images: any number of them, or frames with time on the first axis.
      batch_size: how many go through the network at once.

    Returns:
      The counts.

    Raises:
      ValueError: as ``criticality``.
    """
    check_variables(network, variables)
    return np.concatenate(
        [
            np.asarray(_last_counts(read(network, batch))(variables, batch))
            for batch in in_batches(network, images, batch_size)
        ]
    )


@functools.lru_cache(maxsize=16)
def _last_counts(circuit: Circuit) -> Callable[[PyTree, PyTree], Array]:
    """Spikes of the last layer, by image and channel, compiled."""
    last = list(circuit.neurons.values())[-1]

    @jax.jit
    def counts(variables: PyTree, images: PyTree) -> Array:
        spikes = evaluate(circuit.program, inputs_of(circuit, variables, images), [last.spikes])[0]
        return jnp.sum(channels_last(spikes, last), axis=(0, 2))

    return counts


def _by_derivative(spikes: Array, membrane: Array, neuron: Neuron) -> Array:
    del spikes
    return _strongest(neuron.surrogate.derivative(membrane - neuron.threshold))


def _by_primitive(spikes: Array, membrane: Array, neuron: Neuron) -> Array:
    del spikes
    return _strongest(neuron.surrogate.primitive(membrane - neuron.threshold))


def _strongest(values: Array) -> Array:
    """The mean over time, then the maximum over space."""
    return jnp.max(jnp.mean(values, axis=0), axis=1)


def _rates(spikes: Array, membrane: Array, neuron: Neuron) -> Array:
    del membrane, neuron
    return jnp.mean(spikes, axis=0)


READINGS: dict[str, Summary] = {"derivative": _by_derivative, "primitive": _by_primitive}
"""What criticality is: the paper's definition, and that of the code its authors released."""


def _entropy(p: Array) -> Array:
    def part(p: Array) -> Array:
        return jnp.where(p > 0, -p * jnp.log2(jnp.where(p > 0, p, 1)), 0)

    return part(p) + part(1 - p)
