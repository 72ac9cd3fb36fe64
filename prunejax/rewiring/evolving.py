"""One update of a sparse network's topology: links go, as many grow elsewhere."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from prunejax import names, ranks
from prunejax.rewiring import layouts
from prunejax.rewiring.checks import check_chain, check_layer
from prunejax.rewiring.layouts import Topology
from prunejax.rewiring.registry import REGROWTH, REMOVAL, Removal
from prunejax.rewiring.regrowth import Regrowth
from prunejax.rewiring.state import Info, State, bias_of, counted, layers_of, named, replaced
from prunejax.rewiring.sweeping import Link, sweep
from prunejax.sparse import Links
from prunejax.training.slots import emptied, map_slots


def cosine(zeta: float, step: Any, steps: int) -> Float[Array, ""]:
    """A share of links that falls to 0 along a half cosine: ``zeta (1 + cos(pi step/steps)) / 2``.

    Source: Evci et al., "Rigging the lottery", 2020, Section 3.

    Args:
      zeta: at step 0.
      step: may be traced.
      steps: when it is 0.
    """
    phase = jnp.minimum(jnp.asarray(step, jnp.float32) / np.float32(steps), 1)
    return np.float32(zeta / 2) * (1 + jnp.cos(np.float32(math.pi) * phase))


def evolve(
    key: PRNGKeyArray,
    state: State,
    *,
    zeta: Any = 0.3,
    removal: str | Removal = "magnitude",
    regrowth: str | Regrowth = "random",
    gradients: PyTree | None = None,
    chain: Sequence[str] = (),
    activation: Callable[[Array], Array] = jax.nn.relu,
    tx: optax.GradientTransformation | None = None,
    initial: str = "kaiming",
    fan_in: str = "inputs",
    temperature: float | None = None,
    settle_at: float | None = None,
    settled: dict[str, Any] | None = None,
) -> tuple[State, Info]:
    """Rewires every layer that has links: some go, exactly as many grow, their slots become 0.

    In each layer ``floor(zeta * links)`` links go by the removal rule, then those of disconnected
    neurons (``chain``). The regrowth rule puts as many elsewhere; a link that just went may come
    back. The number of links never changes. Call it between training steps; it can also be jitted
    and vmapped. Kernels are [inputs, outputs], as Flax holds them: transpose Equinox's first.
    Source: Section 4.3 of Sulyok et al. 2026; Mocanu et al. 2018; Zhang et al. 2024.

    Args:
      key: draws what is random.
      state: parameters, topology and optimiser state.
      zeta: the share of links that go, in (0, 1); may be traced, see ``cosine``. A traced one is
        clipped to [0, 1], NaN to 0.
      removal: a name in ``REMOVAL`` or a function like them. (The same function again, and the same
        ``regrowth`` and ``activation``: another one compiles anew.)
      regrowth: a name in ``REGROWTH`` or a ``Regrowth``.
      gradients: parallel to ``params``, of the kernels' dense shapes, for a rule that needs them:
        of a loss on ``sparse.to_dense(params, links)[0]`` and a dense model, say.
      chain: the paths of the kernels of layers that read each other, in order, between which
        disconnected neurons are looked for; all links into and out of the chain count as connected.
        The bias of ``"a/kernel"`` is ``"a/bias"``.
      activation: between two layers of the chain.
      tx: the optimiser, by whose ``init`` slots begin anew; without it they become 0, which is
        where momentum and Adam begin, but not Adagrad.
      initial: weights of new links: "kaiming", N(0, 2/n), or "zero".
      fan_in: n: "inputs", all neurons of the layer before (the paper's); "links", the mean number
        of links into a neuron.
      temperature: draw new links instead of taking the best: chances in proportion to
        ``score ** (1 / temperature)``, by Gumbel noise.
      settle_at: from a layer of which more than this share of what went came back the removal rule
        takes nothing in later updates, if ``settled`` of the last ``Info`` is given (Zhang et al.
        2024: 0.9).
      settled: from the last ``Info``.

    Returns:
      The state and what was done.

    Raises:
      ValueError: zeta outside (0, 1), a layer with NaN weights, with fewer free pairs than must
        grow or without links, a rule that needs two axes or gradients where there are none, an
        unknown name, a chain whose layers do not fit.
    """
    if isinstance(removal, str):
        removal = REMOVAL[names.choose("removal", removal, REMOVAL)]
    if isinstance(regrowth, str):
        regrowth = REGROWTH[names.choose("regrowth", regrowth, REGROWTH)]
    names.choose("initial", initial, ("kaiming", "zero"))
    names.choose("fan_in", fan_in, ("inputs", "links"))
    if not isinstance(zeta, Tracer) and not 0 < float(zeta) < 1:
        raise ValueError(f"zeta is the share of links that go, in (0, 1), got {zeta}")
    for option, number, most in (
        ("temperature", temperature, math.inf),
        ("settle_at", settle_at, 1),
    ):
        if number is not None and not 0 < float(number) <= most:
            raise ValueError(f"{option} must be above 0 and at most {most}, got {number}")
    params, layers = named(state.params), layers_of(state)
    if settled is not None and set(settled) != set(layers):
        raise ValueError(f"settled must be of the layers {[*layers]}, got {[*settled]}")
    fresh = None if tx is None else tx.init(jax.tree.map(jnp.zeros_like, state.params))
    dense = {} if gradients is None else named(gradients)
    for name, topology in layers.items():
        check_layer(name, topology, params[name], zeta, regrowth, dense.get(name))
    check_chain(tuple(chain), layers)
    return _evolve(
        key, state, jnp.asarray(zeta, jnp.float32), gradients, settled, fresh,
        removal=removal, regrowth=regrowth, chain=tuple(chain), activation=activation,
        initial=initial, fan_in=fan_in, temperature=temperature, settle_at=settle_at,
        sizes=counted(layers) if regrowth.from_links is not None else None,
    )  # fmt: skip


@functools.partial(
    jax.jit,
    static_argnames=(
        "removal", "regrowth", "chain", "activation", "initial", "fan_in", "temperature",
        "settle_at", "sizes",
    ),
)  # fmt: skip
def _evolve(
    key: PRNGKeyArray,
    state: State,
    zeta: Float[Array, ""],
    gradients: PyTree | None,
    settled: dict[str, Any] | None,
    fresh: Any,
    *,
    removal: Removal,
    regrowth: Regrowth,
    chain: tuple[str, ...],
    activation: Callable[[Array], Array],
    initial: str,
    fan_in: str,
    temperature: float | None,
    settle_at: float | None,
    sizes: tuple[int, ...] | None,
) -> tuple[State, Info]:
    params, layers = named(state.params), layers_of(state)
    fresh = emptied(state.opt_state) if fresh is None else fresh
    dense = {} if gradients is None else named(gradients)
    sizes_of = {} if sizes is None else dict(zip(layers, sizes, strict=True))
    settled = settled or {name: jnp.zeros((), bool) for name in layers}
    keys = dict(zip(layers, jax.random.split(key, len(layers)), strict=True))

    kept, removed = {}, {}
    share = jnp.where(zeta > 0, jnp.minimum(zeta, 1), 0)  # a traced one could be anything
    for name, topology in layers.items():
        there = layouts.alive(topology)
        links = ranks.tally(there)
        removed[name] = jnp.where(settled[name], 0, ranks.share_of(share, links))
        key = jax.random.fold_in(keys[name], 0)
        kept[name] = removal(key, params[name].ravel(), there, removed[name])

    swept = sweep(
        [
            Link(name, layers[name], params[name].ravel(), params.get(bias_of(name)))
            for name in chain
        ],
        kept,
        activation,
    )
    changed = {bias_of(name): bias for name, bias in swept.biases.items()}
    info = Info(removed, {}, {}, {})
    grown = {}
    for name, topology in layers.items():
        went = ranks.tally(kept[name]) - ranks.tally(swept.kept[name])
        count = removed[name] + went
        key = jax.random.fold_in(keys[name], 1)
        grown[name] = _grow(
            key, topology, swept.kept[name], count, regrowth, dense.get(name), temperature,
            sizes_of.get(name),
        )  # fmt: skip
        new = _new_weights(
            jax.random.fold_in(keys[name], 2), topology, params[name], initial, fan_in
        )
        changed[name] = grown[name].place(params[name].ravel(), new)
        info.swept[name], info.regrown[name] = went, grown[name].regrown
        info.settled[name] = settled[name]
        if settle_at is not None:
            share = grown[name].regrown.astype(jnp.float32) / jnp.maximum(count, 1).astype(
                jnp.float32
            )
            info.settled[name] = settled[name] | (share > settle_at)

    def reset(name: str, slot: Array, begun: Array) -> Array:
        if name not in grown:
            return slot
        return grown[name].place(slot.ravel(), begun.astype(slot.dtype).ravel())

    return (
        State(
            replaced(state.params, changed),
            replaced(state.topology, {name: one.topology for name, one in grown.items()}),
            map_slots(reset, state.params, state.opt_state, fresh),
        ),
        info,
    )


def _grow(
    key: PRNGKeyArray,
    topology: Topology,
    kept: Bool[Array, " weights"],
    count: Int[Array, ""],
    regrowth: Regrowth,
    gradient: Any,
    temperature: float | None,
    size: int | None,
) -> layouts.Grown:
    if regrowth.from_links is not None:
        scores = regrowth.from_links(*_links_left(topology, kept, size))
    elif regrowth.from_gradient is not None:
        scores = regrowth.from_gradient(gradient)
    else:
        return layouts.random_growth(key, topology, kept, count)
    if temperature is not None:
        noise = jax.random.gumbel(jax.random.fold_in(key, 1), scores.shape, scores.dtype)
        scores = jnp.log(scores) / temperature + noise
    return layouts.best_growth(key, topology, kept, count, scores)


def _links_left(
    topology: Topology, kept: Bool[Array, " weights"], size: int | None
) -> tuple[Links, Bool[Array, " links"]]:
    """A layer as links, and which of them are left."""
    if isinstance(topology, Links):
        return topology, kept
    links = Links.from_mask(topology, size=size)
    return links, links.gather(kept.reshape(topology.shape))


def _new_weights(
    key: PRNGKeyArray, topology: Topology, like: Array, initial: str, fan_in: str
) -> Array:
    """Weights for new links, flat, one per entry."""
    if initial == "zero":
        return jnp.zeros(like.size, like.dtype)
    inputs = math.prod(topology.shape[:-1])
    variance = jnp.float32(2 / inputs)
    if fan_in == "links":
        links = jnp.sum(layouts.alive(topology), dtype=jnp.float32)
        variance = 2 * topology.shape[-1] / jnp.maximum(links, 1)
    drawn = jax.random.normal(key, (like.size,), jnp.float32) * jnp.sqrt(variance)
    return drawn.astype(like.dtype)
