"""Every back end against a dense matrix in NumPy, and against autodiff through it."""

import functools
import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prunejax.sparse import BACKENDS, Links, choose, native, sparse_linear
from prunejax.sparse.native import library
from tests.support.sparse_reference import LAYERS, by_links, layer


@pytest.fixture(autouse=True)
def _kernels_for_native(request):
    """Skips what needs a compiler where there is none."""
    parameters = getattr(request.node, "callspec", None)
    if parameters and parameters.params.get("backend") == "native":
        request.getfixturevalue("kernels")


@functools.cache
def case(name, seed=0):
    mask, matrix, x, pulled = layer(name, seed)
    weights = jnp.asarray(by_links(matrix, mask))
    return Links.from_mask(mask), weights, mask, matrix, jnp.asarray(x), jnp.asarray(pulled)


def loss(linear, weights, x, pulled):
    """Its gradient depends on the outputs."""
    return jnp.sum(jnp.sin(linear(weights, x)) * pulled)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients(name, backend):
    links, weights, mask, matrix, x, pulled = case(name)

    def ours(weights, x):
        return sparse_linear(weights, links, x, backend)

    def dense(matrix, x):
        return jnp.matmul(x, jnp.where(mask, matrix, 0), precision="highest")

    np.testing.assert_allclose(ours(weights, x), np.asarray(x) @ matrix, rtol=1e-5, atol=1e-5)
    found = jax.grad(loss, (1, 2))(ours, weights, x, pulled)
    expected = jax.grad(loss, (1, 2))(dense, matrix, x, pulled)
    of_weights = by_links(np.asarray(expected[0]), mask)
    scale = max(1, np.abs(of_weights).max())
    np.testing.assert_allclose(found[0], of_weights, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives_in_both_modes(backend):
    """The product of the Hessian and a vector, as GraSP takes it, in float64 to 1e-10."""
    with jax.enable_x64(True):
        links, weights, mask, matrix, x, pulled = case("batch of 1")
        weights, matrix, x, pulled = (
            jnp.asarray(array, jnp.float64) for array in (weights, matrix, x, pulled)
        )

        def ours(weights, x):
            return sparse_linear(weights, links, x, backend)

        def dense(matrix, x):
            return x @ jnp.where(mask, matrix, 0)

        def gradient_along(linear, of):
            return jax.jvp(
                lambda values, x: jax.grad(loss, 1)(linear, values, x, pulled), (of, x), (of, x)
            )

        found, expected = gradient_along(ours, weights), gradient_along(dense, matrix)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, by_links(np.asarray(other), mask), rtol=1e-10)
        again = jax.grad(lambda x: jnp.sum(jax.grad(loss, 1)(ours, weights, x, pulled) ** 2))(x)
        wanted = jax.grad(
            lambda x: jnp.sum(jnp.where(mask, jax.grad(loss, 1)(dense, matrix, x, pulled), 0) ** 2)
        )(x)
        np.testing.assert_allclose(again, wanted, rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_links_do_not_recompile(backend):
    links, weights, mask, _, x, pulled = case("ordinary")
    other = Links.from_mask(np.random.default_rng(1).permuted(mask.ravel()).reshape(mask.shape))

    @jax.jit
    def gradient(weights, links, x):
        return jax.grad(loss, 1)(
            lambda weights, x: sparse_linear(weights, links, x, backend), weights, x, pulled
        )

    first, second = (gradient(weights, one, x) for one in (links, other))
    assert gradient._cache_size() == 1
    assert np.abs(first - second).max() > 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mapped", [(0, 0, 0), (0, 0, None), (0, None, None), (None, None, 0)])
def test_vmap_and_its_gradient(backend, mapped):
    """Over networks of other links each, over the weights alone, over batches of one network."""
    count = 3
    masks = [np.random.default_rng(seed).permutation(60).reshape(10, 6) < 15 for seed in range(3)]
    all_links = [Links.from_mask(mask) for mask in masks]
    random = np.random.default_rng(3)
    weights = jnp.asarray(random.normal(size=(count, 15)), jnp.float32)
    x = jnp.asarray(random.normal(size=(count, 4, 10)), jnp.float32)
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *all_links)
    given = [
        tree if axis == 0 else jax.tree.map(lambda leaf: leaf[0], tree)
        for tree, axis in zip((weights, stacked, x), mapped, strict=True)
    ]

    def gradients(weights, links, x):
        return jax.grad(
            lambda weights, x: jnp.sum(jnp.sin(sparse_linear(weights, links, x, backend))), (0, 1)
        )(weights, x)

    found = jax.jit(jax.vmap(gradients, in_axes=mapped))(*given)
    for seed in range(count):
        of = [seed if axis == 0 else 0 for axis in mapped]
        alone = gradients(weights[of[0]], all_links[of[1]], x[of[2]])
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one[seed], other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inside_scan(backend):
    links, weights, _, matrix, x, _ = case("ordinary")
    batches = jnp.stack([x] * 4)

    @jax.jit
    def descend(weights):
        def step(weights, x):
            slope = jax.grad(lambda w: jnp.mean(sparse_linear(w, links, x, backend) ** 2))(weights)
            return weights - 0.05 * slope, None

        return jax.lax.scan(step, weights, batches)[0]

    mask, x = matrix != 0, np.asarray(x)
    for _ in range(4):
        slope = 2 * x.T @ (x @ matrix) / (len(x) * matrix.shape[1])
        matrix = matrix - 0.05 * np.where(mask, slope, 0)
    np.testing.assert_allclose(descend(weights), by_links(matrix, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16(backend):
    """It keeps 8 bits; sums of about six products each."""
    links, weights, _, matrix, x, _ = case("ordinary")
    weights, x = jnp.asarray(weights, jnp.bfloat16), jnp.asarray(x, jnp.bfloat16)

    def total(weights):
        return jnp.sum(sparse_linear(weights, links, x, backend).astype(jnp.float32))

    y, slope = sparse_linear(weights, links, x, backend), jax.grad(total)(weights)
    assert y.dtype == slope.dtype == jnp.bfloat16
    expected = np.asarray(x, np.float32) @ matrix
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.05, atol=0.05)
    ones = np.ones((len(x), matrix.shape[1]), np.float32)
    expected = by_links(np.asarray(x, np.float32).T @ ones, matrix != 0)
    np.testing.assert_allclose(slope.astype(jnp.float32), expected, rtol=0.05, atol=0.1)


def test_coo_in_parts(monkeypatch):
    links, weights, _, matrix, x, pulled = case("two blocks of lanes and a rest")
    monkeypatch.setattr("prunejax.sparse.linear.LARGEST_PART", 40 * len(links))

    def ours(backend):
        return lambda weights, x: sparse_linear(weights, links, x, backend)

    np.testing.assert_allclose(
        ours("coo")(weights, x), np.asarray(x) @ matrix, rtol=1e-5, atol=1e-5
    )
    found, expected = (
        jax.grad(loss, (1, 2))(ours(backend), weights, x, pulled) for backend in ("coo", "masked")
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("without_type_checks")
def test_refuses():
    links, weights, _, _, x, _ = case("ordinary")
    with pytest.raises(ValueError, match="unknown back end 'dense'; allowed are auto, masked"):
        sparse_linear(weights, links, x, "dense")
    with pytest.raises(ValueError, match=rf"{len(links)} links need as many weights, got .*\(3,\)"):
        sparse_linear(weights[:3], links, x)
    with pytest.raises(ValueError, match=r"has 30 inputs, but x has the shape \(9, 29\)"):
        sparse_linear(weights, links, x[:, 1:])
    with pytest.raises(ValueError, match="must be floating point, got int32, int32"):
        sparse_linear(jnp.arange(len(links)), links, jnp.ones((9, 30), jnp.int32))


@pytest.mark.usefixtures("kernels")
def test_what_is_chosen(monkeypatch):
    links = Links.from_numbers(jnp.arange(15), (40, 25))
    assert choose(links) == choose(links, "cpu") == "native"
    assert choose(links, "gpu") == choose(links, "tpu") == "densify"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose(links) == "densify"
    with pytest.raises(native.UnavailableError, match=r"native runs on CPUs.*take densify"):
        sparse_linear(jnp.ones(15), links, jnp.ones((2, 40)), "native")


def test_without_a_compiler(monkeypatch, caplog):
    monkeypatch.setattr(library, "_problem", lambda: "no C++ compiler was found")
    library.log_absence.cache_clear()
    links, weights, _, matrix, x, _ = case("ordinary")
    with caplog.at_level(logging.WARNING, logger="prunejax.sparse"):
        for _ in range(2):
            y = sparse_linear(weights, links, x)
            np.testing.assert_allclose(y, np.asarray(x) @ matrix, rtol=1e-5, atol=1e-5)
    library.log_absence.cache_clear()
    (said,) = caplog.messages
    assert "costs speed only" in said
    assert "no C++ compiler was found" in said
    assert "python -m prunejax.sparse.native" in said
    sparse, denser = (Links.from_numbers(jnp.arange(count), (40, 25)) for count in (15, 16))
    assert (choose(sparse), choose(denser)) == ("coo", "densify")
    with pytest.raises(native.UnavailableError, match="no C\\+\\+ compiler was found"):
        sparse_linear(weights, links, x, "native")


def test_in_nnx_and_in_equinox():
    links, weights, _, _, x, pulled = case("ordinary")
    expected = jax.grad(loss, 1)(lambda w, x: sparse_linear(w, links, x), weights, x, pulled)

    class OfNnx(nnx.Module):
        def __init__(self):
            self.weights, self.links = nnx.Param(weights), nnx.Variable(links)

        def __call__(self, x):
            return sparse_linear(self.weights[...], self.links.get_value(), x)

    class OfEquinox(eqx.Module):
        weights: jax.Array
        links: Links

        def __call__(self, x):
            return sparse_linear(self.weights, self.links, x)

    def of_network(network):
        return loss(lambda _, x: network(x), None, x, pulled)

    found = nnx.to_pure_dict(nnx.grad(of_network)(OfNnx()))["weights"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found = eqx.filter_grad(of_network)(OfEquinox(weights, links)).weights
    np.testing.assert_allclose(found, expected, rtol=1e-6)
