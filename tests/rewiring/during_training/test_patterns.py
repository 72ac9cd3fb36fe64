"""Patterns against loops over groups and blocks, and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax.rewiring import during_training
from prunejax.rewiring.during_training import Blocks, KeepBest, NofM, Unstructured, sparsified
from tests.support import rewiring_reference as reference


def tree(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 2)
    return {
        "conv": {"kernel": jax.random.normal(keys[0], (3, 2, 8, 4), dtype), "bias": jnp.ones(4)},
        "dense": {"kernel": jax.random.normal(keys[1], (12, 8), dtype)},
    }


KERNELS = ("conv", "dense")


def kernels(of):
    return {name: np.asarray(of[name]["kernel"]) for name in KERNELS}


def scores():
    return {name: {"kernel": jnp.abs(leaf)} for name, leaf in kernels(tree()).items()}


@pytest.mark.parametrize("kept, of", [(2, 4), (1, 4), (1, 2), (4, 4)])
def test_n_of_m_are_the_highest_of_each_group_of_inputs(kept, of):
    made = kernels(NofM(kept, of).keep(scores(), jnp.int32(kept), None))
    for name, mask in made.items():
        expected = reference.n_of_m(kernels(scores())[name], kept, of, axis=-2)
        np.testing.assert_array_equal(mask, expected)


def test_n_of_m_with_ties_and_with_links_pruned_before():
    zeros = {"kernel": jnp.zeros((8, 3))}
    mask = np.asarray(NofM().keep(zeros, jnp.int32(2), None)["kernel"])
    assert (mask.reshape(2, 4, 3).sum(axis=1) == 2).all()
    before = {"kernel": jnp.arange(24).reshape(8, 3) // 3 % 4 != 1}
    after = np.asarray(NofM().keep(zeros, jnp.int32(3), before)["kernel"])
    np.testing.assert_array_equal(after, before["kernel"])


@pytest.mark.parametrize("distribution", ["global", "uniform", "erk"])
def test_blocks_of_the_highest_means(distribution):
    pattern = Blocks(4, 2)
    params = scores()
    counts = pattern.counts(params, 0.5, distribution, np.array([0.5, 1.0]))
    made = kernels(pattern.keep(params, jnp.asarray(counts)[1], None))
    blocks = {"conv": 3 * 2 * 2 * 2, "dense": 3 * 4}
    means, cut = {}, {}
    for name, mask in made.items():
        grid = (-1, mask.shape[-2] // 4, 4, mask.shape[-1] // 2, 2)
        cut[name] = mask.reshape(grid)
        assert (cut[name].all(axis=(2, 4)) == cut[name].any(axis=(2, 4))).all()
        means[name] = kernels(params)[name].reshape(grid).mean(axis=(2, 4))
        cut[name] = cut[name].any(axis=(2, 4))
    kept = {name: int(cut[name].sum()) for name in KERNELS}
    assert sum(kept.values()) == sum(blocks.values()) - round(0.5 * sum(blocks.values()))
    if distribution == "global":
        alive = {name: np.ones_like(cut[name]) for name in KERNELS}
        expected = reference.largest_together(means, sum(kept.values()), alive)
    else:
        expected = {
            name: reference.largest(means[name], kept[name], np.ones_like(cut[name]))
            for name in KERNELS
        }
    for name in KERNELS:
        np.testing.assert_array_equal(cut[name], expected[name])
    if distribution == "uniform":
        assert kept == {"conv": 12, "dense": 6}


@pytest.mark.usefixtures("optax_mixes_dtypes")
@pytest.mark.parametrize("method", ["gradual", "one_shot", "straight_through", "gradual_through"])
@pytest.mark.parametrize("pattern", [NofM(2, 4), Blocks(2, 2)])
def test_patterns_in_training(method, pattern):
    if method == "gradual_through":
        method = KeepBest(straight_through=True)
    sparsity = None if isinstance(pattern, NofM) else 0.5
    params = tree()
    tx = sparsified(
        optax.adam(0.01), method, sparsity=sparsity, pattern=pattern, every=2, begin=1, end=7
    )

    @jax.jit
    def step(params, state):
        def loss(params):
            used = during_training.forward_params(params, state)
            return sum(jnp.sum((jnp.sin(3 * leaf) - 0.1) ** 2) for leaf in jax.tree.leaves(used))

        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state, kept = tx.init(params), []
    for _ in range(8):
        params, state = step(params, state)
        made = kernels(during_training.masks_of(state))
        kept.append(sum(int(mask.sum()) for mask in made.values()))
        for mask in made.values():
            if isinstance(pattern, NofM):
                groups = mask.reshape(-1, mask.shape[-2] // 4, 4, mask.shape[-1]).sum(axis=2)
                assert (groups == groups.flat[0]).all()
            else:
                blocks = mask.reshape(-1, mask.shape[-2] // 2, 2, mask.shape[-1] // 2, 2)
                assert (blocks.all(axis=(2, 4)) == blocks.any(axis=(2, 4))).all()
    assert kept[-1] == (192 + 96) // 2
    assert kept == sorted(kept, reverse=True)
    if not isinstance(method, str) or method == "gradual":
        assert kept[0] == 192 + 96  # the first change of a schedule removes nothing
    for name, mask in made.items():
        used = kernels(during_training.forward_params(params, state))[name]
        assert not used[~mask].any()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: NofM(3, 2), "1 <= N <= M, got 3:2"),
        (lambda: NofM(0, 2), "1 <= N <= M, got 0:2"),
        (lambda: Blocks(0, 4), "at least 1, got 0 x 4"),
        (lambda: counts(NofM(2, 5), None), r"'conv/kernel' has shape \(3, 2, 8, 4\): 2:5 needs"),
        (lambda: counts(NofM(2, 4), 0.9), "2:4 is a sparsity of 0.5, got 0.9"),
        (lambda: counts(Blocks(8, 4), 0.5), r"'dense/kernel' has shape \(12, 8\), which cannot"),
        (lambda: counts(Unstructured(), None), "sparsity= is missing"),
        (lambda: counts(Unstructured(), 1.0), r"in \[0, 1\), got 1.0"),
        (lambda: counts(Unstructured(), 0.999), "fewer than the 2 layers"),
        (lambda: counts(Unstructured(), 0.5, "erc"), "unknown distribution 'erc'.*mean 'er'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def counts(pattern, sparsity, distribution="global"):
    return pattern.counts(scores(), sparsity, distribution, np.ones(1))
