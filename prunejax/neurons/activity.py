"""A mark in a traced program: here spikes and membrane potentials are, of neurons of this kind.

``lif`` puts it on what it returns. It computes nothing and is compiled away, but a program that is
traced still holds it, whatever the model is written in: this is how ``network.trace`` knows a
spiking layer, and how criticality and spike counts find what they read.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from prunejax.neurons.surrogates import Surrogate

ACTIVITY = "spiking_activity"
"""The primitive's name in traced programs."""


@dataclasses.dataclass(frozen=True)
class Neuron:
    """A leaky integrate-and-fire neuron; see ``lif``.

    Attributes:
      decay: of the potential from one step to the next, in [0, 1].
      gain: of the currents; 1, or 1 / tau.
      threshold: above it a neuron fires.
      surrogate: what stands for the derivative of a spike.
      reset: "hard", to 0, or "soft", by the threshold.
      detach_reset: whether gradients pass the reset by.
    """

    decay: float
    gain: float
    threshold: float
    surrogate: Surrogate
    reset: str
    detach_reset: bool


def mark(
    spikes: Float[Array, "time ..."], membrane: Float[Array, "time ..."], neuron: Neuron
) -> tuple[Float[Array, "time ..."], Float[Array, "time ..."]]:
    """Marks spikes and membrane potentials.

    Args:
      spikes: of a layer.
      membrane: its potentials before the reset, of the same shape.
      neuron: of which kind its neurons are.

    Returns:
      Both, unchanged.
    """
    return tuple(_ACTIVITY.bind(spikes, membrane, neuron=neuron, time=0))


def _both(spikes: Any, membrane: Any, **static: Any) -> list[Any]:
    del static
    return [spikes, membrane]


def _abstract(spikes: Any, membrane: Any, **static: Any) -> list[Any]:
    del static
    return [one.update(weak_type=False) for one in (spikes, membrane)]


def _tangent(
    primals: Sequence[Any], tangents: Sequence[Any], **static: Any
) -> tuple[list[Any], list[Any]]:
    return _ACTIVITY.bind(*primals, **static), list(tangents)


def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, neuron: Neuron, time: int
) -> tuple[list[Any], list[int]]:
    """The batch comes first, so that time stands one axis further on."""
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    moved = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    return _ACTIVITY.bind(*moved, neuron=neuron, time=time + 1), [0, 0]


_ACTIVITY = Primitive(ACTIVITY)
_ACTIVITY.multiple_results = True
_ACTIVITY.def_impl(_both)
_ACTIVITY.def_abstract_eval(_abstract)
ad.primitive_jvps[_ACTIVITY] = _tangent
batching.primitive_batchers[_ACTIVITY] = _batch
mlir.register_lowering(_ACTIVITY, mlir.lower_fun(_both, multiple_results=True))
