"""Each criterion against an independent slow computation, in float64 on a tiny network."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import criteria, masks
from tests.support import reference

SIZES = (4, 5, 3)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def network():
    """Parameters of a tanh network, masks with some weights pruned, and a batch."""
    random = np.random.default_rng(0)
    params = {
        f"layer{i}": {
            "kernel": jnp.asarray(random.normal(size=(n_in, n_out))),
            "bias": jnp.asarray(random.normal(size=n_out)),
        }
        for i, (n_in, n_out) in enumerate(itertools.pairwise(SIZES))
    }
    made = masks.make(params)
    for layer in made.values():
        layer["kernel"] = jnp.asarray(random.random(layer["kernel"].shape) < 0.8)
    batch = (jnp.asarray(random.normal(size=(8, 4))), jnp.asarray(random.integers(0, 3, 8)))
    return params, made, batch


def loss_fn(params, batch):
    inputs, labels = batch
    hidden = jnp.tanh(inputs @ params["layer0"]["kernel"] + params["layer0"]["bias"])
    logits = hidden @ params["layer1"]["kernel"] + params["layer1"]["bias"]
    losses = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return losses.mean(), logits


def flat_kernels(params, made):
    return np.concatenate([kernel.ravel() for kernel in masked_kernels(params, made)])


def masked_kernels(params, made):
    layers = zip(params.values(), made.values(), strict=True)
    return [np.where(mask["kernel"], layer["kernel"], 0) for layer, mask in layers]


def reference_loss(params, batch, part=slice(None)):
    """The loss of a flat vector of kernels, in plain NumPy."""
    shapes = [np.shape(layer["kernel"]) for layer in params.values()]
    inputs, labels = (np.asarray(leaf)[part] for leaf in batch)

    def loss(flat):
        layers, at = [], 0
        for shape, layer in zip(shapes, params.values(), strict=True):
            size = int(np.prod(shape))
            layers.append((flat[at : at + size].reshape(shape), np.asarray(layer["bias"])))
            at += size
        return reference.mean_cross_entropy(reference.mlp_logits(layers, inputs), labels)

    return loss


def flat(scores):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(scores)])


def test_magnitude(network):
    params, made, batch = network
    scores = criteria.magnitude(params, made, batch, loss_fn=None, key=None)
    np.testing.assert_array_equal(flat(scores), np.abs(flat_kernels(params, made)))


def test_random_is_uniform_and_independent_of_weights():
    params = {"kernel": jnp.ones((100, 100)), "other": {"kernel": jnp.ones((100, 100))}}
    scores = criteria.random(params, masks.make(params), None, loss_fn=None, key=jax.random.key(0))
    first, second = np.asarray(scores["kernel"]).ravel(), flat(scores["other"])
    counts = np.histogram(first, bins=10, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9  # chi-squared, 9 degrees, p = 0.001
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.033  # 3.3 standard deviations


def test_snip_equals_finite_differences(network):
    params, made, batch = network
    scores = criteria.snip(params, made, batch, loss_fn=loss_fn, key=None)
    kernels = flat_kernels(params, made)
    gradient = reference.finite_gradient(reference_loss(params, batch), kernels)
    np.testing.assert_allclose(flat(scores), np.abs(kernels * gradient), atol=1e-8)
    assert flat(scores).max() > 0.01


def test_grasp_equals_the_full_hessian(network):
    params, made, batch = network
    scores = criteria.grasp(params, made, batch, loss_fn=loss_fn, key=None)
    kernels = flat_kernels(params, made)
    kept = flat(made).astype(bool)
    loss = reference_loss(params, batch)
    gradient = np.where(kept, reference.finite_gradient(loss, kernels), 0)
    hessian = reference.finite_hessian(loss, kernels)
    np.testing.assert_allclose(flat(scores), kernels * (hessian @ gradient), atol=1e-6)
    assert np.abs(flat(scores)).max() > 0.01


def test_grasp_predicts_what_removal_does_to_the_gradient_flow(network):
    """The sign: S(delta) = delta^T H g, to first order half the change of |g|^2 (eq. 7)."""
    params, _, batch = network
    made = masks.make(params)
    loss = reference_loss(params, batch)
    kernels = flat_kernels(params, made)
    scores = flat(criteria.grasp(params, made, batch, loss_fn=loss_fn, key=None))
    flow = np.sum(reference.finite_gradient(loss, kernels) ** 2)
    for index in range(0, kernels.size, 5):
        shrunk = kernels.copy()
        shrunk[index] *= 1 - 1e-4
        change = np.sum(reference.finite_gradient(loss, shrunk) ** 2) - flow
        # Removing what scores high weakens the flow of gradients, so it is kept.
        np.testing.assert_allclose(-change / 2e-4, scores[index], atol=2e-4)


def test_synflow_is_conserved_from_layer_to_layer(network):
    """Tanaka et al. 2020, theorem 2: without biases, every layer's scores sum to R."""
    params, made, batch = network
    for layer in params.values():
        layer["bias"] = jnp.zeros_like(layer["bias"])

    def relu_network(params, batch):
        hidden = batch[0]
        for layer in params.values():
            hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"])
        return jnp.zeros(()), hidden

    scores = criteria.synflow(params, made, batch, loss_fn=relu_network, key=None)
    kernels = [np.abs(kernel) for kernel in masked_kernels(params, made)]
    flow = np.ones(4) @ kernels[0] @ kernels[1] @ np.ones(3)
    for layer in scores.values():
        assert layer["bias"] is None
        np.testing.assert_allclose(layer["kernel"].sum(), flow, rtol=1e-12)
    # And weight by weight: what runs into its input times what runs out of its output.
    first = np.outer(np.ones(4), kernels[1] @ np.ones(3)) * kernels[0]
    np.testing.assert_allclose(scores["layer0"]["kernel"], first, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_prospr_equals_differences_through_unrolled_training(network, steps):
    params, made, batch = network
    rate = 0.1
    scores = criteria.prospr(
        params, made, batch, loss_fn=loss_fn, key=None, steps=steps, learning_rate=rate
    )
    kernels = flat_kernels(params, made)
    kept = flat(made).astype(bool)
    size = 8 // (steps + 1)

    def loss_after_training(gates):
        trained = gates * kernels
        for step in range(steps):
            loss = reference_loss(params, batch, slice(step * size, (step + 1) * size))
            trained = trained - rate * np.where(kept, reference.finite_gradient(loss, trained), 0)
        return reference_loss(params, batch, slice(steps * size, (steps + 1) * size))(trained)

    meta = reference.finite_gradient(loss_after_training, np.ones_like(kernels), step=1e-4)
    np.testing.assert_allclose(flat(scores), np.abs(meta), atol=1e-5)
    assert flat(scores).max() > 0.01


def test_prospr_looks_ahead(network):
    """After steps its scores are no longer those of SNIP on the last part."""
    params, made, batch = network
    ahead = flat(criteria.prospr(params, made, batch, loss_fn=loss_fn, key=None, steps=3))
    last = tuple(leaf[6:] for leaf in batch)
    now = flat(criteria.snip(params, made, last, loss_fn=loss_fn, key=None))
    assert np.abs(ahead - now).max() > 0.01


def test_messages(network):
    params, made, batch = network
    with pytest.raises(ValueError, match=r"loss_fn return \(loss, outputs\)"):
        criteria.synflow(params, made, batch, loss_fn=lambda p, b: loss_fn(p, b)[0], key=None)
    for criterion in (criteria.snip, criteria.grasp, criteria.prospr):
        with pytest.raises(ValueError, match=r"scalar loss.*got a loss of float64\[[28], 3\]"):
            criterion(params, made, batch, loss_fn=lambda p, b: loss_fn(p, b)[1], key=None)
    with pytest.raises(ValueError, match="cuts the batch into 11 parts, but it has only 8"):
        criteria.prospr(params, made, batch, loss_fn=loss_fn, key=None, steps=10)
    with pytest.raises(ValueError, match="at least one step"):
        criteria.prospr(params, made, batch, loss_fn=loss_fn, key=None, steps=0)
    with pytest.raises(ValueError, match="first axis counts the examples"):
        criteria.prospr(params, made, (batch[0], batch[1][:3]), loss_fn=loss_fn, key=None)
    with pytest.raises(ValueError, match="needs a key"):
        criteria.random(params, made, batch, loss_fn=None, key=None)


@pytest.mark.parametrize("name", ["snip", "grasp", "prospr"])
def test_no_score_comes_of_a_loss_that_is_not_finite(name):
    """A label that is no class: the user's own loss is NaN, its gradient may not be."""
    params = {"kernel": jax.random.normal(jax.random.key(0), (4, 3))}
    inputs = jax.random.normal(jax.random.key(1), (12, 4))

    def loss_fn(params, batch):
        logits = batch[0] @ params["kernel"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    made = masks.make(params)
    good = jnp.arange(12) % 3
    for labels, finite in ((good, True), (good.at[7].set(3), False)):
        with jax.numpy_dtype_promotion("standard"):
            scores = criteria.CRITERIA[name](
                params, made, (inputs, labels), loss_fn=loss_fn, key=None
            )
        assert bool(jnp.isfinite(scores["kernel"]).all()) == finite
        assert bool(jnp.isnan(scores["kernel"]).all()) == (not finite)
