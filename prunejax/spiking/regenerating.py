"""Pruning with regeneration: the smallest weights go, some grow again elsewhere."""

import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from prunejax import distributions, names, ranks
from prunejax import masks as masks_lib
from prunejax.rewiring.state import State, named, replaced
from prunejax.spiking.growth import GROWTH, Growth
from prunejax.training.slots import emptied, reset


class Schedule(NamedTuple):
    """How many weights each update keeps, and which share of them it grows.

    Attributes:
      sparsity: the fraction removed after the last update.
      updates: how many updates there are, n.
      share: of the kept weights that grow, r.
      decayed: whether r falls linearly to 0, so that the last update grows nothing.
    """

    sparsity: float
    updates: int
    share: float = 0.2
    decayed: bool = True

    def check(self) -> None:
        """Refuses numbers out of range.

        Raises:
          ValueError: the sparsity is outside [0, 1), there is no update, r is outside [0, 1).
        """
        distributions.check_sparsity(self.sparsity)
        if self.updates < 1:
            raise ValueError(f"there must be at least 1 update, got {self.updates}")
        if not 0 <= self.share < 1:
            raise ValueError(f"the share that grows must be in [0, 1), got {self.share}")

    def at(self, update: int) -> float:
        """The sparsity after update j = 1 .. n: ``s (1 - (1 - j/n)^3)`` (Zhu & Gupta 2017)."""
        self._check_update(update)
        return self.sparsity * (1 - (1 - update / self.updates) ** 3)

    def keep(self, weights: int, update: int) -> int:
        """How many of so many weights are kept after update j."""
        return distributions.kept_weights(weights, self.at(update))

    def growth(self, update: int) -> float:
        """The share that grows in update j."""
        self._check_update(update)
        return self.share * (1 - update / self.updates) if self.decayed else self.share

    def _check_update(self, update: int) -> None:
        self.check()
        if not 0 <= update <= self.updates:
            raise ValueError(f"there are {self.updates} updates, no update {update}")


class Regenerated(NamedTuple):
    """What an update did.

    Attributes:
      state: parameters, masks and optimiser state.
      grown: how many weights grew, by the paths of the leaves.
    """

    state: State
    grown: dict[str, Int[Array, ""]]


def regenerate(
    key: PRNGKeyArray,
    state: State,
    keep: Any,
    *,
    growth: str | Growth = "criticality",
    share: Any = 0.2,
    evidence: PyTree | None = None,
    head: Collection[str] = (),
    tx: optax.GradientTransformation | None = None,
) -> Regenerated:
    """One update: exactly ``keep`` weights are left, some of them new.

    1. Weights are ranked by magnitude, those of all leaves together; the leaves of ``head`` (the
       classifier) get their part of the first ``keep``, and nothing grows there.
    2. Of what is left for the others, ``floor(share * left)`` is for growth; the rest goes to their
       largest weights.
    3. As many weights that are not among those grow, at value 0, by a rule of ``GROWTH``.

    Slots of optimisers (momenta) of weights that went or grew begin anew. Each leaf keeps its
    largest weight. Source: Chen et al. 2025; the rule "gradient" is GraNet, Liu et al. 2021.

    Args:
      key: draws what is random.
      state: ``rewiring.State`` of parameters, masks (in the place of the topology) and the
        optimiser's state.
      keep: how many weights are kept, at most as many as there are now; may be traced.
      growth: a name in ``GROWTH``, or a ``Growth``.
      share: r, in [0, 1); may be traced.
      evidence: what the rule needs, a tree parallel to the masks: criticality as ``of_weights``
        gives it, or gradients of all weights, of those that are 0 too.
      head: paths of leaves where nothing grows, see ``undriven``.
      tx: the optimiser, by whose ``init`` slots begin anew; without it they become 0.

    Returns:
      The new state, and what grew where.

    Raises:
      ValueError: an unknown rule, no evidence where one is needed or none for a leaf, ``keep``
        above the weights that are left or below one per leaf, a share out of range, or a path of
        ``head`` that has no mask.
    """
    if isinstance(head, str):
        raise ValueError(f"head takes paths of leaves, ({head!r},) say, got the text {head!r}")
    head = tuple(dict.fromkeys(head))
    rule = GROWTH[names.choose("growth", growth, GROWTH)] if isinstance(growth, str) else growth
    masks_lib.validate(state.params, state.topology)
    masks, weights = named(state.topology), named(state.params)
    if not masks:
        raise ValueError("there is nothing to prune: every mask is None")
    for path in head:
        names.choose("leaf of the head", path, masks)
    body = [path for path in masks if path not in head]
    if not isinstance(share, Tracer) and not 0 <= float(share) < 1:
        raise ValueError(f"the share that grows must be in [0, 1), got {share}")
    given: dict[str, Any] = {}
    if rule.needs is not None:
        given = {} if evidence is None else named(evidence)
        for path in body:
            if path not in given:
                raise ValueError(
                    f"growth by {rule.needs} needs evidence for {path!r}: give it in evidence, or "
                    "name the leaf in head"
                )
            _check_shape(path, rule, given[path].shape, weights[path].shape)
    if not any(isinstance(one, Tracer) for one in (keep, *masks.values())):
        left = masks_lib.count(state.topology)
        if not len(masks) <= int(keep) <= left:
            raise ValueError(
                f"keep must be between the number of leaves, {len(masks)}, and the weights that "
                f"are left, {left}; got {keep}"
            )
    fresh = None if tx is None else tx.init(jax.tree.map(jnp.zeros_like, state.params))
    made, grown = _regenerate(
        key,
        state,
        jnp.asarray(keep, jnp.int32),
        jnp.asarray(share, jnp.float32),
        {path: given[path] for path in body if path in given},
        fresh,
        rule=rule,
        head=head,
    )
    return Regenerated(made, grown)


def _check_shape(path: str, rule: Growth, given: tuple[int, ...], weight: tuple[int, ...]) -> None:
    """Refuses evidence of a shape that the rule cannot use.

    Raises:
      ValueError: gradients of another shape than the weights, or criticality that does not
        broadcast to it.
    """
    try:
        fits = np.broadcast_shapes(given, weight) == weight and len(given) == len(weight)
    except ValueError:
        fits = False
    if not fits or (rule.needs == "gradients" and given != weight):
        raise ValueError(
            f"the evidence for {path!r} has shape {given}, which does not fit weights of {weight}"
        )


@functools.partial(jax.jit, static_argnames=("rule", "head"))
def _regenerate(
    key: PRNGKeyArray,
    state: State,
    keep: Int[Array, ""],
    share: Float[Array, ""],
    given: Mapping[str, Any],
    fresh: Any,
    *,
    rule: Growth,
    head: tuple[str, ...],
) -> tuple[State, dict[str, Int[Array, ""]]]:
    masks, weights = named(state.topology), named(state.params)
    wide = any(weights[path].dtype == jnp.float64 for path in masks)
    ranked = {
        path: ranks.protect_best(ranks.rank(jnp.abs(weights[path]), mask, wide))
        for path, mask in masks.items()
    }
    of_all = _parted(ranks.highest(jnp.concatenate([*ranked.values()]), keep), ranked)
    stays = {path: of_all[path] for path in head}
    body = {path: rank for path, rank in ranked.items() if path not in head}
    kept = keep - sum((ranks.tally(stays[path]) for path in head), jnp.int32(0))
    grown = {path: jnp.zeros(rank.shape, bool) for path, rank in ranked.items()}
    if body:
        grows = ranks.share_of(share, kept) if rule.order is not None else jnp.int32(0)
        # each leaf that has weights keeps its largest
        filled = sum((jnp.any(rank > 0).astype(jnp.int32) for rank in body.values()), jnp.int32(0))
        grows = jnp.clip(grows, 0, jnp.maximum(kept - filled, 0))
        stays |= _parted(ranks.highest(jnp.concatenate([*body.values()]), kept - grows), body)
        if rule.order is not None:
            shapes = [weights[path].shape for path in body]
            evidence = [given[path] for path in body] if given else []
            order = [
                jnp.where(stays[path], np.array(0, rank.dtype), rank)
                for path, rank in zip(body, rule.order(key, evidence, shapes), strict=True)
            ]
            grown |= _parted(ranks.highest(jnp.concatenate(order), grows), body)
    shaped = {path: weights[path].shape for path in masks}
    changed = {path: ~stays[path].reshape(shape) for path, shape in shaped.items()}
    params = {
        path: jnp.where(changed[path], jnp.zeros_like(weights[path]), weights[path])
        for path in masks
    }
    fresh = emptied(state.opt_state) if fresh is None else fresh
    changed_tree = jax.tree_util.tree_map_with_path(
        lambda path, _: changed[masks_lib.name(path)], state.topology
    )
    new_masks = {path: (stays[path] | grown[path]).reshape(shape) for path, shape in shaped.items()}
    return (
        State(
            replaced(state.params, params),
            replaced(state.topology, new_masks),
            reset(state.opt_state, fresh, changed_tree),
        ),
        {path: ranks.tally(marked) for path, marked in grown.items()},
    )


def _parted(marked: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    """A flat array in the parts that it was put together from."""
    bounds = np.cumsum([part.size for part in like.values()])[:-1]
    return dict(zip(like, jnp.split(marked, bounds), strict=True))
