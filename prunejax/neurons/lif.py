"""Leaky integrate-and-fire neurons with a surrogate gradient.

A layer's currents of all steps come in one array, so that everything without a state (kernels,
pools, normalisation) is computed for all steps at once; only the recursion here walks through
time. It is unrolled, and its backward pass is written out, so that nothing but the potentials is
kept for it.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prunejax import names
from prunejax.neurons.activity import Neuron, mark
from prunejax.neurons.surrogates import Surrogate, choose

RESETS = ("hard", "soft")

UNROLLED = 64
"""Up to so many steps the recursion is unrolled. Longer ones are a scan: it compiles at once, but
``network.trace`` cannot cut its channels."""


def neuron(
    *,
    decay: float | None = None,
    tau: float | None = None,
    threshold: float = 0.5,
    surrogate: str | Surrogate = "tanh_window",
    reset: str = "hard",
    detach_reset: bool = False,
) -> Neuron:
    """The neuron that some settings describe; arguments and errors as in ``lif``."""
    if decay is not None and tau is not None:
        raise ValueError(f"give decay or tau, not both: got {decay} and {tau}")
    if tau is not None and not tau >= 1:
        raise ValueError(f"tau must be at least 1 step, got {tau}")
    decay = 0.25 if decay is None and tau is None else decay
    if decay is not None and not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay}")
    if not 0 < threshold < float("inf"):
        raise ValueError(f"threshold must be a positive number, got {threshold}")
    names.choose("reset", reset, RESETS)
    leak, gain = 1 - 1 / (tau or 1.0), 1 / (tau or 1.0)
    if decay is not None:
        leak, gain = decay, 1.0
    return Neuron(
        float(leak), float(gain), float(threshold), choose(surrogate), reset, bool(detach_reset)
    )


def lif(
    currents: Float[Array, "time ..."],
    *,
    decay: float | None = None,
    tau: float | None = None,
    threshold: float = 0.5,
    surrogate: str | Surrogate = "tanh_window",
    reset: str = "hard",
    detach_reset: bool = False,
) -> tuple[Float[Array, "time ..."], Float[Array, "time ..."]]:
    """Leaky integrate-and-fire neurons, at rest before the first step.

    ``u[t] = decay v[t-1] + x[t]``, ``s[t] = 1 where u[t] > threshold``, ``v[t] = u[t] (1 - s[t])``
    (hard reset) or ``u[t] - threshold s[t]`` (soft). With ``tau`` the currents decay too:
    ``u[t] = v[t-1] + (x[t] - v[t-1]) / tau``. Backwards the derivative of a spike is the
    surrogate's at ``u[t] - threshold``. Source: Chen et al. 2025, whose settings are the defaults.

    Under jit nothing but u is kept for the backward pass. A plain function of arrays: it works in
    linen, nnx and Equinox modules alike. Can be differentiated twice (forwards over backwards), not
    forwards alone. Never put a convolution with it into a scan on a CPU: its gradient is many times
    slower there; give all steps at once, see ``fold``. Up to 64 steps are unrolled; with more,
    ``network.trace`` finds no channels to cut.

    Args:
      currents: x, with time on the first axis.
      decay: of the potential, in [0, 1]; 0.25 if ``tau`` is not given.
      tau: the time constant in steps, at least 1, in the place of ``decay``.
      threshold: above 0.
      surrogate: a name in ``SURROGATES``, or a ``Surrogate``.
      reset: "hard" or "soft".
      detach_reset: whether gradients pass by the spike in the reset.

    Returns:
      Spikes, 0 or 1, and membrane potentials before the reset, u, both like the currents.

    Raises:
      ValueError: no time step, decay outside [0, 1], tau below 1, both of them, a threshold that is
        not positive, an unknown name, or currents that are whole numbers.
    """
    kind = neuron(
        decay=decay,
        tau=tau,
        threshold=threshold,
        surrogate=surrogate,
        reset=reset,
        detach_reset=detach_reset,
    )
    if not jnp.issubdtype(currents.dtype, jnp.floating):
        raise ValueError(f"currents must be floating point, got {currents.dtype}")
    if currents.ndim < 1 or currents.shape[0] < 1:
        raise ValueError(
            f"currents need at least one time step on their first axis, got shape {currents.shape}"
        )
    spikes, membrane = _lif(kind, currents)  # pyright: ignore[reportGeneralTypeIssues]
    return mark(spikes, membrane, kind)


def lif_step(
    carried: Float[Array, "..."], current: Float[Array, "..."], kind: Neuron
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """One step of ``lif``, for networks that are run step by step; it has no gradient of its own.

    Args:
      carried: v, the potentials after the last step's reset; zeros before the first.
      current: x.
      kind: from ``neuron``.

    Returns:
      v after this step, spikes, and u.
    """
    membrane = kind.decay * carried + kind.gain * current
    spikes = _fires(membrane, kind)
    if kind.reset == "hard":
        return membrane * (1 - spikes), spikes, membrane
    return membrane - kind.threshold * spikes, spikes, membrane


def _fires(membrane: Array, kind: Neuron) -> Array:
    return (membrane > kind.threshold).astype(membrane.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lif(kind: Neuron, currents: Array) -> tuple[Array, Array]:
    return _walk(kind, currents)


def _walk(kind: Neuron, currents: Array) -> tuple[Array, Array]:
    """Spikes and potentials of all steps."""
    steps = currents.shape[0]

    def step(carried: Array, current: Array) -> tuple[Array, tuple[Array, Array]]:
        carried, spikes, membrane = lif_step(carried, current, kind)
        return carried, (spikes, membrane)

    carried = jnp.zeros_like(currents[0])
    if steps > UNROLLED:
        return jax.lax.scan(step, carried, currents, unroll=8)[1]
    found = []
    for number in range(steps):
        carried, both = step(carried, _at(currents, number))
        found.append(both)
    spikes, membranes = zip(*found, strict=True)
    return jnp.stack(spikes), jnp.stack(membranes)


def _at(x: Array, step: int) -> Array:
    return jax.lax.index_in_dim(x, step, keepdims=False)


def _forward(kind: Neuron, currents: Array) -> tuple[tuple[Array, Array], Array]:
    spikes, membrane = _walk(kind, currents)
    return (spikes, membrane), membrane


def _backward(kind: Neuron, membrane: Array, given: tuple[Array, Array]) -> tuple[Array]:
    """Back-propagation through time: the gradient of u[t] from those of s[t], u[t] and v[t]."""
    of_spikes, of_membrane = given
    steps = membrane.shape[0]

    def step(of_carried: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        u, of_spike, of_u = at
        slope = kind.surrogate.derivative(u - kind.threshold)
        if kind.reset == "hard":
            passed = 1 - _fires(u, kind)
            by_reset = u
        else:
            passed = jnp.ones_like(u)
            by_reset = jnp.full_like(u, kind.threshold)
        through = passed if kind.detach_reset else passed - by_reset * slope
        of_potential = of_spike * slope + of_u + of_carried * through
        return kind.decay * of_potential, kind.gain * of_potential

    of_carried = jnp.zeros_like(membrane[0])
    if steps > UNROLLED:
        _, of_currents = jax.lax.scan(
            step, of_carried, (membrane, of_spikes, of_membrane), reverse=True, unroll=8
        )
        return (of_currents,)
    found: list[Any] = []
    for number in reversed(range(steps)):
        at = (_at(membrane, number), _at(of_spikes, number), _at(of_membrane, number))
        of_carried, of_current = step(of_carried, at)
        found.append(of_current)
    return (jnp.stack(found[::-1]),)


_lif.defvjp(_forward, _backward)
