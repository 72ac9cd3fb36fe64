"""Plans: what they refuse, rounding, optimiser state, files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import masks, models
from prunejax.network import Plan, trace
from tests.support.slicing_checks import random_keep


@pytest.fixture(scope="module")
def subject():
    model = models.build("conv6", num_classes=3, conv_widths=(4,) * 6, hidden_widths=(6, 5))
    x = jnp.ones((1, 8, 8, 2))
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x))(x)
    return model, trace(model.apply, variables, x), variables, x


def test_bad_plans_name_the_group(subject):
    _, network, _, _ = subject
    with pytest.raises(
        ValueError, match=r"unknown group of channels 'conv9'; allowed are .*; did you mean 'conv"
    ):
        network.plan({"conv9": np.ones(4, bool)})
    with pytest.raises(ValueError, match=r"keep\['conv2'\] must be a bool array of shape \(4,\)"):
        network.plan({"conv2": np.ones(5, bool)})
    with pytest.raises(ValueError, match=r"keep\['conv2'\] must be a bool .* got int64\[4\]"):
        network.plan({"conv2": np.ones(4, np.int64)})
    with pytest.raises(ValueError, match=r"group 'conv3' would vanish: .* conv3 would"):
        network.plan({"conv3": np.zeros(4, bool)})
    with pytest.raises(ValueError, match="round_to must be at least 1, got 0"):
        network.plan({}, round_to=0)
    with pytest.raises(ValueError, match="min_channels must be at least 1, got -1"):
        network.plan({}, min_channels=-1)


def test_rounding_and_a_least_number_bring_the_first_channels_back(subject):
    _, network, _, _ = subject
    keep = {"hidden1": np.arange(6) == 4, "hidden2": np.arange(5) >= 1}
    plain = network.plan(keep)
    assert plain.keep["hidden1"].tolist() == keep["hidden1"].tolist()
    assert plain.keep["conv1"].all()
    least = network.plan(keep, min_channels=3)
    assert np.flatnonzero(least.keep["hidden1"]).tolist() == [0, 1, 4]
    assert least.keep["hidden2"].tolist() == keep["hidden2"].tolist()
    rounded = network.plan(keep, round_to=4)
    assert np.flatnonzero(rounded.keep["hidden1"]).tolist() == [0, 1, 2, 4]
    assert rounded.keep["hidden2"].sum() == 4
    assert network.plan(keep, round_to=4, min_channels=5).keep["hidden2"].all()


def test_slices_by_hand(subject):
    _, network, variables, _ = subject
    plan = network.plan({"conv2": np.array([True, False, True, False])})
    sliced = plan.slice(variables)
    params, left = variables["params"], sliced["params"]
    np.testing.assert_array_equal(left["conv2"]["kernel"], params["conv2"]["kernel"][..., ::2])
    np.testing.assert_array_equal(left["conv3"]["kernel"], params["conv3"]["kernel"][:, :, ::2])
    np.testing.assert_array_equal(left["conv1"]["kernel"], params["conv1"]["kernel"])
    assert sliced["batch_stats"]["conv2_norm"]["mean"].shape == (2,)
    assert jax.tree.structure(sliced) == jax.tree.structure(variables)


def test_donated_arrays_are_freed_and_the_others_are_not(subject):
    _, network, variables, _ = subject
    plan = network.plan({"conv2": np.array([True, False, True, False])})
    expected = plan.slice(variables)
    tx = optax.adam(0.1)
    given = jax.tree.map(jnp.array, {**variables, "state": tx.init(variables["params"])})
    given["batch_stats"]["conv2_norm"]["var"] = np.ones(4, np.float32)
    left = plan.slice(given, donate=True)
    assert jax.tree.structure(left) == jax.tree.structure(given)
    for leaf, before, after in zip(
        jax.tree.leaves(left["params"]),
        jax.tree.leaves(given["params"]),
        jax.tree.leaves(expected["params"]),
        strict=True,
    ):
        np.testing.assert_array_equal(leaf, after)
        assert before.is_deleted() == (before.shape != after.shape)
        assert before.is_deleted() or leaf is before
    assert given["state"][0].mu["conv3"]["kernel"].is_deleted()
    assert not given["state"][0].mu["conv1"]["kernel"].is_deleted()
    assert left["batch_stats"]["conv2_norm"]["var"].shape == (2,)
    assert given["batch_stats"]["conv2_norm"]["var"].shape == (4,)  # NumPy's cannot be freed
    with pytest.raises(RuntimeError, match="deleted"):
        plan.slice(given, donate=True)
    with pytest.raises(RuntimeError, match="deleted"):
        plan.slice(given)


def test_an_array_in_several_places_is_freed_after_the_last(subject):
    _, network, variables, _ = subject
    plan = network.plan({"conv2": np.array([True, False, True, False])})
    params = jax.tree.map(jnp.array, variables["params"])
    left = plan.slice({"params": params, "average": params}, donate=True)
    for one, other, whole in zip(
        *(jax.tree.leaves(each) for each in (left["params"], left["average"])),
        jax.tree.leaves(plan.slice(variables["params"])),
        strict=True,
    ):
        np.testing.assert_array_equal(one, whole)
        np.testing.assert_array_equal(other, whole)
    assert params["conv2"]["kernel"].is_deleted()
    # one that stays as it is somewhere is part of what comes back
    params = jax.tree.map(jnp.array, variables["params"])
    kernel = params["conv2"]["kernel"]
    left = plan.slice({"params": params, "best": kernel}, donate=True)
    assert left["best"] is kernel
    assert not kernel.is_deleted()
    assert left["params"]["conv2"]["kernel"].shape == (3, 3, 4, 2)


def test_nothing_is_freed_if_something_cannot_be_sliced(subject):
    _, network, variables, _ = subject
    plan = network.plan({"conv2": np.array([True, False, True, False])})
    params = jax.tree.map(jnp.array, variables["params"])
    state = {"params": params, "trace": {"conv3": {"kernel": jnp.ones((3, 3, 5, 4))}}}
    with pytest.raises(ValueError, match="cannot slice 'trace/conv3/kernel'"):
        plan.slice(state, donate=True)
    with pytest.raises(ValueError, match="no leaf belongs to the network"):
        plan.slice({"stranger": jnp.ones(3)}, donate=True)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    # what is traced cannot be freed: nothing happens
    forward = jax.jit(lambda params: plan.slice(params, donate=True))
    again = forward(params)
    for ours, theirs in _pairs(again, plan.slice(params)):
        np.testing.assert_array_equal(ours, theirs)


def test_masks_keep_exactly_what_slicing_keeps(subject):
    _, network, variables, _ = subject
    plan = network.plan(random_keep(network))
    made = plan.masks(variables["params"])
    left = plan.slice(variables)["params"]
    assert masks.count(made) == sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(left)
        if masks.name(path) != "classifier/bias"
    )
    assert made["classifier"]["bias"] is None
    for (path, leaf), mask in zip(
        jax.tree_util.tree_leaves_with_path(variables["params"]),
        jax.tree.leaves(made, is_leaf=lambda leaf: leaf is None),
        strict=True,
    ):
        if mask is not None:
            kept = np.asarray(leaf)[np.asarray(mask)]
            names = masks.name(path).split("/")
            np.testing.assert_array_equal(kept, left[names[0]][names[1]].ravel())
    assert all(leaf is None for leaf in _leaves(plan.masks(variables)["batch_stats"]))
    assert all(jnp.array_equal(*pair) for pair in _pairs(plan.masks(variables)["params"], made))


def _leaves(tree):
    return jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)


def _pairs(first, second):
    return zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)


def test_optimiser_state_is_sliced_by_path(subject):
    _, network, variables, _ = subject
    plan = network.plan(random_keep(network))
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.constant_schedule(0.1)))
    with jax.numpy_dtype_promotion("standard"):
        params = variables["params"]
        _, state = jax.jit(lambda tree: tx.update(tree, tx.init(tree), tree))(params)
        sliced = plan.slice(state)
        params = plan.slice(variables["params"])
        moments = optax.tree.get(sliced, "mu")
        for moment, gradient in _pairs(moments, plan.slice(optax.tree.get(state, "mu"))):
            assert jnp.array_equal(moment, gradient)
        updates, _ = jax.eval_shape(tx.update, params, sliced, params)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)


def test_trees_that_do_not_belong_are_refused(subject):
    _, network, variables, x = subject
    plan = network.plan(random_keep(network))
    sliced = plan.slice(variables)
    with pytest.raises(ValueError, match="cannot slice 'batch_stats/conv1_norm/mean'"):
        plan.slice(sliced)
    with pytest.raises(ValueError, match="cannot mask 'params/"):
        plan.masks(sliced)
    with pytest.raises(ValueError, match="no leaf belongs to the network"):
        plan.slice({"stranger": jnp.ones(3)})
    with pytest.raises(ValueError, match="must have the shape that the plan gives it"):
        plan.apply_fn(variables, x)
    with pytest.raises(ValueError, match="takes the leaves"):
        plan.apply_fn(sliced["params"], x)


def test_a_plan_comes_back_from_its_file(subject, tmp_path):
    model, network, variables, x = subject
    plan = network.plan(random_keep(network))
    path = plan.save(tmp_path / "plans" / "plan.json")
    again = Plan.load(path, trace(model.apply, variables, x))
    assert again.keep.keys() == plan.keep.keys()
    assert all((again.keep[name] == plan.keep[name]).all() for name in plan.keep)
    for ours, theirs in _pairs(again.slice(variables), plan.slice(variables)):
        assert jnp.array_equal(ours, theirs)


def test_a_plan_for_another_network_or_a_damaged_one_is_refused(subject, tmp_path):
    _, network, _, x = subject
    path = network.plan(random_keep(network)).save(tmp_path / "plan.json")
    other = models.build("conv6", num_classes=3, conv_widths=(4,) * 6, hidden_widths=(6, 6))
    shapes = jax.eval_shape(lambda: other.init(jax.random.key(0), x))
    with pytest.raises(ValueError, match="made for another network"):
        Plan.load(path, trace(other.apply, shapes, x))
    content = json.loads(path.read_text())
    for damaged in ("", "[]", json.dumps({**content, "format": "?"}), path.read_text()[:200]):
        broken = tmp_path / "broken.json"
        broken.write_text(damaged)
        with pytest.raises(ValueError, match="damaged or no plan"):
            Plan.load(broken, network)
    with pytest.raises(FileNotFoundError):
        Plan.load(tmp_path / "none.json", network)


def test_it_can_be_exported(subject):
    _, network, variables, x = subject
    plan = network.plan(random_keep(network))
    sliced, forward = plan.slice(variables), jax.jit(plan.apply_fn)
    exported = jax.export.export(forward)(sliced, x)
    np.testing.assert_allclose(exported.call(sliced, x), forward(sliced, x), rtol=1e-5)


def test_variables_of_another_network_are_refused(subject):
    _, network, variables, _ = subject
    plan = network.plan({"conv1": np.array([True, False, True, True])})
    more = {**variables["params"], "conv7": {"kernel": jnp.ones((3, 3, 4, 4))}}
    for tree in ({**variables, "params": more}, more):
        for method in (plan.slice, plan.masks):
            with pytest.raises(
                ValueError, match=r"another network: this one has no .*conv7/kernel"
            ):
                method(tree)
    state = {"params": variables["params"], "step": jnp.zeros(()), "trace": variables["params"]}
    sliced = plan.slice(state)
    assert sliced["params"]["conv1"]["kernel"].shape == (3, 3, 2, 3)
    assert sliced["trace"]["conv1"]["kernel"].shape == (3, 3, 2, 3)


def test_files_that_say_nothing_sensible(subject, tmp_path):
    _, network, _, _ = subject
    path = network.plan({}).save(tmp_path / "plan.json")
    content = json.loads(path.read_text())
    for change, message in (
        ({"width": 4, "channels": [-1]}, "channels of 'conv1' are not among its 4"),
        ({"width": 4, "channels": [1, 1]}, "channels of 'conv1' are not among its 4"),
    ):
        changed = {**content, "keep": {**content["keep"], "conv1": change}}
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            Plan.load(path, network)
    path.write_text(json.dumps({**content, "keep": {}}))
    with pytest.raises(ValueError, match="another network: its groups are"):
        Plan.load(path, network)
