"""One table: what every entry of every registry must do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments.common.methods import METHODS, Subject, unstructured
from prunejax import allocation, masks, pruning, topology, training
from prunejax.criteria import CRITERIA
from prunejax.network import trace
from tests.support.attacks import check_attack


class Small(nn.Module):
    """Two convolutions with batch normalisation, so that some leaves cannot be pruned."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3), name="conv1")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm1")(x)
        x = nn.relu(x)
        x = nn.Conv(6, (3, 3), strides=2, name="conv2")(x)
        x = nn.relu(x)
        return nn.Dense(3, name="classifier")(x.reshape(x.shape[0], -1))


MODEL = Small()


def case(seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    images = jax.random.normal(keys[0], (8, 6, 6, 2))
    labels = jax.random.randint(keys[1], (8,), 0, 3)
    params, stats = training.init_variables(MODEL, keys[2], images)
    return params, stats, masks.make(params), (images, labels)


STATS = case()[1]
LOSS = training.classification_loss(MODEL, STATS, train=True)


@pytest.fixture(params=sorted(CRITERIA))
def criterion(request):
    return CRITERIA[request.param]


def call(criterion, params, made, batch, seed=0):
    return criterion(params, made, batch, loss_fn=LOSS, key=jax.random.key(seed))


def test_criterion_scores_every_mask_and_nothing_else(criterion):
    params, _, made, batch = case()
    scores = call(criterion, params, made, batch)
    assert jax.tree.structure(scores) == jax.tree.structure(made)
    assert scores["conv1"]["bias"] is None
    assert scores["norm1"] == {"scale": None, "bias": None}
    for score, mask in zip(jax.tree.leaves(scores), jax.tree.leaves(made), strict=True):
        assert score.shape == mask.shape
        assert score.dtype == jnp.float32
        assert np.isfinite(score).all()
        assert np.unique(np.asarray(score)).size > mask.size // 2


def test_criterion_jits_once_for_all_values(criterion):
    traced = []

    @jax.jit
    def jitted(params, made, batch, key):
        traced.append(1)
        return criterion(params, made, batch, loss_fn=LOSS, key=key)

    for seed in range(3):
        params, _, made, batch = case(seed)
        pruned = allocation.allocate(
            call(CRITERIA["random"], params, made, batch, seed), 0.1 + 0.2 * seed
        )
        inside = jitted(params, pruned, batch, jax.random.key(seed))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5 * np.abs(b).max()),
            inside,
            call(criterion, params, pruned, batch, seed),
        )
    assert len(traced) == 1


def test_criterion_is_deterministic(criterion):
    params, _, made, batch = case()
    jax.tree.map(
        np.testing.assert_array_equal,
        call(criterion, params, made, batch),
        call(criterion, params, made, batch),
    )


def test_criterion_scores_pruned_weights_zero(criterion):
    params, _, made, batch = case()
    made["conv2"]["kernel"] = made["conv2"]["kernel"].at[0].set(False)
    scores = call(criterion, params, made, batch)
    assert not np.asarray(scores["conv2"]["kernel"][0]).any()
    assert np.asarray(scores["conv2"]["kernel"][1]).any()


def test_criterion_ignores_what_stands_under_a_mask(criterion):
    params, _, made, batch = case()
    made["conv2"]["kernel"] = made["conv2"]["kernel"].at[0].set(False)
    stained = jax.tree.map(lambda leaf: leaf, params)
    stained["conv2"]["kernel"] = params["conv2"]["kernel"].at[0].set(7.0)
    jax.tree.map(
        np.testing.assert_array_equal,
        call(criterion, params, made, batch),
        call(criterion, stained, made, batch),
    )


def test_criterion_refuses_masks_of_another_network(criterion):
    params, _, made, batch = case()
    made["conv2"]["kernel"] = made["conv2"]["kernel"][:1]
    with pytest.raises(ValueError, match="mask of 'conv2/kernel' has shape"):
        call(criterion, params, made, batch)


@pytest.mark.parametrize("name", sorted(METHODS))
@jax.numpy_dtype_promotion("standard")  # SynFlow: float64 weights, float32 running statistics
def test_method_prunes_exactly_and_deterministically(name):
    params, _, made, batch = case()
    subject = Subject(
        params=params,
        masks=made,
        batch=batch,
        training_loss=LOSS,
        softened_loss=training.classification_loss(MODEL, STATS, temperature=200.0),
        evaluation_loss=training.classification_loss(MODEL, STATS, train=False),
        network=trace(MODEL.apply, {"params": params, "batch_stats": STATS}, batch[0][:1]),
        batch_stats=STATS,
        key=jax.random.key(1),
    )
    if name == "channels_bn_scale":  # the only one that this network, without a norm, cannot serve
        with pytest.raises(ValueError, match="no norm follows 'conv2'"):
            METHODS[name](subject, 0.75)
        return
    pruned = METHODS[name](subject, 0.75)
    weights = sum(mask.size for mask in jax.tree.leaves(made))
    if getattr(METHODS[name], "func", None) is unstructured:
        assert masks.count(pruned) == weights - round(0.75 * weights)
    else:  # whole channels go: as near as their numbers allow
        assert masks.count(pruned) == pytest.approx(0.25 * weights, abs=0.1 * weights)
    assert masks.empty(pruned) == []
    jax.tree.map(np.testing.assert_array_equal, pruned, METHODS[name](subject, 0.75))
    check_attack(forward, params, pruned, batch)
    check_graph(subject.network, pruned, params)


def check_graph(network, pruned, params):
    """The graph has an edge wherever a weight is used: in a convolution, at each place."""
    graph = topology.encode(network, pruned, params)
    found = topology.measure(graph, ["sink", "source", "components", "k_core"])
    assert all(np.isfinite(value) for value in found.values())
    for block in graph.blocks:
        kept = int(pruned[block.name]["kernel"].sum())
        if network.layers[block.name].kind == "dense":
            assert block.stop - block.start == kept
        else:
            assert block.stop - block.start >= kept


def forward(params, images):
    return MODEL.apply({"params": params, "batch_stats": STATS}, images)


@pytest.mark.parametrize("name", sorted(pruning.SCHEDULES))
def test_pruning_schedule_rises_to_the_sparsity(name):
    schedule = pruning.SCHEDULES[name]
    values = [schedule(0.9, fraction) for fraction in np.linspace(0, 1, 11)]
    assert values[0] == pytest.approx(0)
    assert values[-1] == pytest.approx(0.9)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("name", sorted(training.SCHEDULES))
def test_learning_rate_schedule_starts_at_its_rate_and_never_rises(name):
    schedule = training.learning_rate(name, 0.5, 100)
    values = np.array([float(schedule(step)) for step in range(101)])
    assert values[0] == pytest.approx(0.5)
    assert (np.diff(values) <= 1e-9).all()
    assert (values >= 0).all()


@pytest.mark.parametrize("name", sorted(training.OPTIMIZERS))
@jax.numpy_dtype_promotion("standard")  # optax's own code mixes dtypes
def test_optimizer_learns_and_decays_kernels_only(name):
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    tx = training.optimizer(name, 0.01, weight_decay=0.1)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(nothing, tx.init(params), params)
    assert (np.asarray(updates["kernel"]) < 0).all()
    np.testing.assert_array_equal(updates["bias"], 0)

    def loss(params):
        return jnp.sum((params["kernel"] - 3) ** 2) + jnp.sum((params["bias"] + 2) ** 2)

    state, start = tx.init(params), float(loss(params))
    for _ in range(50):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert float(loss(params)) < 0.9 * start


@pytest.mark.parametrize(
    "lookup, message",
    [
        (lambda: training.optimizer("sdg", 0.1), "unknown optimizer 'sdg'; allowed are sgd"),
        (lambda: training.learning_rate("cos", 0.1, 5), "unknown schedule 'cos'; allowed are"),
        (lambda: training.learning_rate("step", 0.1, 5, warmup_steps=5), "warmup_steps < steps"),
    ],
)
def test_unknown_names_are_refused(lookup, message):
    with pytest.raises(ValueError, match=message):
        lookup()
