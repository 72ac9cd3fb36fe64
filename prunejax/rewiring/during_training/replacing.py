"""Methods that drop links and grow as many elsewhere: SET, RigL."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from prunejax import allocation, names, ranks
from prunejax import masks as masks_lib
from prunejax.allocation import Pattern, Unstructured
from prunejax.rewiring.during_training.course import Course, Moment
from prunejax.rewiring.during_training.scores import chance, scores_of
from prunejax.rewiring.l3 import l3_scores
from prunejax.sparse import Links


def _constant(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return np.ones_like(fractions)


def _cosine(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return (1 + np.cos(np.pi * fractions)) / 2


ANNEALINGS: dict[str, Callable[[Any], Any]] = {"constant": _constant, "cosine": _cosine}
"""How far training is between the first change and the last -> which part of the drop fraction is
left. Cosine is ``(1 + cos(pi t)) / 2``: the last change drops nothing (Evci et al. 2020, Section
3)."""


class Left(NamedTuple):
    """A leaf after links were dropped.

    Attributes:
      gradient: of all weights.
      mask: the links before.
      kept: those that stay.
      links: how many the leaf has always, None where leaves share one number ("global").
    """

    gradient: Array
    mask: Array
    kept: Array
    links: int | None


Grow = Callable[[PRNGKeyArray, Left], Array]
"""``(key, leaf) -> scores``: of the places that are free the highest are grown."""


def at_random(key: PRNGKeyArray, left: Left) -> Array:
    """Grows anywhere with equal probability: SET (Mocanu et al. 2018)."""
    return jax.random.uniform(key, left.mask.shape, jnp.float32)


def by_gradient(key: PRNGKeyArray, left: Left) -> Array:
    """Grows where the magnitude of the gradient is largest: RigL (Evci et al. 2020)."""
    del key
    return jnp.abs(left.gradient)


def by_paths(key: PRNGKeyArray, left: Left, *, rule: str = "ch3_l3") -> Array:
    """Grows where paths of length three predict links (Zhang et al. 2024), see ``rewiring.l3``."""
    del key
    links = Links.from_mask(left.mask, size=left.links)
    return l3_scores(links, links.gather(left.kept), rule=rule)


@dataclasses.dataclass(frozen=True)
class DropAndGrow:
    """Drops the smallest links of each leaf and grows as many elsewhere.

    ``floor(fraction * annealing * links)`` of a leaf go and as many come, so that each leaf has
    always the same number. Training begins with random masks. A link that is dropped may be grown
    again at once; it stays as it was then. A new one begins at 0.

    Attributes:
      grow: which links come, ``(key, leaf) -> scores``, see ``Left``.
      fraction: which part of the links is replaced, in [0, 1].
      annealing: how that part falls, a name in ``ANNEALINGS``.

    Raises:
      ValueError: the fraction is out of range, or there is no such annealing.
    """

    grow: Grow = at_random
    fraction: float = 0.3
    annealing: str = "constant"
    straight_through = False
    changes_once = False

    def __post_init__(self) -> None:
        names.choose("annealing", self.annealing, ANNEALINGS)
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must be in [0, 1], got {self.fraction}")

    @property
    def needs_end(self) -> bool:
        """Whether the last change must be known beforehand."""
        return self.annealing != "constant"

    def course(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        pattern: Pattern,
        fractions: Float[np.ndarray, " changes"],
    ) -> Course:
        """What each change keeps: the same number always.

        Raises:
          ValueError: links come in a pattern, which this method does not know, or as ``counts`` of
            ``Unstructured``; or links are to be predicted where they cannot be.
        """
        if not isinstance(pattern, Unstructured):
            raise ValueError(
                f"dropping and growing works on single links, not on {type(pattern).__name__}: "
                "take gradual, one_shot or straight_through"
            )
        counts = pattern.counts(params, sparsity, distribution, np.ones_like(fractions))
        if getattr(self.grow, "func", self.grow) is by_paths:
            _refuse_paths(params, counts)
        return Course(counts, fractions, pattern)

    def first(self, key: PRNGKeyArray, params: PyTree, course: Course) -> PyTree:
        """Random masks."""
        scores = scores_of(chance, key, params, None)
        return course.pattern.keep(scores, jnp.asarray(course.counts[0]), None)

    def change(self, moment: Moment, course: Course) -> PyTree:
        """The masks from now on."""
        shares = self.fraction * ANNEALINGS[self.annealing](course.fractions)
        share = jnp.asarray(shares, jnp.float32)[moment.number]
        masks, structure = jax.tree.flatten(moment.masks)
        per_leaf = [None] * len(masks) if course.counts.ndim == 1 else course.counts[0].tolist()
        parts = (
            jax.random.split(moment.key, len(masks)),
            jax.tree.leaves(moment.params),
            jax.tree.leaves(moment.gradients),
            masks,
            per_leaf,
        )
        replaced = [self._replaced(share, *of_leaf) for of_leaf in zip(*parts, strict=True)]
        return jax.tree.unflatten(structure, replaced)

    def _replaced(
        self,
        share: Array,
        key: PRNGKeyArray,
        weight: Array,
        gradient: Array,
        mask: Array,
        number: int | None,
    ) -> Array:
        """A leaf's mask without the smallest links and with as many new ones."""
        stay, dropped = _without_smallest(share, mask, weight)
        growth = self.grow(key, Left(gradient, mask, stay, number))
        come = allocation.keep([growth], dropped, masks=[~stay], allow_empty=True)[0]
        return stay | come


def _refuse_paths(params: PyTree, counts: Any) -> None:
    """Refuses leaves between whose neurons no paths lead.

    Raises:
      ValueError: a leaf has other than two axes, or leaves share one number of links.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.ndim != 2:
            raise ValueError(
                "this growth predicts links between inputs and outputs: it needs leaves with two "
                f"axes, but {masks_lib.name(path)!r} has shape {leaf.shape}; leave it out, by "
                "select="
            )
    if counts.ndim == 1:
        raise ValueError(
            "this growth needs a distribution with a number of links per leaf: uniform, er or erk"
        )


def _without_smallest(share: Array, mask: Array, weight: Array) -> tuple[Array, Array]:
    """The links that stay, and how many go."""
    links = ranks.tally(mask)
    dropped = ranks.share_of(share, links)
    stay = allocation.keep([jnp.abs(weight)], links - dropped, masks=[mask], allow_empty=True)[0]
    return stay, dropped
