"""Links that are removed, against a slow version."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.robustness import PERTURBATIONS, count_removed
from tests.support import robustness_reference as reference

STRENGTHS = [0.0, 0.01, 0.05, 0.15, 0.35, 0.5, 0.85, 0.99, 1.0]
ORDERS = {
    "random": lambda weights: np.zeros(len(weights)),
    "weight_order": np.abs,
    "reverse_weight_order": lambda weights: -np.abs(weights),
}
PRUNINGS = {name: jax.jit(PERTURBATIONS[name].change) for name in ORDERS}


def weights_of(kind):
    random = np.random.default_rng(0)
    match kind:
        case "different":
            return random.normal(size=130).astype(np.float32)
        case "tied":
            return random.choice([-2.0, -1.0, 1.0, 2.0], 130).astype(np.float32)
        case "equal":
            return np.full(130, -0.5, np.float32)


@pytest.mark.parametrize("kind", ["different", "tied", "equal"])
@pytest.mark.parametrize("name", sorted(PRUNINGS))
def test_exactly_so_many_go_in_their_order(name, kind):
    before = weights_of(kind)
    for strength in STRENGTHS:
        after = PRUNINGS[name](jax.random.key(1), jnp.asarray(before), jnp.float32(strength))
        count = reference.count_removed(strength, len(before))
        reference.check_removed(before, np.asarray(after), count, ORDERS[name](before))
    assert PRUNINGS[name]._cache_size() == 1


def test_counts_are_those_of_the_decimal_number():
    counted = jax.jit(count_removed, static_argnums=1)
    for links in (1, 7, 10, 150, 9_999, 10_000, 123_456, 1_000_000):
        for hundredth in range(0, 101, 5 if links > 200 else 1):
            strength = hundredth / 100
            found = int(counted(jnp.float32(strength), links))
            assert found == reference.count_removed(strength, links), (strength, links)
    assert int(counted(jnp.float32(1), 2**31 - 1)) == 2**31 - 1


def test_every_link_is_removed_at_random_equally_often():
    keys = jax.random.split(jax.random.key(0), 2000)
    weights = jnp.ones(20)
    removed = jax.vmap(lambda key: PRUNINGS["random"](key, weights, jnp.float32(0.3)) == 0)(keys)
    assert (np.asarray(removed).sum(axis=1) == 6).all()
    often = np.asarray(removed).mean(axis=0)
    assert np.abs(often - 0.3).max() < 4 * np.sqrt(0.3 * 0.7 / 2000)


def test_a_stronger_attack_goes_on_where_the_weaker_ended():
    weights = jnp.asarray(weights_of("different"))
    gone = np.zeros(130, bool)
    for strength in STRENGTHS:
        after = PRUNINGS["random"](jax.random.key(7), weights, jnp.float32(strength))
        now = np.asarray(after) == 0
        assert (now >= gone).all()
        gone = now


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype):
    before = jnp.asarray(weights_of("different"), dtype)
    for name, prune in PRUNINGS.items():
        after = prune(jax.random.key(0), before, jnp.float32(0.2))
        assert after.dtype == dtype
        reference.check_removed(
            np.asarray(before, np.float32),
            np.asarray(after, np.float32),
            26,
            ORDERS[name](np.asarray(before, np.float32)),
        )
