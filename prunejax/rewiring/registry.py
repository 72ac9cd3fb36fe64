"""The rules of removal and of regrowth by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prunejax.rewiring.by_sign import by_sign
from prunejax.rewiring.l3 import l3_scores
from prunejax.rewiring.magnitude import magnitude
from prunejax.rewiring.regrowth import Regrowth
from prunejax.rewiring.soft import soft

Removal = Callable[
    [PRNGKeyArray, Float[Array, " weights"], Bool[Array, " weights"], Int[Array, ""]], Any
]
"""``(key, weights, alive, count) -> which links stay``: exactly ``count`` of the alive ones go."""

REMOVAL: dict[str, Removal] = {
    "magnitude": magnitude,
    "by_sign": by_sign,
    "soft": soft,
}
"""Which links go: the smallest; the smallest of each sign (SET's); by lot, small ones first."""

REGROWTH: dict[str, Regrowth] = {
    "random": Regrowth(),
    "ch3_l3": Regrowth(from_links=partial(l3_scores, rule="ch3_l3")),
    "ch2_l3": Regrowth(from_links=partial(l3_scores, rule="ch2_l3")),
    "ch1_l3": Regrowth(from_links=partial(l3_scores, rule="ch1_l3")),
    "ra_l3": Regrowth(from_links=partial(l3_scores, rule="ra_l3")),
    "path_count": Regrowth(from_links=partial(l3_scores, rule="path_count")),
    "gradient": Regrowth(from_gradient=jnp.abs),
}
"""Where links grow: anywhere; where paths of length three predict them; where the loss asks for
them (RigL)."""
