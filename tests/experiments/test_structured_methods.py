"""The methods of the comparison that remove whole channels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.methods import METHODS, Subject
from prunejax import masks as masks_lib
from prunejax import models, training
from prunejax.network import trace

CHANNELS = sorted(name for name in METHODS if name.startswith("channels_"))
OFTEN = [  # test_registries.py runs all methods on another network
    pytest.param(
        name, marks=() if name in ("channels_l1", "channels_apoz", "channels_bn_scale")
        else pytest.mark.slow,
    )
    for name in CHANNELS
]  # fmt: skip
REDUNDANT = ("entropy_kcore", "kcore_random", "kcore_l1")
SETTINGS = {
    "resnet": ("resnet8", {"stem_width": 8, "stage_widths": (8, 10, 12)}, (8, 8, 2)),
    "mlp": ("mlp", {"hidden_widths": (20, 10)}, (6, 6, 1)),
}


def unused(*_):
    raise AssertionError("structured methods take no gradients")


@functools.cache
def made(name):
    """A model and a subject of pruning: fresh weights, and running statistics that matter."""
    kind, options, image = SETTINGS[name]
    model = models.build(kind, num_classes=3, **options)
    x = jax.random.normal(jax.random.key(1), (16, *image))
    params, batch_stats = training.init_variables(model, jax.random.key(0), x)
    batch_stats = jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size, dtype=jnp.float32)), batch_stats
    )
    variables = {"params": params, **training.stats_collection(batch_stats)}
    one = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    subject = Subject(
        params=params,
        masks=masks_lib.make(params),
        batch=(x, jnp.zeros(16, jnp.int32)),
        training_loss=unused,
        softened_loss=unused,
        evaluation_loss=unused,
        network=trace(model.apply, variables, one),
        batch_stats=batch_stats,
        key=jax.random.key(2),
    )
    return model, variables, subject


def kernel(tree, layer):
    for part in layer.split("/"):
        tree = tree[part]
    return np.asarray(tree["kernel"])


def kept(masks, network):
    """For each group which channels stay: read off the kernels of all layers that make them."""
    stays = {}
    for name, group in network.groups.items():
        made = [kernel(masks, layer) for layer in group.layers]
        rows = [mask.reshape(-1, mask.shape[-1]).any(axis=0) for mask in made]
        assert all(np.array_equal(row, rows[0]) for row in rows), name
        stays[name] = rows[0]
    return stays


def check(method, name, sparsity, tolerance):
    """Masks are those of a plan, of nearly the sparsity, and work as the sliced network does."""
    model, variables, subject = made(name)
    masks = METHODS[method](subject, sparsity)
    masks_lib.validate(subject.params, masks)
    assert jax.tree.structure(masks) == jax.tree.structure(subject.masks)
    assert abs(float(masks_lib.sparsity(masks)) - sparsity) <= tolerance
    plan = subject.network.plan(kept(masks, subject.network))
    whole = plan.masks(subject.params)
    for mask, planned in zip(
        jax.tree.leaves(masks, is_leaf=lambda leaf: leaf is None),
        jax.tree.leaves(whole, is_leaf=lambda leaf: leaf is None),
        strict=True,
    ):
        if mask is not None:
            np.testing.assert_array_equal(mask, planned)
    x = subject.batch[0]
    masked = model.apply({**variables, "params": masks_lib.apply(subject.params, masks)}, x)
    sliced = plan.apply_fn(plan.slice(variables), x)
    np.testing.assert_allclose(sliced, masked, rtol=1e-5, atol=1e-5 * float(jnp.abs(masked).max()))
    assert float(jnp.std(masked)) > 1e-3
    return plan


@pytest.mark.parametrize("method", OFTEN)
def test_criteria_remove_whole_channels(method):
    plan = check(method, "resnet", 0.5, tolerance=0.06)
    shares = [stays.mean() for stays in plan.keep.values()]
    assert max(shares) - min(shares) <= 1 / 8, "every layer loses the same share"


@pytest.mark.parametrize("method", REDUNDANT)
def test_redundancy_removes_whole_channels(method):
    check(method, "resnet", 0.5, tolerance=0.1)


def test_the_weakest_channels_go():
    _, _, subject = made("resnet")
    plan = check("channels_l1", "resnet", 0.3, tolerance=0.06)
    for group, layer in (("stem", "stem"), ("stage2_block1/conv2", "stage2_block1/shortcut")):
        norms = np.abs(kernel(subject.params, layer)).sum(axis=(0, 1, 2))
        stays = plan.keep[group]
        assert 0 < stays.sum() < len(stays)
        assert norms[stays].min() > norms[~stays].max()


def test_a_perceptron_loses_units():
    _, _, subject = made("mlp")
    for method in ("channels_l1", "channels_apoz", "channels_random"):
        plan = check(method, "mlp", 0.5, tolerance=0.06)
        assert all(0 < stays.sum() < len(stays) for stays in plan.keep.values())
    norms = np.abs(kernel(subject.params, "hidden1")).sum(axis=0)
    stays = check("channels_l1", "mlp", 0.5, tolerance=0.06).keep["hidden1"]
    assert norms[stays].min() > norms[~stays].max()


@pytest.mark.parametrize("method", REDUNDANT)
def test_a_perceptron_has_no_feature_maps(method):
    _, _, subject = made("mlp")
    with pytest.raises(ValueError, match=r"made by a layer of kind conv.*hidden1 \(dense\)"):
        METHODS[method](subject, 0.5)


def test_maps_and_scales_of_a_perceptron_are_refused_by_layer():
    _, _, subject = made("mlp")
    for method in ("channels_bn_scale",):
        with pytest.raises(ValueError, match="'hidden1'"):
            METHODS[method](subject, 0.5)


def test_what_is_drawn_comes_from_the_key():
    _, _, subject = made("resnet")
    for method in ("channels_random", "kcore_random"):
        first, again = (METHODS[method](subject, 0.5) for _ in range(2))
        other = METHODS[method](subject._replace(key=jax.random.key(9)), 0.5)
        stays = [kept(tree, subject.network) for tree in (first, again, other)]
        rows = [np.concatenate(list(one.values())).tolist() for one in stays]
        assert rows[0] == rows[1] != rows[2]


def test_more_than_can_be_removed_is_refused():
    _, _, subject = made("resnet")
    for method in ("entropy_kcore", "channels_l1"):
        with pytest.raises(ValueError, match=r"0.999 cannot be reached: the most is 0\.\d{3}"):
            METHODS[method](subject, 0.999)
