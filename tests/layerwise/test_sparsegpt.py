"""SparseGPT against optimal brain surgeon as it is told, and what it must never do."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from benchmarks.layerwise import in_numpy
from prunejax import layerwise, masks
from prunejax.layerwise import column_by_column, hessian
from prunejax.network import trace
from tests.support import layerwise as slow

pytestmark = pytest.mark.filterwarnings("ignore:no channel of this network")

INPUTS, OUTPUTS = 12, 5


def forward(params, x):
    return x @ params["w"]


def correlated(seed, samples=40, inputs=INPUTS):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(samples, inputs)) @ generator.normal(size=(inputs, inputs))


@pytest.fixture
def problem():
    """A layer in float64: network, its weights, calibration inputs, their Gram matrix."""
    with jax.enable_x64(True):
        weights, x = np.random.default_rng(7).normal(size=(INPUTS, OUTPUTS)), correlated(3)
        yield trace(forward, {"w": weights}, x), weights, x, x.T @ x


def half(seed=0):
    return np.random.default_rng(seed).random((INPUTS, OUTPUTS)) < 0.5


@pytest.mark.parametrize("block", [1, 4, 5, 128])
@pytest.mark.parametrize("dampening", [0.0, 0.01])
def test_reconstruction_is_optimal_brain_surgeon_told_slowly(problem, block, dampening):
    network, weights, x, gram = problem
    found = layerwise.reconstruct(
        network, {"w": weights}, [x], {"w": half()}, block=block, dampening=dampening
    )
    expected = slow.optimal_brain_surgeon(weights, gram, half(), dampening)
    np.testing.assert_allclose(found.variables["w"], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(found.masks["w"], half())


@pytest.mark.parametrize("block", [3, 5, 12])
def test_masks_chosen_block_by_block_are_those_told_slowly(problem, block):
    network, weights, x, gram = problem
    found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.6, block=block, dampening=0.0)
    counts = column_by_column.block_counts((1, INPUTS, OUTPUTS), 24, block)[0]
    expected, keep = slow.adaptive(weights, gram, counts, block)
    np.testing.assert_array_equal(found.masks["w"], keep)
    np.testing.assert_allclose(found.variables["w"], expected, rtol=1e-8, atol=1e-10)
    assert keep.sum() == 24


@pytest.mark.parametrize("pattern", [(2, 4), (1, 3), (4, 6)])
def test_n_of_m_is_that_told_slowly(problem, pattern):
    network, weights, x, gram = problem
    name = f"{pattern[0]}:{pattern[1]}"
    found = layerwise.sparsegpt(network, {"w": weights}, [x], pattern=name, block=12, dampening=0.0)
    expected, keep = slow.n_of_m(weights, gram, *pattern)
    np.testing.assert_array_equal(found.masks["w"], keep)
    np.testing.assert_allclose(found.variables["w"], expected, rtol=1e-8, atol=1e-10)
    assert (keep.reshape(-1, pattern[1], OUTPUTS).sum(1) == pattern[0]).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_error_lies_between_least_squares_and_masking(problem, seed):
    network, weights, x, gram = problem
    keep = half(seed)
    found = layerwise.reconstruct(network, {"w": weights}, [x], {"w": keep}, dampening=0.0)
    best = slow.error(weights, slow.least_squares(weights, gram, keep), gram)
    reached = slow.error(weights, found.variables["w"], gram)
    masked = slow.error(weights, weights * keep, gram)
    assert best <= reached < masked
    told = found.info["w"].error * slow.error(weights, np.zeros_like(weights), gram)
    np.testing.assert_allclose(told, reached, rtol=1e-8)


def test_one_weight_of_the_first_input_goes_exactly_as_optimal_brain_surgeon_says(problem):
    """The loss is w^2 / [H^-1]_00, and no other weights on the rest are better."""
    network, weights, x, gram = problem
    keep = np.ones((INPUTS, OUTPUTS), bool)
    keep[0, 2] = False
    found = layerwise.reconstruct(network, {"w": weights}, [x], {"w": keep}, dampening=0.0)
    best = slow.least_squares(weights, gram, keep)
    np.testing.assert_allclose(found.variables["w"], best, rtol=1e-7, atol=1e-9)
    loss = weights[0, 2] ** 2 / np.linalg.inv(gram)[0, 0]
    np.testing.assert_allclose(slow.error(weights, found.variables["w"], gram), loss, rtol=1e-6)


def test_the_masks_chosen_are_among_the_better_ones():
    """Of all masks of one output's half, each reconstructed: better than most."""
    ranks = []
    for seed in range(8):
        with jax.enable_x64(True):
            weights = np.random.default_rng(seed).normal(size=(8, 1))
            x = correlated(seed, inputs=8)
            network = trace(forward, {"w": weights}, x)
            found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.5, dampening=0.0)
        gram, errors = x.T @ x, []
        for kept in itertools.combinations(range(8), 4):
            keep = np.isin(np.arange(8), kept)[:, None]
            other = slow.optimal_brain_surgeon(weights, gram, keep)
            errors.append(slow.error(weights, other, gram))
        reached = slow.error(weights, found.variables["w"], gram)
        assert reached >= min(errors) * (1 - 1e-9)
        ranks.append(np.mean(np.array(errors) < reached))
    assert np.mean(ranks) < 0.2


def test_uncorrelated_inputs_make_it_magnitude():
    weights = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    x = 3 * np.eye(16, dtype=np.float32)
    network = trace(forward, {"w": weights}, x)
    found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.5)
    highest = np.abs(weights) >= np.sort(np.abs(weights).ravel())[32]
    np.testing.assert_array_equal(found.masks["w"], highest)
    np.testing.assert_array_equal(found.variables["w"], np.where(highest, weights, 0))


def test_dead_inputs_lose_their_weights():
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    x = correlated(0, inputs=8).astype(np.float32)
    x[:, [2, 5]] = 0
    network = trace(forward, {"w": weights}, x)
    found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.25)
    assert (found.variables["w"][jnp.array([2, 5])] == 0).all()
    assert not found.masks["w"][jnp.array([2, 5])].any()
    gone = layerwise.sparsegpt(network, {"w": weights}, [np.zeros_like(x)], 0.25)
    assert (gone.variables["w"] == 0).all()
    assert gone.masks["w"].sum() == 24


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.37, 0.9])
@pytest.mark.parametrize("block", [1, 7, 128])
def test_counts_are_exact(sparsity, block):
    weights = np.random.default_rng(0).normal(size=(23, 7)).astype(np.float32)
    x = correlated(0, 60, 23).astype(np.float32)
    network = trace(forward, {"w": weights}, x)
    found = layerwise.sparsegpt(network, {"w": weights}, [x], sparsity, block=block)
    mask = np.asarray(found.masks["w"])
    assert mask.sum() == 161 - round(sparsity * 161)
    for start in range(0, 23, block):
        part = mask[start : start + block]
        assert abs(part.sum() - part.size * mask.mean()) <= 1
    assert (np.asarray(found.variables["w"])[~mask] == 0).all()


def test_equal_weights_are_pruned_the_same_way_each_time():
    weights, x = np.ones((8, 8), np.float32), np.eye(8, dtype=np.float32)
    network = trace(forward, {"w": weights}, x)
    first, again = (
        layerwise.sparsegpt(network, {"w": weights}, [x], 0.5).masks["w"] for _ in range(2)
    )
    assert first.sum() == 32
    np.testing.assert_array_equal(first, again)


def test_what_is_pruned_already_stays_so_and_counts(problem):
    network, weights, x, _ = problem
    alive = half()
    found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.6, masks={"w": alive}, block=4)
    assert not (np.asarray(found.masks["w"]) & ~alive).any()
    assert found.masks["w"].sum() <= 24
    assert (np.asarray(found.variables["w"])[~alive] == 0).all()
    found = layerwise.sparsegpt(network, {"w": weights}, [x], pattern="2:4", masks={"w": alive})
    assert not (np.asarray(found.masks["w"]) & ~alive).any()


def test_float32_does_what_the_paper_says_line_by_line():
    weights = np.random.default_rng(0).normal(size=(256, 40)).astype(np.float32)
    x = correlated(0, 600, 256).astype(np.float32)
    expected = in_numpy(weights, x)
    found = layerwise.sparsegpt(trace(forward, {"w": weights}, x), {"w": weights}, [x], 0.5)
    np.testing.assert_array_equal(found.masks["w"], expected != 0)
    np.testing.assert_allclose(found.variables["w"], expected, atol=2e-4)


def test_few_samples_need_dampening_and_the_info_says_so():
    weights = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    x = np.tile(np.float32([[1, 2]]), (3, 16))
    network = trace(forward, {"w": weights}, x)
    found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.5, dampening=0.0)
    assert found.info["w"].dampening > 0
    assert found.info["w"].samples == 3
    assert found.info["w"].error < 1e-3  # inputs that say the same stand in for each other
    with pytest.raises(ValueError, match="the Hessian of 'w' cannot be factored"):
        hessian.inverse_factor(-jnp.eye(3)[None], 0.01, "w")


def test_each_head_is_pruned_by_its_own_inputs(problem):
    del problem
    weights = np.random.default_rng(0).normal(size=(2, INPUTS, OUTPUTS))
    x = np.stack([correlated(0), correlated(1)], axis=1)
    network = trace(lambda p, x: jnp.einsum("bhi,hio->bho", x, p["w"]), {"w": weights}, x)
    keep = np.stack([half(0), half(1)])
    found = layerwise.reconstruct(network, {"w": weights}, [x], {"w": keep}, dampening=0.0)
    for head in range(2):
        gram = x[:, head].T @ x[:, head]
        expected = slow.optimal_brain_surgeon(weights[head], gram, keep[head])
        np.testing.assert_allclose(found.variables["w"][head], expected, rtol=1e-8, atol=1e-10)
    found = layerwise.sparsegpt(network, {"w": weights}, [x], 0.5, block=5)
    assert found.masks["w"].sum() == INPUTS * OUTPUTS


def test_equinox_and_flax_lose_the_same_weights():
    x = correlated(0, 30, 8).astype(np.float32)
    layer = eqx.nn.Linear(8, 4, key=jax.random.key(0))
    arrays, static = eqx.partition(layer, eqx.is_inexact_array)
    ours = trace(lambda arrays, x: jax.vmap(eqx.combine(arrays, static))(x), arrays, x)
    theirs = trace(forward, {"w": layer.weight.T}, x)
    for how in ({"sparsity": 0.5}, {"pattern": "2:4"}):
        first = layerwise.sparsegpt(ours, arrays, [x], **how)
        second = layerwise.sparsegpt(theirs, {"w": layer.weight.T}, [x], **how)
        np.testing.assert_allclose(first.variables.weight.T, second.variables["w"], atol=1e-5)
        np.testing.assert_array_equal(first.masks.weight.T, second.masks["w"])
        assert first.masks.bias is None
        np.testing.assert_array_equal(first.variables.bias, layer.bias)


def test_nnx_takes_and_gives_pure_dicts():
    model = nnx.Sequential(
        nnx.Linear(8, 6, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(6, 4, rngs=nnx.Rngs(1))
    )
    graph, state = nnx.split(model)

    def apply(params, x):
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(x)

    params, x = nnx.to_pure_dict(state), correlated(0, 30, 8).astype(np.float32)
    network = trace(apply, params, x)
    found = layerwise.sparsegpt(network, params, [x], 0.5)
    assert jax.tree.structure(found.variables) == jax.tree.structure(params)
    assert sum(int(mask.sum()) for mask in jax.tree.leaves(found.masks)) == (48 + 24) // 2
    scores = layerwise.wanda(network, params, [x])
    masked = masks.apply(params, layerwise.allocate(network, scores, 0.5))
    ours, theirs = (
        jnp.square(apply(each, x) - apply(params, x)).sum() for each in (found.variables, masked)
    )
    assert ours < theirs


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(nn.LayerNorm()(x))
        x = x + nn.Dense(8, name="down")(nn.gelu(nn.Dense(16, name="up")(x)))
        return nn.Dense(3, name="head")(x)


@pytest.mark.parametrize("sequential", [True, False])
def test_a_transformers_later_layers_see_what_the_pruned_ones_give(sequential):
    x = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    variables = Block().init(jax.random.key(0), x)
    network = trace(Block().apply, variables, x[:1])
    made = masks.make(variables["params"], "attention.*kernel|down/kernel|up/kernel")
    made["down"]["bias"] = made["up"]["bias"] = None
    found = layerwise.sparsegpt(
        network, variables, iter([x[:4], x[4:]]), 0.5, masks=made, sequential=sequential
    )
    assert [*found.info][-2:] == ["up/kernel", "down/kernel"]
    assert found.masks["head"] == {"kernel": None, "bias": None}
    assert jax.tree.structure(found.variables) == jax.tree.structure(variables)
    # `down` again, by hand: its inputs come from the pruned network or from the dense one
    before = found.variables if sequential else variables
    taken = layerwise.input_statistics(network, before, [x])["down/kernel"].gram[0]
    kernel = np.asarray(variables["params"]["down"]["kernel"])
    keep = np.asarray(found.masks["down"]["kernel"])
    expected = slow.optimal_brain_surgeon(kernel, taken, keep, 0.01)
    np.testing.assert_allclose(
        found.variables["params"]["down"]["kernel"], expected, rtol=1e-3, atol=1e-4
    )
    for mask in jax.tree.leaves(found.masks):
        assert mask.sum() * 2 == mask.size


def test_state_stays_and_convolutions_take_part():
    class Small(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))
            return nn.Dense(3)(x.mean((1, 2)))

    x = np.random.default_rng(0).normal(size=(4, 6, 6, 4)).astype(np.float32)
    variables = Small().init(jax.random.key(0), x)
    found = layerwise.sparsegpt(trace(Small().apply, variables, x), variables, [x], pattern="2:4")
    assert (found.masks["Conv_0"]["kernel"].sum(2) == 2).all()
    assert found.variables["batch_stats"] is variables["batch_stats"]
    dense, pruned = (Small().apply(each, x) for each in (variables, found.variables))
    masked = {**variables, "params": masks.apply(variables["params"], found.masks)}
    assert jnp.abs(pruned - dense).sum() < jnp.abs(Small().apply(masked, x) - dense).sum()


def test_a_shared_kernel_is_pruned_once():
    def shared(params, x):
        return jnp.tanh(jnp.tanh(x @ params["w"]) @ params["w"])

    w = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    found = layerwise.reconstruct(
        trace(shared, {"w": w}, x), {"w": w}, [x], {"w": half()[:6, :1].repeat(6, 1)}
    )
    rows = np.concatenate([x, np.tanh(x @ w)])
    expected = slow.optimal_brain_surgeon(w, rows.T @ rows, half()[:6, :1].repeat(6, 1), 0.01)
    np.testing.assert_allclose(found.variables["w"], expected, rtol=1e-3, atol=1e-4)


def test_a_kernel_in_bfloat16_stays_so():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.bfloat16)
    x = jnp.asarray(correlated(0, inputs=8), jnp.bfloat16)
    found = layerwise.sparsegpt(trace(forward, {"w": w}, x), {"w": w}, [x], 0.5)
    assert found.variables["w"].dtype == jnp.bfloat16
    assert found.masks["w"].sum() == 16


def test_another_sparsity_compiles_nothing():
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    x = correlated(0, inputs=8).astype(np.float32)
    network = trace(forward, {"w": weights}, x)
    layerwise.sparsegpt(network, {"w": weights}, [x], 0.5)
    before = column_by_column._solved._cache_size()
    layerwise.sparsegpt(network, {"w": weights}, [x], 0.25)
    assert column_by_column._solved._cache_size() == before
