"""Patterns of ``allocate`` against loops over groups, blocks and outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import allocation, masks
from prunejax.allocation import Blocks, NofM, PerOutput, Unstructured, as_pattern
from tests.support import rewiring_reference as reference


def scores():
    keys = jax.random.split(jax.random.key(0), 2)
    return {
        "conv": {"kernel": jax.random.normal(keys[0], (3, 2, 8, 4)), "bias": None},
        "dense": {"kernel": jax.random.normal(keys[1], (12, 8))},
    }


def kept(tree):
    return {name: np.asarray(leaf["kernel"]) for name, leaf in tree.items()}


@pytest.mark.parametrize(
    "name, pattern",
    [
        ("2:4", NofM(2, 4)),
        ("1:8", NofM(1, 8)),
        ("4x2", Blocks(4, 2)),
        ("per_output", PerOutput()),
        (None, Unstructured()),
        (NofM(1, 2), NofM(1, 2)),
    ],
)
def test_names_of_patterns(name, pattern):
    assert as_pattern(name) == pattern


@pytest.mark.parametrize("name, kept_of, of", [("2:4", 2, 4), ("3:4", 3, 4), ("1:2", 1, 2)])
def test_n_of_m_has_a_sparsity_of_its_own(name, kept_of, of):
    made = kept(allocation.allocate(scores(), pattern=name))
    for leaf, mask in made.items():
        wanted = reference.n_of_m(kept(scores())[leaf], kept_of, of, axis=-2)
        np.testing.assert_array_equal(mask, wanted)
    assert masks.count(allocation.allocate(scores(), 1 - kept_of / of, pattern=name)) == round(
        (192 + 96) * kept_of / of
    )


def test_n_of_m_along_the_last_axis_is_the_transpose():
    weights = {"weight": jax.random.normal(jax.random.key(1), (6, 8))}
    made = allocation.allocate(weights, pattern=NofM(2, 4, axis=-1))["weight"]
    wanted = allocation.allocate({"weight": weights["weight"].T}, pattern="2:4")["weight"]
    np.testing.assert_array_equal(made, wanted.T)


def test_what_is_pruned_stays_so_in_every_pattern():
    before = allocation.allocate(scores(), 0.8)
    for pattern, sparsity in (("2:4", None), ("4x2", 0.5), ("per_output", 0.5)):
        after = kept(allocation.allocate(scores(), sparsity, pattern=pattern, masks=before))
        for name, mask in kept(before).items():
            assert not (after[name] & ~mask).any()
            assert after[name].any()


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.75])
def test_per_output_keeps_the_highest_of_each_output(sparsity):
    made = kept(allocation.allocate(scores(), sparsity, pattern="per_output"))
    for name, leaf in kept(scores()).items():
        columns = leaf.reshape(-1, leaf.shape[-1])
        marked = np.zeros(columns.shape, bool)
        count = len(columns) - round(sparsity * len(columns))
        for output in range(columns.shape[1]):
            marked[np.argsort(-columns[:, output], kind="stable")[:count], output] = True
        np.testing.assert_array_equal(made[name], marked.reshape(leaf.shape))


def test_blocks_by_path_and_with_an_excluded_leaf():
    made = kept(allocation.allocate(scores(), {"dense": 0.5}, pattern="4x2", exclude="conv"))
    means = kept(scores())["dense"].reshape(3, 4, 4, 2).mean(axis=(1, 3))
    best = np.zeros(12, bool)
    best[np.argsort(-means.ravel())[:6]] = True
    wanted = np.repeat(np.repeat(best.reshape(3, 4), 4, 0), 2, 1)
    np.testing.assert_array_equal(made["dense"], wanted)
    assert made["conv"].all()


def test_all_of_a_leafs_blocks_may_go_where_that_is_allowed():
    low = {"a": jnp.full((4, 4), -1.0), "b": jnp.ones((4, 12))}
    assert masks.empty(allocation.allocate(low, 0.5, pattern="4x4")) == []
    emptied = allocation.allocate(low, 0.5, pattern="4x4", allow_empty=True)
    assert masks.empty(emptied) == ["a"]


@pytest.mark.parametrize("pattern, sparsity", [("2:4", None), ("4x2", 0.5), ("per_output", 0.7)])
def test_inside_jit_as_outside(pattern, sparsity):
    def made(scores):
        return allocation.allocate(scores, sparsity, pattern=pattern)

    compiled = jax.jit(made)
    for name, mask in kept(compiled(scores())).items():
        np.testing.assert_array_equal(mask, kept(made(scores()))[name])
    compiled(jax.tree.map(jnp.negative, scores()))
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"pattern": "2of4"}, "unknown pattern '2of4'; allowed are '2:4'"),
        ({"pattern": "5:4"}, "N of M needs whole numbers 1 <= N <= M, got 5:4"),
        ({"pattern": "0x4"}, "blocks need whole numbers"),
        ({"pattern": 4}, "unknown pattern 4"),
        ({"pattern": "2:5"}, r"'conv/kernel' has shape .* multiple of 5. Leave it out"),
        ({"pattern": "2:4", "sparsity": 0.9}, "2:4 is a sparsity of 0.5, got 0.9"),
        ({"pattern": "2:4", "distribution": "erk"}, "distribution 'erk' has no say"),
        ({"pattern": "per_output", "distribution": "er", "sparsity": 0.5}, "'er' has no say"),
        ({"pattern": "per_output"}, "sparsity= is missing"),
        ({"pattern": "per_output", "sparsity": 0.97}, "'dense/kernel' has 12 weights per output"),
        ({"pattern": "4x2"}, "sparsity= is missing"),
        ({"pattern": "5x5", "sparsity": 0.5}, "cannot be cut into"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        allocation.allocate(scores(), **settings)


def test_what_is_pruned_counts_nothing_in_its_block():
    scores = {"k": jnp.concatenate([jnp.full((4, 4), 9.0), jnp.full((4, 4), 2.0)])}
    alive = {"k": jnp.ones((8, 4), bool).at[:4].set(False).at[0, 0].set(True)}
    made = np.asarray(allocation.allocate(scores, 0.5, pattern="4x4", masks=alive)["k"])
    np.testing.assert_array_equal(made, np.arange(8)[:, None] >= 4 * np.ones((1, 4)))


@pytest.mark.parametrize("pattern", ["2:4", "per_output"])
def test_what_is_pruned_takes_no_place_of_what_scores_least(pattern):
    scores = {"a": jnp.array([[1.0], [2.0], [-jnp.inf], [-jnp.inf]])}
    alive = {"a": jnp.array([[False], [True], [True], [True]])}
    made = allocation.allocate(scores, 0.5, pattern=pattern, masks=alive)["a"]
    assert made[:, 0].tolist() == [False, True, True, False]


@pytest.mark.parametrize("pattern", ["2:4", "per_output"])
def test_denormal_and_nan_scores_in_patterns(pattern):
    scores = {"a": jnp.array([[1e-40], [3e-40], [2e-40], [4e-40]])}
    made = allocation.allocate(scores, 0.5, pattern=pattern)["a"]
    assert made[:, 0].tolist() == [False, True, False, True]
    odd = {"a": jnp.array([[jnp.nan], [-jnp.inf], [0.0], [jnp.nan]])}
    made = jax.jit(lambda tree: allocation.allocate(tree, 0.5, pattern=pattern))(odd)["a"]
    assert made[:, 0].tolist() == [False, True, True, False]


@pytest.mark.parametrize("pattern", ["2:4", "per_output"])
@pytest.mark.parametrize("shape", [(4, 0), (0, 4)])
def test_leaves_without_entries_are_passed_over(pattern, shape):
    scores = {"a": jnp.ones(shape), "b": jnp.arange(8.0).reshape(4, 2)}
    made = allocation.allocate(scores, 0.5, pattern=pattern)
    assert made["a"].shape == shape
    assert made["b"].tolist() == [[False, False]] * 2 + [[True, True]] * 2


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "use, message",
    [
        (lambda s: allocation.allocate(0.5, s), "of 'conv': .* got dict$"),
        (lambda s: allocation.allocate({"a": "x"}, 0.5), "scores of 'a' must be floating .* str"),
        (lambda s: allocation.allocate(s, "0.5"), r"in \[0, 1\), got '0.5'"),
        (lambda s: allocation.keep(s, "3"), "count must be a whole number .* got '3'"),
        (lambda s: allocation.keep(s, -3), "at least 0, got -3"),
        (lambda s: allocation.keep(s, 2.7), "got 2.7"),
        (lambda s: allocation.keep_per_leaf(s, 3), "one whole number per leaf, got 3"),
        (
            lambda s: allocation.allocate({"a": jnp.float32(1.0)}, 0.5, pattern="per_output"),
            "'a' is one number, without outputs",
        ),
    ],
)
def test_wrong_arguments(use, message):
    with pytest.raises(ValueError, match=message):
        use(scores())
