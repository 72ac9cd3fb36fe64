import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import allocation, criteria, masks
from prunejax.pruning import prune


@pytest.fixture
def params():
    keys = jax.random.split(jax.random.key(0), 2)
    return {
        "a": {"kernel": jax.random.normal(keys[0], (20, 30)), "bias": jnp.zeros(30)},
        "b": {"kernel": jax.random.normal(keys[1], (30, 10)), "bias": jnp.zeros(10)},
    }


def loss_fn(params, batch):
    hidden = jax.nn.relu(batch[0] @ params["a"]["kernel"] + params["a"]["bias"])
    outputs = hidden @ params["b"]["kernel"] + params["b"]["bias"]
    return jnp.mean((outputs - batch[1]) ** 2), outputs


@pytest.fixture
def batch():
    keys = jax.random.split(jax.random.key(1), 2)
    return jax.random.normal(keys[0], (16, 20)), jax.random.normal(keys[1], (16, 10))


def test_magnitude_in_one_round_and_in_many_is_the_same(params):
    made = masks.make(params)
    once = prune(params, made, None, criterion="magnitude", sparsity=0.9)
    often = prune(params, made, None, criterion="magnitude", sparsity=0.9, rounds=7)
    jax.tree.map(np.testing.assert_array_equal, once, often)
    weights = np.abs(np.concatenate([np.ravel(p["kernel"]) for p in params.values()]))
    kept = np.concatenate([np.ravel(m["kernel"]) for m in once.values()])
    assert kept.sum() == 90
    assert weights[kept].min() > weights[~kept].max()


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("linear", [0.2, 0.4, 0.6, 0.8]),
        ("exponential", [1 - 0.2 ** (r / 4) for r in (1, 2, 3, 4)]),
        ("cubic", [0.8 * (1 - (1 - r / 4) ** 3) for r in (1, 2, 3, 4)]),
    ],
)
def test_rounds_follow_the_schedule_and_never_bring_weights_back(params, schedule, expected):
    seen = []

    def record(*leaves):
        seen.append([np.array(mask) for mask in leaves])

    def criterion(params, made, batch, *, loss_fn, key):
        jax.debug.callback(record, *jax.tree.leaves(made))
        return jax.tree.map(lambda m: jax.random.uniform(key, m.shape), made)

    done = []
    final = prune(
        params, masks.make(params), None, criterion=criterion, sparsity=0.8, rounds=4,
        schedule=schedule, key=jax.random.key(3), on_round=lambda r, of: done.append((r, of)),
    )  # fmt: skip
    jax.effects_barrier()
    record(*jax.tree.leaves(final))
    sparsities = [1 - sum(m.sum() for m in leaves) / 900 for leaves in seen]
    np.testing.assert_allclose(sparsities, [0, *expected], atol=1 / 900)
    for before, after in itertools.pairwise(seen):
        for old, new in zip(before, after, strict=True):
            assert not (new & ~old).any()
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_synflow_takes_its_hundred_rounds_and_survives_where_one_round_collapses(batch):
    """One round empties the widest layer of a bottleneck network; a hundred do not."""
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = [(20, 4), (4, 400), (400, 10)]
    params = {
        f"l{i}": {"kernel": jax.random.normal(key, size) / size[0] ** 0.5}
        for i, (key, size) in enumerate(zip(keys, sizes, strict=True))
    }

    def loss(params, batch):
        hidden = batch[0]
        for layer in params.values():
            hidden = hidden @ layer["kernel"]
        return jnp.zeros(()), hidden

    rounds = []
    settings = {"criterion": "synflow", "sparsity": 0.995, "loss_fn": loss, "allow_empty": True}
    made = masks.make(params)
    pruned = prune(params, made, batch, **settings, on_round=lambda r, of: rounds.append(of))
    assert rounds == [100] * 100
    assert masks.empty(pruned) == []
    assert masks.empty(prune(params, made, batch, **settings, rounds=1)) != []


def test_one_compilation_serves_all_rounds_and_calls(params, batch):
    traced = []

    def counting_loss(params, batch):
        traced.append(1)
        return loss_fn(params, batch)

    made = masks.make(params)
    for sparsity in (0.5, 0.9):
        prune(
            params, made, batch, criterion="snip", sparsity=sparsity, rounds=5,
            loss_fn=counting_loss,
        )  # fmt: skip
    assert len(traced) == 1


def test_layers_survive_unless_asked_otherwise(params):
    params["b"]["kernel"] = params["b"]["kernel"] * 1e-6
    made = masks.make(params)
    kept = prune(params, made, None, criterion="magnitude", sparsity=0.9, rounds=3)
    assert masks.empty(kept) == []
    lost = prune(params, made, None, criterion="magnitude", sparsity=0.9, allow_empty=True)
    assert masks.empty(lost) == ["b/kernel"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"criterion": "snipp"}, "unknown criterion 'snipp'; allowed are .*; did you mean 'snip'"),
        ({"sparsity": 1.0}, "in \\[0, 1\\)"),
        ({"rounds": 0}, "at least 1, got 0"),
        ({"criterion": "snip"}, "needs loss_fn="),
        ({"schedule": "square"}, "unknown schedule 'square'; allowed are exponential"),
        ({"distribution": "layer"}, "unknown distribution"),
    ],
)
def test_bad_settings_are_refused(params, settings, message):
    defaults = {"criterion": "magnitude", "sparsity": 0.5}
    with pytest.raises(ValueError, match=message):
        prune(params, masks.make(params), None, **(defaults | settings))


def test_a_lower_sparsity_than_the_masks_have_is_refused(params):
    pruned = prune(params, masks.make(params), None, criterion="magnitude", sparsity=0.9)
    with pytest.raises(ValueError, match=r"below the 0\.9000 that the masks have"):
        prune(params, pruned, None, criterion="magnitude", sparsity=0.5)


def test_nan_loss_is_reported_by_leaf(params, batch):
    def broken(params, batch):
        loss, outputs = loss_fn(params, batch)
        return loss * jnp.nan, outputs

    with pytest.raises(ValueError, match="600 of 600 scores of 'a/kernel' are NaN"):
        prune(
            params, masks.make(params), batch, criterion="snip", sparsity=0.5, loss_fn=broken
        )  # fmt: skip


def test_synflow_does_not_overflow_in_deep_networks():
    """Sixty layers of gain 8: a flow of 1e54, far outside float32."""
    keys = jax.random.split(jax.random.key(0), 60)
    params = {
        f"l{i:02}": {"kernel": 0.1 + jax.random.uniform(key, (13, 13))}
        for i, key in enumerate(keys)
    }

    def loss(params, batch):
        hidden = batch[0]
        for name in sorted(params):
            hidden = hidden @ params[name]["kernel"]
        return jnp.zeros((), hidden.dtype), hidden

    made, data = masks.make(params), (jnp.ones((2, 13)), jnp.zeros(2, jnp.int32))
    pruned = prune(params, made, data, criterion="synflow", sparsity=0.5, rounds=1, loss_fn=loss)
    # The reference: flow through a weight is what comes in times what goes out, in NumPy.
    kernels = [np.asarray(params[name]["kernel"], np.float64) for name in sorted(params)]
    ahead, behind = [np.ones(13)], [np.ones(13)]
    for kernel in kernels:
        ahead.append(ahead[-1] @ kernel)
    for kernel in reversed(kernels):
        behind.append(kernel @ behind[-1])
    assert ahead[-1].sum() > 1e50
    flows = np.stack([
        np.outer(ahead[i], behind[59 - i]) * kernel for i, kernel in enumerate(kernels)
    ])  # fmt: skip
    kept = np.stack([np.asarray(pruned[name]["kernel"]) for name in sorted(params)])
    assert kept.sum() == flows.size // 2
    assert flows[kept].min() > flows[~kept].max()
    assert not jax.config.jax_enable_x64
    scores = criteria.synflow(params, made, data, loss_fn=loss, key=None)
    with pytest.raises(ValueError, match=r"NaN.*float64"):
        allocation.allocate(scores, 0.5)


def _chain(layers, size=13):
    """The weights and the loss of a linear network, with its flow as its outputs."""
    keys = jax.random.split(jax.random.key(0), layers)
    params = {
        f"l{i:02}": {"kernel": 0.1 + jax.random.uniform(key, (size, size))}
        for i, key in enumerate(keys)
    }

    def loss(params, batch):
        hidden = batch[0]
        for name in sorted(params):
            hidden = hidden @ params[name]["kernel"]
        return jnp.zeros((), hidden.dtype), hidden

    return params, loss, (jnp.ones((2, size)), jnp.zeros(2, jnp.int32))


@pytest.mark.parametrize(
    "criterion",
    [
        criteria.synflow,
        criteria.CRITERIA["synflow"],
        functools.partial(criteria.synflow, key=None),
        functools.partial(criteria.CRITERIA["synflow"], key=None),
        functools.partial(functools.partial(criteria.synflow), key=None),
    ],
    ids=["function", "entry", "partial", "partial of the entry", "partial of a partial"],
)
def test_a_criterion_given_as_a_function_is_the_named_one(criterion):
    params, loss, batch = _chain(3)
    rounds = []
    settings = {"sparsity": 0.9, "loss_fn": loss}
    made = masks.make(params)
    named = prune(params, made, batch, criterion="synflow", **settings)
    given = prune(
        params, made, batch, criterion=criterion, **settings,
        on_round=lambda r, of: rounds.append(of),
    )  # fmt: skip
    assert rounds == [100] * 100
    jax.tree.map(np.testing.assert_array_equal, named, given)


def test_a_partial_of_synflow_is_computed_in_float64():
    params, loss, batch = _chain(60)
    made = masks.make(params)
    settings = {"sparsity": 0.5, "rounds": 1, "loss_fn": loss}
    named = prune(params, made, batch, criterion="synflow", **settings)
    partial = functools.partial(criteria.synflow)
    given = prune(params, made, batch, criterion=partial, **settings)
    jax.tree.map(np.testing.assert_array_equal, named, given)


def test_a_criterion_says_what_it_needs(params):
    seen = []

    def score(params, made, batch, *, loss_fn, key):
        seen.append(params["a"]["kernel"].dtype)
        return jax.tree.map(lambda mask: jax.random.uniform(key, mask.shape), made)

    own = criteria.Criterion(score, rounds=3, float64=True, needs_loss=False)
    told = []
    prune(
        params, masks.make(params), None, criterion=own, sparsity=0.5, key=jax.random.key(0),
        on_round=lambda r, of: told.append((r, of)),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert seen == [jnp.float64]
    with pytest.raises(ValueError, match="needs loss_fn="):
        prune(params, masks.make(params), None, criterion=criteria.snip, sparsity=0.5)


def test_sparsities_by_path_patterns_and_exclusions(params):
    made = masks.make(params)
    alone = prune(params, made, criterion="magnitude", sparsity={"a": 0.5})
    np.testing.assert_array_equal(
        alone["a"]["kernel"],
        allocation.allocate({"a": {"kernel": jnp.abs(params["a"]["kernel"])}}, 0.5)["a"]["kernel"],
    )
    others = {name: leaf for name, leaf in masks.sparsities(alone).items() if "a/" not in name}
    assert all(float(value) == 0 for value in others.values())
    halved = prune(params, made, criterion="magnitude", pattern="1:2", rounds=3)
    assert {float(value) for value in masks.sparsities(halved).values()} == {0.5}
    kept = prune(params, made, criterion="magnitude", sparsity=0.5, exclude="a/")
    assert bool(kept["a"]["kernel"].all())


def test_n_of_m_in_rounds_takes_one_after_the_other():
    params = {"kernel": jax.random.normal(jax.random.key(0), (8, 5))}
    seen = []

    def score(params, made, batch, *, loss_fn, key):
        del batch, loss_fn, key
        return jax.tree.map(lambda leaf, mask: jnp.where(mask, jnp.abs(leaf), 0), params, made)

    made = masks.make(params)
    for rounds in (1, 2, 3):
        found = prune(params, made, criterion=score, pattern="1:4", rounds=rounds)
        seen.append(np.asarray(found["kernel"]).reshape(2, 4, 5).sum(axis=1))
    for counts in seen:
        np.testing.assert_array_equal(counts, 1)


@pytest.mark.parametrize("criterion", ["magnitude", "snip"])
def test_inside_jit_as_outside(params, criterion):
    def loss(params, batch):
        total = sum(jnp.sum(leaf * batch) ** 2 for leaf in jax.tree.leaves(params))
        return total * 1e-3

    def pruned(params, made, batch):
        return prune(params, made, batch, criterion=criterion, sparsity=0.5, loss_fn=loss, rounds=2)

    batch = jnp.float32(2.0)
    outside = pruned(params, masks.make(params), batch)
    inside = jax.jit(pruned)(params, masks.make(params), batch)
    for one, other in zip(jax.tree.leaves(inside), jax.tree.leaves(outside), strict=True):
        np.testing.assert_array_equal(one, other)


def test_float64_cannot_begin_inside_jit(params):
    def loss(params, batch):
        out = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)) * batch
        return out.sum(), out

    def pruned(params):
        return prune(
            params, masks.make(params), jnp.ones((1, 1)), criterion="synflow", sparsity=0.5,
            loss_fn=loss, rounds=2,
        )  # fmt: skip

    with pytest.raises(ValueError, match="float64, which cannot begin inside jit"):
        jax.jit(pruned)(params)
    with jax.enable_x64(True):
        assert masks.count(jax.jit(pruned)(params)) == masks.count(pruned(params))


@jax.numpy_dtype_promotion("standard")
def test_synflow_on_a_network_with_a_dtype_of_its_own():
    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(nn.RNN(nn.LSTMCell(4))(x)[:, -1])

    model, x = Recurrent(), jnp.ones((2, 5, 3))
    params = model.init(jax.random.key(0), x)["params"]

    def loss(params, batch):
        logits = model.apply({"params": params}, batch)
        return jnp.sum(logits), logits

    with pytest.warns(UserWarning, match="computed in float32: the network does not follow"):
        made = prune(params, masks.make(params), x, criterion="synflow", sparsity=0.5, loss_fn=loss)
    weights = sum(mask.size for mask in jax.tree.leaves(made))
    assert masks.count(made) == allocation.kept_weights(weights, 0.5)

    def broken(params, batch):
        raise TypeError("a fault of the user's own")

    with pytest.raises(TypeError, match="a fault of the user's own"):
        prune(params, masks.make(params), x, criterion="synflow", sparsity=0.5, loss_fn=broken)


def test_n_of_m_by_path_in_rounds_leaves_the_others_whole():
    params = {name: jax.random.normal(jax.random.key(i), (8, 8)) for i, name in enumerate("ab")}
    made = {name: jnp.ones((8, 8), bool) for name in "ab"}
    for rounds in (1, 2, 3):
        found = prune(
            params, made, criterion="magnitude", sparsity={"a": 0.5}, pattern="2:4", rounds=rounds
        )
        assert {name: int(mask.sum()) for name, mask in found.items()} == {"a": 32, "b": 64}


@pytest.mark.parametrize("pattern, shape", [("per_output", (3, 4)), ("4x4", (12, 4))])
def test_pruning_again_to_the_same_sparsity_changes_nothing(pattern, shape):
    params = {"a": jax.random.normal(jax.random.key(0), shape)}
    made = {"a": jnp.ones(shape, bool)}
    once = prune(params, made, criterion="magnitude", sparsity=0.5, pattern=pattern)
    again = prune(params, once, criterion="magnitude", sparsity=0.5, pattern=pattern)
    np.testing.assert_array_equal(once["a"], again["a"])


@pytest.mark.parametrize(
    "of, message",
    [
        (lambda leaf: leaf[1:], "scores of shape .19, 30. for 'a/kernel', whose mask has shape"),
        (lambda leaf: None, "the criterion gave no scores for 'a/kernel'"),
    ],
)
def test_scores_of_another_shape_are_the_criterions_fault(params, of, message):
    def score(params, made, batch, *, loss_fn, key):
        return jax.tree.map(lambda mask: of(mask.astype(jnp.float32)), made)

    with pytest.raises(ValueError, match=message):
        prune(params, masks.make(params), criterion=score, sparsity=0.5)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"criterion": None, "sparsity": 0.5}, "a criterion is a name .* got None"),
        ({"criterion": "magnitude", "sparsity": 0.5, "rounds": "3"}, "at least 1, got '3'"),
        ({"criterion": "magnitude", "sparsity": "0.5"}, "got '0.5'"),
    ],
)
def test_wrong_arguments(params, settings, message):
    with pytest.raises(ValueError, match=message):
        prune(params, masks.make(params), **settings)
