"""Methods that drop links and grow as many elsewhere: SET, RigL."""

import dataclasses
from collections.abc import Callable
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from prunejax import allocation, names, ranks
from prunejax.rewiring.during_training.course import Course, Moment
from prunejax.rewiring.during_training.patterns import Pattern, Unstructured
from prunejax.rewiring.during_training.scores import chance, scores_of

NEAR = 2.0**-22
"""A product in float32 this close below a whole number, relatively, is that number."""


def _constant(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return np.ones_like(fractions)


def _cosine(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return (1 + np.cos(np.pi * fractions)) / 2


ANNEALINGS: dict[str, Callable[[Any], Any]] = {"constant": _constant, "cosine": _cosine}
"""How far training is between the first change and the last -> which part of the drop fraction is
left. Cosine is ``(1 + cos(pi t)) / 2``: the last change drops nothing (Evci et al. 2020, Section
3)."""


Grow = Callable[[PRNGKeyArray, Array], Array]
"""``(key, gradient of a leaf) -> scores``: of the places that are free the highest are grown."""


def at_random(key: PRNGKeyArray, gradient: Array) -> Array:
    """Grows anywhere with equal probability: SET (Mocanu et al. 2018)."""
    return jax.random.uniform(key, gradient.shape, jnp.float32)


def by_gradient(key: PRNGKeyArray, gradient: Array) -> Array:
    """Grows where the magnitude of the gradient is largest: RigL (Evci et al. 2020)."""
    del key
    return jnp.abs(gradient)


@dataclasses.dataclass(frozen=True)
class DropAndGrow:
    """Drops the smallest links of each leaf and grows as many elsewhere.

    ``floor(fraction * annealing * links)`` of a leaf go and as many come, so that each leaf has
    always the same number. Training begins with random masks. A link that is dropped may be grown
    again at once; it stays as it was then. A new one begins at 0.

    Attributes:
      grow: which links come, ``(key, gradient of a leaf) -> scores``.
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
            ``Unstructured``.
        """
        if not isinstance(pattern, Unstructured):
            raise ValueError(
                f"dropping and growing works on single links, not on {type(pattern).__name__}: "
                "take gradual, one_shot or straight_through"
            )
        counts = pattern.counts(params, sparsity, distribution, np.ones_like(fractions))
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
        keys = jax.random.split(moment.key, len(masks))
        parts = (keys, masks, jax.tree.leaves(moment.params), jax.tree.leaves(moment.gradients))
        return jax.tree.unflatten(
            structure,
            [
                _replaced(share, mask, weight, self.grow(key, gradient))
                for key, mask, weight, gradient in zip(*parts, strict=True)
            ],
        )


def _replaced(share: Array, mask: Array, weight: Array, growth: Array) -> Array:
    """A leaf's mask without the smallest links and with as many new ones."""
    links = ranks.tally(mask)
    product = share * links.astype(jnp.float32)
    dropped = jnp.floor(product + NEAR * product).astype(jnp.int32)
    stay = allocation.keep([jnp.abs(weight)], links - dropped, masks=[mask], allow_empty=True)[0]
    come = allocation.keep([growth], dropped, masks=[~stay], allow_empty=True)[0]
    return stay | come
