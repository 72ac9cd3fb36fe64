"""Link prediction on one layer."""

from typing import Any

from jaxtyping import Array, Float

from prunejax import names
from prunejax.rewiring.registry import REGROWTH
from prunejax.sparse import Links


def scores(mask: Any, rule: str, *, size: int | None = None) -> Float[Array, "inputs outputs"]:
    """How likely each pair of neurons of a layer is to be linked, by its links alone.

    >>> scores(jnp.array([[True, True], [False, True], [True, False]]), "path_count").tolist()[1]
    [1.0, 0.0]

    Args:
      mask: the layer's links: a bool array [inputs, outputs], or ``Links``.
      rule: a name in ``REGROWTH`` that predicts from links: "ch3_l3" and its kin.
      size: how many links there are; needed for a mask inside jit alone.

    Returns:
      One score per pair, higher means likelier; those of pairs that are linked mean nothing. In
      JAX's default float type.

    Raises:
      ValueError: an unknown rule or one that predicts nothing, or a mask that is not of two axes.
    """
    predicting = {name for name, each in REGROWTH.items() if each.from_links is not None}
    from_links = REGROWTH[names.choose("rule", rule, predicting)].from_links
    assert from_links is not None
    return from_links(mask if isinstance(mask, Links) else Links.from_mask(mask, size=size))
