"""Sparsities by path, and leaves that stay whole, against sorts over the leaves concerned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import allocation, masks
from tests.support import reference


def scores():
    shapes = {"stem": (3, 3, 2, 8), "block1": (3, 3, 8, 8), "block2": (3, 3, 8, 8), "head": (8, 10)}
    keys = jax.random.split(jax.random.key(3), len(shapes))
    return {
        name: {"kernel": jax.random.normal(key, shape), "bias": None}
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def kept(tree):
    return {name: np.asarray(leaf["kernel"]) for name, leaf in tree.items()}


def highest(leaves, count):
    """The ``count`` highest of several leaves, by a sort."""
    marked = {name: np.zeros(leaf.shape, bool) for name, leaf in leaves.items()}
    names = list(leaves)
    for at, position in reference.keep_highest([leaves[name] for name in names], count):
        marked[names[at]].ravel()[position] = True
    return marked


def expected(leaves, sparsity):
    total = sum(leaf.size for leaf in leaves.values())
    return highest(leaves, total - round(sparsity * total))


def same(found, wanted):
    assert {*found} == {*wanted}
    for name, mask in wanted.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


def test_a_pattern_ranks_the_leaves_that_it_names_together():
    leaves = kept(scores())
    made = kept(allocation.allocate(scores(), {"block": 0.9, "head": 0.25}))
    same(
        made,
        {
            "stem": np.ones(leaves["stem"].shape, bool),
            **expected({name: leaves[name] for name in ("block1", "block2")}, 0.9),
            **expected({"head": leaves["head"]}, 0.25),
        },
    )


def test_the_first_pattern_that_matches_counts():
    leaves = kept(scores())
    made = kept(allocation.allocate(scores(), {"block1": 0.5, "": 0.8}))
    rest = {name: leaf for name, leaf in leaves.items() if name != "block1"}
    same(made, expected({"block1": leaves["block1"]}, 0.5) | expected(rest, 0.8))


def test_one_pattern_for_all_is_one_number():
    same(kept(allocation.allocate(scores(), {"": 0.7})), kept(allocation.allocate(scores(), 0.7)))


@pytest.mark.parametrize("distribution", ["uniform", "erk"])
def test_distributions_share_within_a_pattern(distribution):
    made = masks.sparsities(
        allocation.allocate(scores(), {"block|head": 0.5}, distribution=distribution)
    )
    shapes = [(3, 3, 8, 8), (3, 3, 8, 8), (8, 10)]
    counts = allocation.leaf_counts(shapes, 0.5, distribution)
    for name, shape, count in zip(("block1", "block2", "head"), shapes, counts, strict=True):
        size = int(np.prod(shape))
        assert float(made[f"{name}/kernel"]) == pytest.approx(1 - count / size)
    assert float(made["stem/kernel"]) == 0


def test_excluded_leaves_stay_whole_and_do_not_count():
    leaves = kept(scores())
    made = kept(allocation.allocate(scores(), 0.9, exclude=["stem", "head$|head/"]))
    inner = {name: leaves[name] for name in ("block1", "block2")}
    whole = {name: np.ones(leaves[name].shape, bool) for name in ("stem", "head")}
    same(made, whole | expected(inner, 0.9))


def test_an_excluded_leaf_keeps_the_masks_that_it_has():
    before = allocation.allocate(scores(), 0.5)
    after = kept(allocation.allocate(scores(), 0.9, exclude="stem", masks=before))
    np.testing.assert_array_equal(after["stem"], kept(before)["stem"])
    assert not (after["block1"] & ~kept(before)["block1"]).any()


def test_inside_jit_as_outside():
    def by_path(scores):
        return allocation.allocate(scores, {"block": 0.9, "head": 0.25}, exclude="block2")

    same(kept(jax.jit(by_path)(scores())), kept(by_path(scores())))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sparsity": {"blok": 0.5}}, "sparsity: the pattern 'blok' matches no leaf; did you mean"),
        ({"sparsity": {"(": 0.5}}, r"sparsity: '\(' is no regular expression"),
        ({"sparsity": {}}, "sparsity names no layer"),
        ({"sparsity": {3: 0.5}}, "sparsity by name takes patterns of leaf paths, text, got 3"),
        ({"sparsity": {"head": 1.0}}, r"of 'head': sparsity is the fraction .* got 1.0"),
        ({"sparsity": {"head": "most"}}, r"of 'head': sparsity is the fraction .* got 'most'"),
        (
            {"sparsity": {"block": 0.5, "block1": 0.2}},
            "'block1' matches only leaves",
        ),
        ({"sparsity": {"head": 0.5}, "exclude": "head"}, "'head' matches only leaves that an"),
        ({"sparsity": "high"}, "sparsity is the fraction of weights removed"),
        ({"sparsity": 0.5, "exclude": ""}, "exclude names every leaf"),
        ({"sparsity": 0.5, "exclude": "hed"}, "exclude: the pattern 'hed' matches no leaf; did"),
        ({"sparsity": 0.5, "exclude": []}, "exclude: select holds no pattern"),
        ({}, "sparsity is missing"),
        ({"sparsity": {"head": 0.99}, "distribution": "erk"}, None),
        ({"sparsity": {"block": 0.9995}}, "fewer than the 2 layers"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_what_is_refused(settings, message):
    if message is None:
        allocation.allocate(scores(), **settings)
        return
    with pytest.raises(ValueError, match=message):
        allocation.allocate(scores(), **settings)


def test_the_rest_may_be_nothing():
    same(
        kept(allocation.allocate(scores(), {"e|o": 0.5, "": 0.9})),
        kept(allocation.allocate(scores(), 0.5)),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_masks_of_denormal_weights(dtype):
    tiny = np.array([[1e-40, 0.0], [-1e-40, -0.0]]).astype(jnp.dtype(dtype))
    given = tiny if dtype == "float64" else jnp.asarray(tiny)
    made = masks.of_nonzeros({"kernel": given})["kernel"]
    assert made.tolist() == [[True, False], [True, False]]


def test_masks_of_what_is_zero_already():
    params = {"a": {"kernel": jnp.array([[0.0, -2.0], [-0.0, jnp.nan]]), "bias": jnp.zeros(2)}}
    made = masks.of_nonzeros(params)
    assert made["a"]["kernel"].tolist() == [[False, True], [False, True]]
    assert made["a"]["bias"] is None
    assert masks.of_nonzeros(params, "bias")["a"]["bias"].tolist() == [False, False]
    pruned = allocation.allocate(scores(), 0.6)
    applied = masks.apply(jax.tree.map(lambda leaf: leaf + 10.0, scores()), pruned)
    same(kept(masks.of_nonzeros(applied)), kept(pruned))
    same(kept(jax.jit(masks.of_nonzeros)(applied)), kept(pruned))
