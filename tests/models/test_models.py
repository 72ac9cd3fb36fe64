"""Every model of the registry against the papers' counts and a plain NumPy forward pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.models import MODELS, build
from tests.support import numpy_models
from tests.support.small_zoo import each

SIZES = {
    "mlp": (28, 28, 1),
    "lenet_300_100": (28, 28, 1),
    "mlp_1000x3": (28, 28, 1),
    "lenet5": (28, 28, 1),
    "conv6": (32, 32, 3),
    "vgg16": (32, 32, 3),
    "resnet8": (8, 8, 1),
    "resnet14": (8, 8, 1),
    "resnet20": (32, 32, 3),
    "resnet32": (32, 32, 3),
    "resnet56": (32, 32, 3),
    "resnet110": (32, 32, 3),
    "resnet50": (224, 224, 3),
    "wide_resnet28_2": (32, 32, 3),
    "densenet40": (32, 32, 3),
    "sparse_mlp": (28, 28, 1),
    "spiking_mlp": (28, 28, 1),
    "spiking_conv": (28, 28, 1),
    "spiking_vgg16": (32, 32, 3),
    "spiking_resnet19": (32, 32, 3),
}
SMALLEST = {
    "lenet5": 12,
    "conv6": 8,
    "vgg16": 32,
    "densenet40": 4,
    "spiking_conv": 4,
    "spiking_vgg16": 32,
}

# Overrides that make a model small and its widths distinguishable, the image, the NumPy model.
NARROW = {"stem_width": 2, "stage_widths": (2, 5, 8)}
SMALL = {
    "mlp": ({"hidden_widths": (7, 5)}, (8, 8, 1), (numpy_models.mlp, 2)),
    "lenet_300_100": ({}, (8, 8, 1), (numpy_models.mlp, 2)),
    "mlp_1000x3": ({"hidden_widths": (6, 7, 5)}, (8, 8, 1), (numpy_models.mlp, 3)),
    "lenet5": ({}, (13, 12, 2), (numpy_models.lenet5,)),
    "conv6": (
        {"conv_widths": (2, 3, 4, 5, 6, 7), "hidden_widths": (5, 4)},
        (8, 17, 2),
        (numpy_models.conv6,),
    ),
    "vgg16": (
        {"widths": (4, 5, 6, 7, 8, 9, 8, 7, 9, 8, 7, 8, 9), "head_width": 6},
        (32, 32, 1),
        (numpy_models.vgg16,),
    ),
    "resnet8": (
        NARROW | {"shortcut": "pad", "shortcut_pads": ((0, 3), (2, 1))},
        (8, 8, 1),
        (numpy_models.resnet, 1, "pad", ((0, 3), (2, 1))),
    ),
    "resnet14": (NARROW, (8, 8, 1), (numpy_models.resnet, 2, "conv3x3")),
    "resnet20": (
        NARROW | {"block_widths": (1, 2, 3, 4, 5, 6, 7, 8, 9), "shortcut": "pad"},
        (8, 8, 1),
        (numpy_models.resnet, 3, "pad", ((1, 2), (1, 2))),
    ),
    "resnet32": (
        NARROW | {"shortcut": "conv1x1"},
        (7, 8, 2),
        (numpy_models.resnet, 5, "conv1x1"),
    ),
    "resnet56": (NARROW, (8, 8, 1), (numpy_models.resnet, 9, "conv3x3")),
    "resnet110": (NARROW, (5, 5, 1), (numpy_models.resnet, 18, "conv3x3")),
    "resnet50": (
        {
            "stem_width": 3,
            "stage_widths": (4, 5, 6, 7),
            "block_widths": tuple((1 + i % 3, 2 + i % 2) for i in range(16)),
        },
        (33, 32, 1),
        (numpy_models.resnet50,),
    ),
    "wide_resnet28_2": (
        # as wide a stem as stage 1: the shortcut must stay a convolution
        {"stem_width": 3, "stage_widths": (3, 4, 5), "block_widths": tuple(range(1, 13))},
        (8, 7, 1),
        (numpy_models.wide_resnet, 4),
    ),
    "densenet40": (
        {
            "stem_width": 3,
            "growths": ((1, 2), (2, 3, 1), (2,)),
            "transition_widths": (4, 6),
        },
        (8, 8, 1),
        (numpy_models.densenet, (2, 3, 1)),
    ),
    "sparse_mlp": (
        {"hidden_widths": (9, 8), "sparsity": (0.7, 0.4)},
        (8, 8, 1),
        (numpy_models.sparse_mlp, 2),
    ),
    "spiking_mlp": (
        {"hidden_widths": (40, 30), "timesteps": 6},
        (8, 8, 1),
        (numpy_models.spiking_mlp, 2, numpy_models.Lif(6)),
    ),
    "spiking_conv": (
        {"widths": (8, 9), "head_width": 30, "tau": 2.0, "threshold": 0.3, "reset": "soft"},
        (9, 8, 2),
        (numpy_models.spiking_conv, numpy_models.Lif(5, 0.5, 0.5, 0.3, soft=True)),
    ),
    "spiking_vgg16": (
        {"widths": (4, 5, 6, 7, 8, 9, 8, 7, 9, 8, 9, 10, 30), "head_width": 30},
        (32, 32, 1),
        (numpy_models.spiking_vgg16, numpy_models.Lif(5)),
    ),
    "spiking_resnet19": (
        {
            "stem_width": 4,
            "stage_widths": (4, 6, 8),
            "block_widths": (3, 4, 5, 6, 7, 8, 9, 10),
            "head_width": 30,
        },
        (8, 7, 2),
        (numpy_models.spiking_resnet19, numpy_models.Lif(5)),
    ),
}


@functools.cache
def shapes(model, image):
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


# Half the time to compile; the code is as correct.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_variables(model, image, seed=0):
    """Random values in every leaf, so that no bias is 0 and no scale 1; links as `init` draws."""
    generator = np.random.default_rng(seed)
    made = shapes(model, image)
    if "links" in made:
        x = jnp.zeros((1, *image))
        made = {**made, "links": model.init(jax.random.key(seed), x)["links"]}

    def fill(path, leaf):
        if path[0].key == "links":
            return leaf
        kind = path[-1].key
        if kind == "kernel":
            values = generator.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        elif kind in ("scale", "var"):
            values = generator.uniform(0.5, 1.5, leaf.shape)
        else:
            values = 0.3 * generator.normal(size=leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, made)


def random_images(image, batch=4):
    values = np.random.default_rng(1).normal(size=(batch, *image))
    return jnp.asarray(values, jnp.float32)


def small(name, **overrides):
    fields, image, (reference, *arguments) = SMALL[name]
    return build(name, num_classes=3, **fields, **overrides), image, reference, arguments


def test_tables_cover_the_registry():
    assert list(SIZES) == list(SMALL) == list(MODELS)


@pytest.mark.parametrize(
    "name, num_classes, overrides, expected",
    [
        # Yang et al. (2025), Table 1, to the last digit
        ("vgg16", 10, {}, 14_991_946),
        ("vgg16", 100, {}, 15_038_116),
        ("resnet56", 10, {}, 876_250),
        ("resnet56", 100, {}, 882_100),
        ("resnet110", 10, {}, 1_751_194),
        ("resnet110", 100, {}, 1_757_044),
        ("densenet40", 10, {}, 1_059_298),
        ("densenet40", 100, {}, 1_100_428),
        ("resnet50", 1000, {}, 25_557_032),
        # He et al.'s option A: "0.27M", "0.46M"
        ("resnet20", 10, {"shortcut": "pad"}, 269_722),
        ("resnet32", 10, {"shortcut": "pad"}, 464_154),
        # three blocks fewer, one fewer again, and 3x3x2x16 weights of the stem fewer
        ("resnet14", 10, {"shortcut": "pad"}, 269_722 - (464_154 - 269_722) // 2 - 288),
        ("resnet8", 10, {"shortcut": "pad"}, 269_722 - (464_154 - 269_722) - 288),
        # 1x1 kernels and batch norm, from 16 to 32 and from 32 to 64 channels
        ("resnet20", 10, {"shortcut": "conv1x1"}, 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64),
        # Cunegatti et al. (2024), Appendix A.2: "~1.4M" (nearer 1.5M), "~2.3M"
        ("wide_resnet28_2", 10, {}, 1_467_610),
        ("conv6", 10, {}, 2_265_418),
        ("mlp", 10, {}, 785 * 256 + 257 * 128 + 129 * 10),
        ("lenet_300_100", 10, {}, 266_610),
        ("mlp_1000x3", 10, {}, 785 * 1000 + 2 * 1001 * 1000 + 1001 * 10),
        # 1 % of the kernels between the hidden layers
        ("sparse_mlp", 10, {}, 7_840 + 2 * 10_000 + 3 * 1000 + 1001 * 10),
        ("lenet5", 10, {}, 61_706),
        ("spiking_mlp", 10, {}, 785 * 256 + 257 * 256 + 257 * 10),
        ("spiking_conv", 10, {}, 288 + 64 + 18_432 + 128 + 3137 * 128 + 256 + 1290),
        # VGG-16 without the biases of its 4,224 channels
        ("spiking_vgg16", 10, {}, 14_991_946 - 4_224),
        # kernels of convolutions, normalisations, dense layers
        ("spiking_resnet19", 10, {}, 12_553_600 + 8_960 + 134_410),
    ],
)
def test_parameter_counts(name, num_classes, overrides, expected):
    model = build(name, num_classes=num_classes, **overrides)
    assert count(shapes(model, SIZES[name])["params"]) == expected


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("name", each(MODELS))
def test_real_size(name, dtype):
    model = build(name, num_classes=10, dtype=dtype)
    variables = shapes(model, SIZES[name])
    # links are indices, beside the parameters and not among them
    numbers = {name: tree for name, tree in variables.items() if name != "links"}
    assert {leaf.dtype for leaf in jax.tree.leaves(numbers)} == {jnp.dtype(jnp.float32)}
    assert {path[-1].key for path, _ in jax.tree.leaves_with_path(variables["params"])} <= {
        "kernel",
        "bias",
        "scale",
    }
    assert variables["params"]["classifier"]["kernel"].shape[-1] == 10
    x = jax.ShapeDtypeStruct((2, *SIZES[name]), jnp.float32)
    logits, state = jax.eval_shape(
        lambda variables, x: model.apply(variables, x, capture_intermediates=True), variables, x
    )
    assert logits.shape == (2, 10)
    assert logits.dtype == jnp.float32
    inner = dict(state["intermediates"])
    inner.pop("__call__")
    for path, leaf in jax.tree.leaves_with_path(inner):
        layer = path[-3].key
        in_float32 = dtype is None or "norm" in layer
        assert leaf.dtype == (jnp.float32 if in_float32 else jnp.bfloat16), path


@pytest.mark.parametrize("name", each(MODELS))
def test_smallest_image(name):
    side = SMALLEST.get(name, 1)
    model = build(name, num_classes=10)
    x = jax.ShapeDtypeStruct((2, side, side, 1), jnp.float32)
    logits, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert logits.shape == (2, 10)
    if side > 1:
        expected = f"needs images of at least {side}x{side}, got {side}x{side - 1}"
        with pytest.raises(ValueError, match=expected):
            shapes(model, (side, side - 1, 1))
        with pytest.raises(ValueError, match=f"at least {side}x{side}, got {side - 1}x{side}"):
            shapes(model, (side - 1, side, 1))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("name", each(MODELS))
def test_shape_of_the_input(name):
    model = build(name, num_classes=10)
    if name in ("mlp", "lenet_300_100", "mlp_1000x3", "sparse_mlp", "spiking_mlp"):
        assert shapes(model, (784,)) == shapes(model, (28, 28, 1))
        with pytest.raises(ValueError, match=r"two axes or more, got shape \(2,\)"):
            shapes(model, ())
    else:
        with pytest.raises(ValueError, match=r"height, width, channels\), got shape \(2, 784\)"):
            shapes(model, (784,))


@pytest.mark.parametrize("name", each(MODELS))
def test_equals_numpy_in_eval_mode(name):
    """Relative 1e-4 of float32 against float64, through up to 110 layers."""
    model, image, reference, arguments = small(name)
    variables, x = random_variables(model, image), random_images(image)
    logits, state = compiled(functools.partial(model.apply, mutable=["batch_stats"]))(variables, x)
    net = numpy_models.Net(variables, train=False)
    expected = reference(net, np.asarray(x, np.float64), *arguments)
    assert logits.dtype == jnp.float32
    tolerance = 1e-4 * np.abs(expected).max()
    assert np.ptp(expected, axis=0).min() > 50 * tolerance, "the images must differ in every logit"
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=tolerance)
    jax.tree.map(
        np.testing.assert_array_equal,
        state.get("batch_stats", {}),
        variables.get("batch_stats", {}),
    )


@pytest.mark.parametrize("name", each(MODELS))
def test_equals_numpy_in_train_mode(name):
    """Logits and running averages; relative 1e-3, as batch variances of few values are small."""
    model, image, reference, arguments = small(name)
    variables, x = random_variables(model, image), random_images(image)
    logits, state = compiled(functools.partial(model.apply, train=True, mutable=["batch_stats"]))(
        variables, x
    )
    net = numpy_models.Net(variables, train=True)
    expected = reference(net, np.asarray(x, np.float64), *arguments)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    stats = state.get("batch_stats", {})
    assert 2 * len(net.new_stats) == len(jax.tree.leaves(stats))
    for path, new in net.new_stats.items():
        for kind, old in net.leaf(net.stats, path).items():
            assert np.all(new[kind] != old)
            actual = net.leaf(stats, path)[kind]
            np.testing.assert_allclose(actual, new[kind], rtol=1e-3, atol=1e-3, err_msg=path)


@pytest.mark.parametrize("name", ["lenet5", "conv6", "densenet40"])
def test_bfloat16(name):
    """Close to float32 (bfloat16 keeps 8 bits), not the same; the averages stay float32."""
    model, image, _, _ = small(name)
    variables, x = random_variables(model, image), random_images(image)
    expected = compiled(model.apply)(variables, x)
    half, _, _, _ = small(name, dtype=jnp.bfloat16)
    logits = compiled(half.apply)(variables, x)
    assert logits.dtype == jnp.float32
    error = np.abs(np.asarray(logits - expected)).max() / np.abs(np.asarray(expected)).max()
    assert 1e-5 < error < 0.1
    _, state = jax.eval_shape(
        lambda variables: half.apply(variables, x, train=True, mutable=["batch_stats"]), variables
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("pads", [((0, 3), (3, 0)), ((2, 1), (0, 3)), None])
def test_pad_shortcut_puts_zero_channels_where_it_is_told(pads):
    model = build("resnet20", num_classes=3, depth=8, shortcut="pad", shortcut_pads=pads, **NARROW)
    variables, x = random_variables(model, (8, 8, 1)), random_images((8, 8, 1))
    net = numpy_models.Net(variables, train=False)
    expected = numpy_models.resnet(net, np.asarray(x), 1, "pad", pads or ((1, 2), (1, 2)))
    np.testing.assert_allclose(compiled(model.apply)(variables, x), expected, rtol=1e-4, atol=1e-4)


def test_cut_channels_give_the_same_class_with_smaller_widths():
    """A channel between a block's convolutions whose norm is 0 * x + 0 can be cut out."""
    model = build("resnet20", num_classes=3, depth=8, **NARROW)
    variables, x = random_variables(model, (8, 8, 1)), random_images((8, 8, 1))
    block = variables["params"]["stage3_block1"]
    kept = np.array([0, 2, 3, 7])
    alive = jnp.zeros(8).at[kept].set(1.0)
    for leaf in ("scale", "bias"):
        block["conv1_norm"][leaf] *= alive
    masked = compiled(model.apply)(variables, x)

    block["conv1"]["kernel"] = block["conv1"]["kernel"][..., kept]
    block["conv2"]["kernel"] = block["conv2"]["kernel"][:, :, kept]
    for tree in (block, variables["batch_stats"]["stage3_block1"]):
        tree["conv1_norm"] = {key: leaf[kept] for key, leaf in tree["conv1_norm"].items()}
    smaller = build("resnet20", num_classes=3, depth=8, block_widths=(2, 5, 4), **NARROW)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes(smaller, (8, 8, 1)))
    np.testing.assert_allclose(compiled(smaller.apply)(variables, x), masked, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name, overrides, path, expected",
    [
        ("mlp", {"hidden_widths": (9, 8, 7)}, "hidden3/kernel", (8, 7)),
        ("mlp", {"hidden_widths": ()}, "classifier/kernel", (784, 10)),
        ("sparse_mlp", {"hidden_widths": (9, 8), "sparsity": 0.5}, "hidden2/kernel", (36,)),
        ("sparse_mlp", {"hidden_widths": (9, 8)}, "classifier/kernel", (8, 10)),
        ("lenet5", {"conv_widths": (2, 3)}, "conv2/kernel", (5, 5, 2, 3)),
        ("lenet5", {"conv_widths": (2, 3)}, "hidden1/kernel", (75, 120)),
        ("lenet5", {"hidden_widths": (7, 5)}, "hidden2/kernel", (7, 5)),
        ("conv6", {"conv_widths": (1, 2, 3, 4, 5, 6)}, "conv5/kernel", (3, 3, 4, 5)),
        ("conv6", {"conv_widths": (1, 2, 3, 4, 5, 6)}, "hidden1/kernel", (96, 256)),
        ("conv6", {"hidden_widths": (9, 8)}, "hidden2_norm/scale", (8,)),
        ("vgg16", {"widths": tuple(range(1, 14))}, "conv11/kernel", (3, 3, 10, 11)),
        ("vgg16", {"head_width": 9}, "hidden/kernel", (512, 9)),
        ("resnet56", {"block_widths": (*range(1, 28),)}, "stage3_block2/conv2/kernel", (20, 64)),
        ("resnet56", NARROW, "stage2_block1/shortcut/kernel", (2, 5)),
        ("resnet56", NARROW, "stage3_block9/conv1/kernel", (8, 8)),
        ("resnet50", {"stem_width": 9}, "stage1_block1/shortcut/kernel", (9, 256)),
        ("resnet50", {"stage_widths": (8, 9, 10, 11)}, "stage4_block1/conv1/kernel", (10, 2)),
        ("resnet50", {"block_widths": ((3, 4),) * 16}, "stage3_block6/conv2/kernel", (3, 4)),
        ("wide_resnet28_2", {"block_widths": (9,) * 12}, "stage3_block4/conv2/kernel", (9, 128)),
        ("wide_resnet28_2", {"stem_width": 5}, "stage1_block1/norm1/scale", (5,)),
        ("densenet40", {"growths": ((2,), (3, 4))}, "block2_layer2/conv/kernel", (29, 4)),
        ("densenet40", {"transition_widths": (9, 8)}, "transition2/conv/kernel", (153, 8)),
        ("densenet40", {"stem_width": 1}, "transition1/conv/kernel", (145, 145)),
    ],
)
def test_widths_are_fields(name, overrides, path, expected):
    leaf = shapes(build(name, num_classes=10, **overrides), SIZES[name])["params"]
    for key in path.split("/"):
        leaf = leaf[key]
    assert leaf.shape[-len(expected) :] == expected


def test_stage_one_of_a_resnet_has_no_shortcut_layers():
    params = shapes(build("resnet20", num_classes=10), (32, 32, 3))["params"]
    with_shortcut = [name for name, block in params.items() if "shortcut" in block]
    assert with_shortcut == ["stage2_block1", "stage3_block1"]
    assert params["stage2_block1"]["shortcut"]["kernel"].shape == (3, 3, 16, 32)


@pytest.mark.parametrize("pool, reduce", [("max", np.max), ("avg", np.mean)])
def test_lenet5_pools(pool, reduce):
    model = build("lenet5", num_classes=3, pool=pool)
    variables, x = random_variables(model, (28, 28, 1)), random_images((28, 28, 1))
    logits = compiled(model.apply)(variables, x)
    expected = numpy_models.lenet5(numpy_models.Net(variables, False), np.asarray(x), reduce)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_initialisation_is_kaiming_normal():
    """N(0, 2 / fan_in): the sample deviation of 6e4 values or more within 2 per cent."""
    model = build("lenet5", num_classes=256, conv_widths=(2, 1300), hidden_widths=(50, 256))
    params = compiled(model.init)(jax.random.key(0), jnp.zeros((1, 12, 12, 1)))["params"]
    for name, fan_in in [("conv2", 50), ("hidden1", 1300)]:
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.size > 6e4
        assert np.isclose(kernel.std(), np.sqrt(2 / fan_in), rtol=0.02)
        assert np.abs(kernel).max() > 3 * kernel.std(), "not truncated, not uniform"
    assert not any(np.any(layer["bias"]) for layer in params.values())


@pytest.mark.parametrize("name", each(MODELS))
def test_models_are_static_values(name):
    """Two equal modules are one cache entry of jit, and another width is another."""
    assert hash(build(name, num_classes=7)) == hash(build(name, num_classes=7))
    assert build(name, num_classes=7) == build(name, num_classes=7)
    assert build(name, num_classes=7) != build(name, num_classes=8)


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("mlp", {"hidden_widths": (3, 0)}, r"hidden_widths\[1\] must be a positive integer, got 0"),
        ("mlp", {"hidden_widths": [3, 2]}, r"must be a tuple, .* got list \[3, 2\]"),
        ("mlp", {"num_classes": 0}, "num_classes must be a positive integer, got 0"),
        ("sparse_mlp", {"hidden_widths": (3, 0)}, r"hidden_widths\[1\] must be a positive integer"),
        ("sparse_mlp", {"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
        ("sparse_mlp", {"sparsity": (0.5, 0.5)}, "sparsity must have 3 entries.* got 2"),
        ("sparse_mlp", {"sparsity": (0.5, -0.1, 0.5)}, r"in \[0, 1\), got -0.1"),
        ("sparse_mlp", {"fan_in": "outputs"}, "unknown fan_in 'outputs'; allowed are inputs"),
        ("sparse_mlp", {"backend": "cuda"}, "unknown back end 'cuda'; allowed are auto, masked"),
        ("lenet5", {"conv_widths": (3,)}, r"conv_widths must have 2 entries.* got 1: \(3,\)"),
        ("lenet5", {"hidden_widths": (3, 2, 1)}, "hidden_widths must have 2 entries.* got 3"),
        ("lenet5", {"pool": "sum"}, "unknown pool 'sum'; allowed are max, avg"),
        ("conv6", {"conv_widths": (3,) * 5}, "conv_widths must have 6 entries.* got 5"),
        ("conv6", {"hidden_widths": ()}, "hidden_widths must have 2 entries.* got 0"),
        ("vgg16", {"widths": (3,) * 16}, "widths must have 13 entries.* got 16"),
        ("vgg16", {"head_width": 2.5}, "head_width must be a positive integer, got 2.5"),
        ("resnet20", {"depth": 18}, r"depth must be 6n \+ 2 .* got 18"),
        ("resnet20", {"depth": 2}, r"depth must be 6n \+ 2 .* got 2"),
        ("resnet20", {"stage_widths": (16, 32)}, "stage_widths must have 3 entries.* got 2"),
        ("resnet20", {"block_widths": (16,) * 8}, "block_widths must have 9 entries.* got 8"),
        ("resnet20", {"stem_width": 8}, r"stem_width must equal .* got 8 and 16"),
        (
            "resnet20",
            {"shortcut": "conv5x5"},
            "unknown shortcut 'conv5x5'; allowed are conv3x3, conv1x1, pad",
        ),
        ("resnet20", {"shortcut_pads": ((8, 8), (16, 16))}, "needs shortcut='pad', got"),
        (
            "resnet20",
            {"shortcut": "pad", "shortcut_pads": ((8, 8), (16, 15))},
            "stage 3 has 64 channels after 32, with 16 in front and 15 behind",
        ),
        (
            "resnet20",
            {"shortcut": "pad", "shortcut_pads": ((8, 8),)},
            "shortcut_pads must have 2 entries.* got 1",
        ),
        (
            "resnet20",
            {"shortcut": "pad", "stage_widths": (16, 32, 30)},
            "only adds zero channels, but stage 3 has 30 channels after 32",
        ),
        ("resnet50", {"stage_widths": (1, 2, 3)}, "stage_widths must have 4 entries.* got 3"),
        ("resnet50", {"block_widths": ((1, 2),) * 15}, "block_widths must have 16 .* got 15"),
        ("resnet50", {"block_widths": ((1, 2),) * 15 + ((1,),)}, r"block_widths\[15\] must have 2"),
        ("wide_resnet28_2", {"depth": 20}, r"depth must be 6n \+ 4 .* got 20"),
        ("wide_resnet28_2", {"stage_widths": (1,)}, "stage_widths must have 3 .* got 1"),
        ("wide_resnet28_2", {"block_widths": (1,)}, "block_widths must have 12 .* got 1"),
        ("densenet40", {"growths": ()}, "growths must have at least one block"),
        ("densenet40", {"growths": (12, 12)}, r"growths\[0\] must be a tuple"),
        ("densenet40", {"transition_widths": (9,)}, "transition_widths must have 2 .* got 1"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_refuses_fields_that_do_not_fit(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        build(name, **{"num_classes": 10} | overrides)


def test_build_names_the_closest_and_the_allowed():
    with pytest.raises(
        ValueError, match=r"unknown model 'resnet65'; allowed are .*; did you mean 'resnet56'"
    ) as error:
        build("resnet65", num_classes=10)
    assert all(name in str(error.value) for name in MODELS)
    with pytest.raises(ValueError, match="unknown field of vgg16 'width'") as error:
        build("vgg16", num_classes=10, width=(1,) * 13)
    assert str(error.value).endswith(
        "allowed are num_classes, widths, head_width, dtype; did you mean 'widths'?"
    )
