import random

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunejax import masks
from prunejax.sparse import Links


@pytest.fixture
def params():
    return {
        "Conv_0": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)},
        "norm": {"scale": jnp.ones(4)},
        "Dense_0": {"kernel": jnp.full((4, 2), 2.0), "bias": jnp.ones(2)},
    }


def test_make_selects_kernels_by_default(params):
    made = masks.make(params)
    assert made["Conv_0"]["kernel"].shape == (3, 3, 2, 4)
    assert made["Conv_0"]["kernel"].dtype == bool
    assert made["Conv_0"]["kernel"].all()
    assert made["Conv_0"]["bias"] is None
    assert made["norm"]["scale"] is None
    assert made["Dense_0"]["kernel"].all()


@pytest.mark.parametrize(
    "select, expected",
    [
        (["Dense_0/kernel", "Dense_0/bias"], {"Dense_0/kernel", "Dense_0/bias"}),
        ("", {"Conv_0/kernel", "Conv_0/bias", "Dense_0/kernel", "Dense_0/bias", "norm/scale"}),
        ("^Conv.*kernel$", {"Conv_0/kernel"}),
        (["bias$", "scale"], {"Conv_0/bias", "Dense_0/bias", "norm/scale"}),
        (lambda path, leaf: leaf.ndim == 4, {"Conv_0/kernel"}),
    ],
)
def test_make_selects_by_pattern(params, select, expected):
    assert set(masks.sparsities(masks.make(params, select=select))) == expected


@pytest.mark.parametrize("select", ["Dense_0", ["Dense_0", "kernel"], r"Dense_\d"])
def test_a_pattern_that_takes_biases_along_says_so(params, select):
    with pytest.warns(UserWarning, match="takes biases or scales too, .*: Dense_0/bias. End the"):
        made = masks.make(params, select=select)
    assert {"Dense_0/kernel", "Dense_0/bias"} <= set(masks.sparsities(made))


@pytest.mark.parametrize(
    "select, message",
    [
        ("kernels$", "matches no leaf.*The leaves are: Conv_0/bias"),
        (["kernel$", "typo"], "'typo' matches no leaf"),
        ("Conv_0/kernal", "did you mean 'Conv_0/kernel'"),
        ("(", "no regular expression"),
        ([], "holds no pattern"),
        (lambda path, leaf: False, "picked none"),
    ],
)
def test_make_refuses_selections_of_nothing(params, select, message):
    with pytest.raises(ValueError, match=message):
        masks.make(params, select=select)


def test_make_refuses_integers():
    with pytest.raises(ValueError, match=r"'steps'.*int32"):
        masks.make({"steps": jnp.zeros(3, jnp.int32)}, select="steps")


def test_make_refuses_a_tree_without_kernels():
    with pytest.raises(ValueError, match="no leaf is a kernel"):
        masks.make({"bias": jnp.zeros(3), "kernel": jnp.zeros(3)})


def test_make_takes_shapes_only():
    shapes = jax.eval_shape(nn.Dense(3).init, jax.random.key(0), jnp.zeros((1, 2)))["params"]
    assert masks.make(shapes)["kernel"].shape == (2, 3)


def test_apply_zeroes_pruned_weights_only(params):
    made = masks.make(params)
    made["Dense_0"]["kernel"] = jnp.array([[True, False], [False, True], [True, True], [False] * 2])
    applied = masks.apply(params, made)
    np.testing.assert_array_equal(applied["Dense_0"]["kernel"], [[2, 0], [0, 2], [2, 2], [0, 0]])
    np.testing.assert_array_equal(applied["Dense_0"]["bias"], [1, 1])
    assert masks.count(made) == 72 + 4
    assert float(masks.sparsity(made)) == pytest.approx(4 / 80)
    assert {key: float(value) for key, value in masks.sparsities(made).items()} == {
        "Conv_0/kernel": 0.0,
        "Dense_0/kernel": 0.5,
    }


def test_apply_zeroes_what_is_not_finite():
    applied = masks.apply({"w": jnp.array([[jnp.nan, 1.0]])}, {"w": jnp.array([[False, True]])})
    np.testing.assert_array_equal(applied["w"], [[0, 1]])


def test_empty_names_leaves_with_nothing_left(params):
    made = masks.make(params)
    made["Dense_0"]["kernel"] = jnp.zeros((4, 2), bool)
    assert masks.empty(made) == ["Dense_0/kernel"]


def test_combine():
    first = {"a": jnp.array([True, True, False, False]), "b": None}
    second = {"a": jnp.array([True, False, True, False]), "b": None}
    np.testing.assert_array_equal(masks.combine(first, second)["a"], [1, 0, 0, 0])
    np.testing.assert_array_equal(masks.combine(first, second, using="or")["a"], [1, 1, 1, 0])
    assert masks.combine(first, second)["b"] is None
    with pytest.raises(ValueError, match="at least one"):
        masks.combine()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"kernel": jnp.ones((2, 2), bool), "bias": None}, "shape"),
        ({"kernel": jnp.ones((2, 3)), "bias": None}, "bool array, got float32"),
        ({"kernel": jnp.ones((2, 3), bool), "bias": None, "extra": None}, "not parallel"),
        ({"kernel": jnp.ones((2, 3), bool)}, "not parallel"),
        ({"other": jnp.ones((2, 3), bool)}, "'other', but no parameter"),
        ({"kernel": None, "bias": None}, "empty"),
    ],
)
def test_masks_of_other_parameters_are_refused(wrong, message):
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    for call in (masks.validate, masks.apply):
        with pytest.raises(ValueError, match=message):
            call(params, wrong)


def test_measures_refuse_trees_without_masks():
    for measure in (masks.sparsity, masks.sparsities, masks.count, masks.empty):
        with pytest.raises(ValueError, match="every leaf is None"):
            measure({"a": None})


def test_apply_jits_and_does_not_recompile(params):
    traced = []

    @jax.jit
    def forward(params, made):
        traced.append(1)
        return masks.apply(params, made), masks.sparsity(made)

    made = masks.make(params)
    forward(params, made)
    made["Dense_0"]["kernel"] = ~made["Dense_0"]["kernel"]
    applied, pruned = forward(params, made)
    assert len(traced) == 1
    assert not applied["Dense_0"]["kernel"].any()
    assert float(pruned) == pytest.approx(8 / 80)


bool_arrays = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from("abcdef"), st.none() | bool_arrays, min_size=1))
def test_saved_masks_come_back(tmp_path_factory, arrays):
    made = {key: None if one is None else jnp.asarray(one) for key, one in arrays.items()}
    params = {key: jnp.zeros(3) if m is None else jnp.zeros(m.shape) for key, m in made.items()}
    path = tmp_path_factory.mktemp("masks") / "some.npz"
    if all(mask is None for mask in made.values()):
        with pytest.raises(ValueError, match="empty"):
            masks.save(path, made)
        return
    masks.save(path, made)
    loaded = masks.load(path, params)
    assert jax.tree.structure(loaded) == jax.tree.structure(made)
    jax.tree.map(np.testing.assert_array_equal, loaded, made)
    assert float(masks.sparsity(loaded)) == pytest.approx(
        1 - sum(m.sum() for m in arrays.values() if m is not None) / sum(
            m.size for m in arrays.values() if m is not None), abs=1e-6)  # fmt: skip


def test_load_says_what_is_wrong(tmp_path):
    params = {"w": jnp.zeros((4, 4))}
    path = masks.save(tmp_path / "deep" / "masks.npz", masks.make(params))
    with pytest.raises(ValueError, match=r"masks for \['w'\]"):
        masks.load(path, {"v": jnp.zeros((4, 4))})
    with pytest.raises(ValueError, match="shape"):
        masks.load(path, {"w": jnp.zeros((2, 4))})
    with pytest.raises(FileNotFoundError):
        masks.load(tmp_path / "none.npz", params)
    content = path.read_bytes()
    for damaged in (b"", b"not a mask file", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or no mask file"):
            masks.load(path, params)


def test_equinox_modules():
    model = eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    made = masks.make(params)
    assert set(masks.sparsities(made)) == {"layers/0/weight", "layers/1/weight"}
    first = jnp.zeros((5, 3), bool).at[0].set(True)
    made = eqx.tree_at(lambda tree: tree.layers[0].weight, made, first)
    pruned = eqx.combine(masks.apply(params, made), static)
    x = np.array([1.0, -2.0, 0.5], np.float32)
    weight, bias = np.asarray(model.layers[0].weight), np.asarray(model.layers[0].bias)
    hidden = bias.copy()
    hidden[0] += weight[0] @ x
    expected = np.asarray(model.layers[1].weight) @ np.maximum(hidden, 0) + np.asarray(
        model.layers[1].bias
    )
    np.testing.assert_allclose(pruned(jnp.asarray(x)), expected, rtol=1e-5)


def test_nnx_as_a_pure_dict():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    params = nnx.to_pure_dict(state)
    made = masks.make(params)
    assert set(masks.sparsities(made)) == {"kernel"}
    made["kernel"] = made["kernel"].at[:, 0].set(False)
    nnx.replace_by_pure_dict(state, masks.apply(params, made))
    outputs = nnx.merge(graph, state)(jnp.ones((1, 3)))
    expected = np.asarray(params["kernel"])[:, 1].sum()
    np.testing.assert_allclose(outputs, [[0.0, expected]], rtol=1e-6)


def test_raw_nnx_state_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"nnx\.to_pure_dict"):
        masks.make(nnx.state(nnx.Linear(3, 2, rngs=nnx.Rngs(0))))


def bad_file(path, **arrays):
    np.savez(path, **arrays)
    return path


BYTE, SHAPE = np.array([255], np.uint8), np.array([30, 40])


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"bits:w": BYTE, "shape:w": SHAPE}, r"shape \[30, 40\] cannot have 1 bytes"),
        ({"bits:w": BYTE[:0], "shape:w": SHAPE}, "cannot have 0 bytes"),
        ({"bits:w": np.ones(150), "shape:w": SHAPE}, "bits must be uint8.*float64|take"),
        ({"bits:w": np.ones(150, np.uint8), "shape:w": SHAPE * 1.0}, "a shape must be int64"),
        ({"bits:w": BYTE, "shape:w": np.array([10**7, 10**7])}, "cannot have 1 bytes"),
        ({"bits:w": BYTE, "shape:w": np.array([-30, -40])}, "not negative"),
        ({"bits:w": BYTE, "shape:w": np.array([2**62, 4])}, "cannot have 1 bytes"),
        ({"bits:w": BYTE}, "shape:w"),
        ({"other": BYTE}, "holds no masks"),
        ({"bits:w": np.zeros(10**6, np.uint8), "shape:w": SHAPE}, "at most"),
        ({"bits:w": np.array([{}]), "shape:w": SHAPE}, "Python objects"),
    ],
)
def test_files_that_are_no_masks_are_refused(tmp_path, arrays, message):
    path = bad_file(tmp_path / "m.npz", **arrays)
    with pytest.raises(ValueError, match=f"damaged or no mask file: .*({message})"):
        masks.load(path, {"w": jnp.ones((30, 40))})


def test_a_bare_array_is_no_mask_file(tmp_path):
    with open(tmp_path / "m.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="damaged or no mask file"):
        masks.load(tmp_path / "m.npz", {"w": jnp.ones((3, 4))})


def test_no_flipped_bit_changes_a_mask(tmp_path):
    """The file is refused by one documented error, or the flip was where nothing is stored."""
    kept = jnp.arange(1200).reshape(30, 40) % 7 == 0
    path = masks.save(tmp_path / "m.npz", {"w": kept})
    good, draw, refusals = path.read_bytes(), random.Random(0), []
    for _ in range(150):
        content = bytearray(good)
        content[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            found = masks.load(path, {"w": jnp.ones((30, 40))})
        except ValueError as error:
            refusals.append(str(error))
        else:
            np.testing.assert_array_equal(found["w"], kept)
    assert len(refusals) > 50


def test_leaves_called_like_files_are_kept_apart(tmp_path):
    two = {"a": jnp.ones((2, 2), bool), "a.npy": jnp.zeros((3, 2), bool)}
    found = masks.load(masks.save(tmp_path / "m.npz", two), two)
    assert found["a"].all()
    assert found["a"].shape == (2, 2)
    assert not found["a.npy"].any()
    assert found["a.npy"].shape == (3, 2)


def test_weights_that_are_left_out_by_default_are_named():
    net = [
        eqx.nn.GRUCell(3, 5, key=jax.random.key(0)),
        eqx.nn.Conv2d(2, 4, 3, key=jax.random.key(1)),
        {"kernel": jnp.ones((4, 4), jnp.complex64), "bias": jnp.ones((2, 3))},
    ]
    params = eqx.filter(net, eqx.is_inexact_array)
    said = "3 arrays of two or more axes get no mask.*0/weight_ih, 0/weight_hh, 2/kernel"
    with pytest.warns(UserWarning, match=said):
        made = masks.make(params)
    assert list(masks.sparsities(made)) == ["1/weight"]
    # Whoever names what to prune is not told of the rest.
    assert list(masks.sparsities(masks.make(params, r"weight_\w\w$"))) == [
        "0/weight_ih",
        "0/weight_hh",
    ]


def test_leaves_without_entries_hold_nothing_to_prune():
    params = {"a": {"kernel": jnp.zeros((0, 4))}, "b": {"kernel": jnp.ones((3, 4))}}
    made = masks.make(params)
    assert made["a"]["kernel"] is None
    assert masks.count(made) == 12
    with pytest.raises(ValueError, match="hold no weights"):
        masks.make(params, "a/kernel")
    none = {"a": jnp.zeros((0, 4), bool), "b": jnp.zeros(3, bool)}
    assert masks.empty(none) == ["b"]
    assert float(masks.sparsities(none)["a"]) == 0


def test_only_masks_are_saved_as_masks(tmp_path):
    with pytest.raises(ValueError, match=r"the mask of 'w' must be a bool array, got float32\[3\]"):
        masks.save(tmp_path / "m.npz", {"w": jnp.ones(3)})
    assert not any(tmp_path.iterdir())


def test_restricted_masks_leave_out_what_others_do_not_prune():
    made = {"kernel": jnp.zeros((2, 3), bool), "bias": jnp.zeros(3, bool)}
    restricted = masks.restrict(made, {"kernel": jnp.ones((2, 3), bool), "bias": None})
    assert restricted["bias"] is None
    np.testing.assert_array_equal(restricted["kernel"], made["kernel"])


def test_links_are_no_masks():
    links = Links.from_mask(jnp.ones((2, 3), bool))
    for measure in (masks.sparsity, masks.sparsities, masks.count, masks.empty):
        with pytest.raises(ValueError, match=r"'kernel/sources' must be a bool array, .*to_dense"):
            measure({"kernel": links})
