"""Link prediction on paths of length three against a literal version on networkx graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import rewiring
from prunejax.rewiring import l3
from prunejax.sparse import Links, native
from tests.support.l3_reference import l3_scores


def layer(seed, shape, share):
    """A random layer with an empty input, an empty output, and a hub on each side."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    mask[0], mask[:, 0] = False, False
    mask[1], mask[:, 1] = True, True
    mask[1, 2] = mask[2, 1] = False
    return mask


LAYERS = [layer(0, (18, 25), 0.1), layer(1, (25, 12), 0.2), layer(2, (9, 9), 0.5)]


@pytest.mark.parametrize("rule", l3.FORMULAS)
def test_equals_the_literal_version(rule):
    for mask in LAYERS:
        expected, free = l3_scores(mask, rule), ~mask
        for found in (
            rewiring.scores(jnp.asarray(mask), rule),
            l3.path_scores(Links.from_mask(jnp.asarray(mask)), rule=rule),
        ):
            assert found.dtype == jnp.float32
            np.testing.assert_allclose(found[free], expected[free], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", l3.FORMULAS)
def test_equals_the_literal_version_in_float64(rule):
    with jax.enable_x64(True):
        for mask in LAYERS:
            expected, free = l3_scores(mask, rule), ~mask
            for found in (
                rewiring.scores(jnp.asarray(mask), rule),
                l3.path_scores(Links.from_mask(jnp.asarray(mask)), rule=rule),
            ):
                assert found.dtype == jnp.float64
                np.testing.assert_allclose(found[free], expected[free], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["ch3_l3", "path_count"])
def test_links_that_went_do_not_count(rule):
    mask = LAYERS[1]
    links = Links.from_mask(jnp.asarray(mask))
    kept = np.random.default_rng(0).random(len(links)) < 0.7
    left = np.zeros_like(mask)
    left[np.asarray(links.sources)[kept], np.asarray(links.targets)[kept]] = True
    expected = l3_scores(left, rule)
    for scored in (l3.l3_scores, l3.path_scores):
        found = scored(links, jnp.asarray(kept), rule=rule)
        np.testing.assert_allclose(found[~left], expected[~left], rtol=1e-5, atol=1e-5)


def test_jits_and_takes_masks_of_a_known_size():
    mask = jnp.asarray(LAYERS[0])
    size = int(mask.sum())
    found = jax.jit(lambda mask: rewiring.scores(mask, "ch3_l3", size=size))(mask)
    np.testing.assert_allclose(found, rewiring.scores(mask, "ch3_l3"), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="inside jit from_mask needs size="):
        jax.jit(lambda mask: rewiring.scores(mask, "ch3_l3"))(mask)


@pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_platform_of_the_links_decides_whether_kernels_run(platform):
    links = Links.from_mask(jnp.asarray(LAYERS[0]))
    traced = jax.jit(lambda links: rewiring.scores(links, "ch3_l3")).trace(links)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("prunejax_l3_scores" in text) == (platform == "cpu")
    assert ("dot_general" in text) == (platform != "cpu")


def test_bad_input():
    mask = jnp.asarray(LAYERS[0])
    with pytest.raises(ValueError, match=r"unknown rule 'ch3'.*did you mean 'ch3_l3'"):
        rewiring.scores(mask, "ch3")
    with pytest.raises(ValueError, match="unknown rule 'random'"):
        rewiring.scores(mask, "random")
    with pytest.raises(ValueError, match=r"links need a mask.*shape \(3, 4, 5\)"):
        rewiring.scores(jnp.ones((3, 4, 5), bool), "ch3_l3")
    with pytest.raises(ValueError, match=r"links need a mask.*float32"):
        rewiring.scores(jnp.ones((3, 4)), "ch3_l3")
