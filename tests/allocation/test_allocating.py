import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunejax import allocation, masks
from tests.support import reference

TYING = [-np.inf, -1.5, -0.0, 0.0, 1e-40, 2.0, np.inf]
SHAPES = [(3, 3, 3, 16), (3, 3, 16, 16), (1, 1, 16, 32), (128, 10), (10, 10)]


def scores_like(shapes, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        f"layer{i}": {"kernel": jax.random.normal(key, shape), "bias": None}
        for i, (key, shape) in enumerate(zip(keys, shapes, strict=True))
    }


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_global_keeps_what_a_sort_keeps(sparsity):
    scores = scores_like(SHAPES)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(scores)]
    count = round((1 - sparsity) * sum(leaf.size for leaf in leaves))
    made = allocation.allocate(scores, sparsity, allow_empty=True)
    kept = {
        (leaf, int(position))
        for leaf, mask in enumerate(jax.tree.leaves(made))
        for position in np.flatnonzero(np.asarray(mask))
    }
    assert kept == reference.keep_highest(leaves, count)
    assert made["layer0"]["bias"] is None


@settings(max_examples=80)
@given(
    st.lists(st.lists(st.sampled_from(TYING), min_size=1, max_size=30), min_size=1, max_size=4),
    st.floats(0, 0.999),
    st.booleans(),
)
def test_cardinality_is_exact_with_ties(rows, sparsity, allow_empty):
    scores = [jnp.array(row, jnp.float32) for row in rows]
    total = sum(len(row) for row in rows)
    wanted = total - round(sparsity * total)
    if wanted < len(rows) and not allow_empty:
        with pytest.raises(ValueError, match="fewer than the"):
            allocation.allocate(scores, sparsity)
        return
    made = allocation.allocate(scores, sparsity, allow_empty=allow_empty)
    assert masks.count(made) == wanted if wanted else not any(m.any() for m in made)
    flat = np.concatenate([np.asarray(mask) for mask in made])
    values = np.concatenate([np.asarray(score, np.float64) for score in scores])
    if allow_empty:
        assert not flat.any() or flat.all() or values[flat].min() >= values[~flat].max()
    else:
        assert masks.empty(made) == []
        best = [max(row) for row in rows]
        for score, mask, top in zip(scores, made, best, strict=True):
            assert np.asarray(score)[np.asarray(mask)].max() == np.float32(top)


def test_ties_do_not_favour_the_first_layers():
    scores = [jnp.zeros(10_000), jnp.zeros(10_000)]
    first, second = (int(mask.sum()) for mask in allocation.allocate(scores, 0.9))
    assert first + second == 2000
    # Drawn at random, the first layer's share has standard deviation 21.
    assert abs(first - 1000) < 110
    again = allocation.allocate(scores, 0.9)
    jax.tree.map(np.testing.assert_array_equal, again, allocation.allocate(scores, 0.9))


def test_no_layer_is_left_empty_unless_asked():
    scores = {"small": jnp.array([[0.1, 0.3]]), "large": jnp.full((4, 5), 2.0)}
    made = allocation.allocate(scores, 0.5)
    np.testing.assert_array_equal(made["small"], [[False, True]])
    assert masks.count(made) == 11
    emptied = allocation.allocate(scores, 0.5, allow_empty=True)
    assert masks.empty(emptied) == ["small"]
    assert masks.count(emptied) == 11


def test_pruned_weights_stay_pruned():
    scores = scores_like(SHAPES)
    first = allocation.allocate(scores, 0.5)
    reversed_scores = jax.tree.map(lambda s: -s, scores)
    second = allocation.allocate(reversed_scores, 0.8, masks=first)
    both = masks.combine(first, second)
    assert masks.count(second) == masks.count(both) == round(0.2 * masks.count(masks.make(scores)))


def test_pruned_weights_stay_pruned_even_where_more_are_wanted():
    scores = {"w": jnp.array([[5.0, 4.0, 3.0, 2.0]])}
    pruned = {"w": jnp.array([[False, False, True, True]])}
    np.testing.assert_array_equal(allocation.keep(scores, 3, masks=pruned)["w"], [[0, 0, 1, 1]])


@pytest.mark.parametrize("distribution", ["uniform", "er", "erk"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.97])
def test_distributions_are_exact_and_proportional(distribution, sparsity):
    raw = {
        "uniform": lambda shape: 1.0,
        "er": lambda shape: (shape[-1] + shape[-2]) / (shape[-1] * shape[-2]),
        "erk": lambda shape: sum(shape) / np.prod(shape),
    }[distribution]
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    kept = sum(sizes) - round(sparsity * sum(sizes))
    made = allocation.allocate(scores_like(SHAPES), sparsity, distribution=distribution)
    counts = [int(mask.sum()) for mask in jax.tree.leaves(made)]
    assert sum(counts) == kept
    densities = reference.erk_densities(SHAPES, kept, raw)
    for count, density, size in zip(counts, densities, sizes, strict=True):
        assert abs(count - density * size) <= 1


def test_layer_wise_masks_hold_each_layers_highest():
    scores = scores_like(SHAPES)
    made = allocation.allocate(scores, 0.7, distribution="erk")
    for score, mask in zip(jax.tree.leaves(scores), jax.tree.leaves(made), strict=True):
        score, mask = np.asarray(score), np.asarray(mask)
        assert mask.all() or score[mask].min() > score[~mask].max()


@settings(max_examples=60)
@given(
    st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=6),
    st.floats(0, 0.99),
    st.sampled_from(["uniform", "er", "erk"]),
    st.booleans(),
)
def test_layer_counts_always_add_up(shapes, sparsity, distribution, allow_empty):
    sizes = [int(np.prod(shape)) for shape in shapes]
    total = sum(sizes) - round(sparsity * sum(sizes))
    if total < len(shapes) and not allow_empty:
        with pytest.raises(ValueError, match="fewer than the"):
            allocation.leaf_counts(shapes, sparsity, distribution)
        return
    counts = allocation.leaf_counts(shapes, sparsity, distribution, allow_empty=allow_empty)
    assert sum(counts) == total
    assert all(
        (0 if allow_empty else 1) <= count <= size
        for count, size in zip(counts, sizes, strict=True)
    )


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_sparsity_outside_its_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"fraction of weights removed, in \[0, 1\)"):
        allocation.allocate({"w": jnp.ones((4, 4))}, sparsity)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match=r"2 of 4 scores of 'a/w' are NaN"):
        allocation.allocate({"a": {"w": jnp.array([1.0, jnp.nan, jnp.nan, 2.0])}}, 0.5)
    with pytest.raises(ValueError, match=r"'w' must be floating point, got int32"):
        allocation.allocate({"w": jnp.arange(4)}, 0.5)
    with pytest.raises(ValueError, match="every leaf is None"):
        allocation.allocate({"w": None}, 0.5)
    with pytest.raises(ValueError, match="unknown distribution 'erkk'; allowed are global"):
        allocation.allocate({"w": jnp.ones(4)}, 0.5, distribution="erkk")
    with pytest.raises(ValueError, match="shape"):
        allocation.allocate({"w": jnp.ones(4)}, 0.5, masks={"w": jnp.ones(3, bool)})
    with pytest.raises(ValueError, match="2 counts were given for 1 leaves"):
        allocation.keep_per_leaf({"w": jnp.ones(4)}, [1, 2])


@pytest.mark.parametrize("distribution", allocation.DISTRIBUTIONS)
def test_inside_jit_as_outside_without_recompiling(distribution):
    traced = []

    @jax.jit
    def inside(scores):
        traced.append(1)
        return allocation.allocate(scores, 0.8, distribution=distribution)

    for seed in range(3):
        scores = scores_like(SHAPES, seed)
        jax.tree.map(
            np.testing.assert_array_equal,
            inside(scores),
            allocation.allocate(scores, 0.8, distribution=distribution),
        )
    assert len(traced) == 1


def test_a_traced_sparsity_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"allocation\.keep"):
        jax.jit(lambda s: allocation.allocate({"w": jnp.ones(4)}, s))(0.5)


def test_traced_counts_inside_a_schedule():
    scores = {"w": jnp.arange(10.0), "v": jnp.arange(10.0) + 0.5}
    kept = jax.jit(lambda count: allocation.keep(scores, count))
    assert [masks.count(kept(count)) for count in (2, 7, 20)] == [2, 7, 20]
    per_leaf = jax.jit(lambda counts: allocation.keep_per_leaf(scores, counts))(jnp.array([3, 0]))
    np.testing.assert_array_equal(np.flatnonzero(per_leaf["v"]), [7, 8, 9])
    assert not per_leaf["w"].any()


def test_nan_ranks_lowest_inside_jit():
    scores = {"w": jnp.array([jnp.nan, -jnp.inf, 1.0, jnp.nan])}
    made = jax.jit(lambda s: allocation.allocate(s, 0.5))(scores)
    np.testing.assert_array_equal(made["w"], [False, True, True, False])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_dtypes(dtype):
    scores = {"w": jnp.array([3, -1, 2, 0.5], dtype)}
    np.testing.assert_array_equal(allocation.allocate(scores, 0.5)["w"], [1, 0, 1, 0])


def test_float64_scores_are_told_apart_beyond_float32():
    with jax.enable_x64(True):
        scores = {"w": jnp.array([1.0, 1.0 + 1e-12, 1.0 - 1e-12], jnp.float64)}
        np.testing.assert_array_equal(allocation.allocate(scores, 0.6)["w"], [False, True, False])


def test_scores_of_mixed_width_rank_together():
    with jax.enable_x64(True):
        scores = {
            "a": jnp.array([10.0, 9.0, 8.0, 7.0], jnp.float32),
            "b": jnp.array([1.0, 2.0, 3.0, 4.0], jnp.float64),
        }
        kept = allocation.allocate(scores, 0.5, allow_empty=True)
    np.testing.assert_array_equal(kept["a"], [1, 1, 1, 1])
    np.testing.assert_array_equal(kept["b"], [0, 0, 0, 0])


@pytest.mark.parametrize("distribution", ["uniform", "er", "erk"])
def test_layers_that_have_little_left_are_made_up_for_by_others(distribution):
    """Uniform would want 50 of each; the first has 10 left."""
    scores = {"a": jnp.arange(100.0).reshape(10, 10), "b": jnp.arange(100.0).reshape(10, 10)}
    left = {"a": scores["a"] < 10, "b": jnp.ones((10, 10), bool)}
    kept = allocation.allocate(scores, 0.5, distribution=distribution, masks=left)
    assert [int(mask.sum()) for mask in kept.values()] == [10, 90]
    assert not (np.asarray(kept["a"]) & ~np.asarray(left["a"])).any()


def test_masks_of_another_tree_are_refused_everywhere():
    scores, other = {"a": jnp.ones(4), "b": jnp.ones(4)}, {"x": jnp.ones(4, bool)}
    missing = {"a": jnp.ones(4, bool), "b": None}
    for call in (
        lambda made: allocation.allocate(scores, 0.5, masks=made),
        lambda made: allocation.keep(scores, 2, masks=made),
        lambda made: allocation.keep_per_leaf(scores, [1, 1], masks=made),
    ):
        with pytest.raises(ValueError, match="no parameter of that path"):
            call(other)
        with pytest.raises(ValueError, match="scores for 2 leaves, but masks for 1"):
            call(missing)


@pytest.mark.parametrize("distribution", allocation.DISTRIBUTIONS)
def test_leaves_without_entries_are_passed_over(distribution):
    scores = {"a": jnp.zeros((0, 4)), "b": jnp.arange(12.0).reshape(3, 4), "c": jnp.zeros((2, 0))}
    kept = allocation.allocate(scores, 0.5, distribution=distribution)
    assert kept["a"].shape == (0, 4)
    np.testing.assert_array_equal(np.asarray(kept["b"]).ravel(), np.arange(12) >= 6)
    with pytest.raises(ValueError, match="fewer than the 1 layers"):
        allocation.allocate({"a": jnp.zeros((0, 4)), "b": jnp.ones(3)}, 0.9)


@pytest.mark.parametrize("narrow", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_denormal_scores_rank_above_zero_whatever_they_stand_beside(narrow, wide):
    """XLA's conversion to a wider type makes them 0."""
    step = {"float32": 1e-40, "bfloat16": 1e-39, "float16": 1e-7}[narrow]
    tiny = np.array([-2, -1, 1, 2, 3, 4]) * step
    with jax.enable_x64(True):
        scores = {"tiny": jnp.asarray(tiny.astype(narrow)), "zero": jnp.zeros(4, wide)}
        assert (np.asarray(scores["tiny"]).astype(np.float64)[2:] > 0).all()
        kept = allocation.allocate(scores, 0.6, allow_empty=True)["tiny"]
        np.testing.assert_array_equal(kept, [False, False, True, True, True, True])
        lost = allocation.allocate(scores, 0.2, allow_empty=True)["tiny"]
        np.testing.assert_array_equal(lost, [False, False, True, True, True, True])
