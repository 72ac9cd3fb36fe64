"""Graphs of networks: against the Jacobian of linear networks, loops by hand, published counts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from prunejax import masks as masks_lib
from prunejax import models, network, topology
from prunejax.topology.encoding import encode
from prunejax.topology.graph import load


@pytest.fixture(autouse=True)
def _flax_mixes_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


def conv(width, size, **more):
    return nn.Conv(width, size, use_bias=False, **more)


class Strided(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = conv(4, (3, 3), strides=2, padding=1, name="first")(x)
        x = conv(6, (3, 2), feature_group_count=2, padding="VALID", name="grouped")(x)
        return nn.Dense(3, use_bias=False, name="head")(x.reshape(x.shape[0], -1))


class Pools(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = conv(3, (3, 3), padding=((1, 0), (0, 1)), name="first")(x)
        x = 4 * nn.avg_pool(x, (2, 2), (2, 2))
        x = conv(4, (2, 2), name="second")(x)
        return nn.Dense(3, use_bias=False, name="head")(x.sum(axis=(1, 2)))


class Overlapping(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = conv(2, (1, 1), name="first")(x)
        x = 9 * nn.avg_pool(x, (3, 3), (2, 2))
        x = conv(3, (2, 2), padding="VALID", name="second")(x)
        return nn.Dense(2, use_bias=False, name="head")(x.reshape(x.shape[0], -1))


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = conv(3, (3, 3), name="stem")(x)
        y = conv(4, (3, 3), strides=2, padding=1, name="conv1")(x)
        y = conv(4, (3, 3), name="conv2")(y)
        x = y + conv(4, (1, 1), strides=2, name="shortcut")(x)
        y = conv(5, (3, 3), name="conv3")(x)
        x = x + conv(4, (1, 1), name="conv4")(y)
        return nn.Dense(2, use_bias=False, name="head")(x.mean(axis=(1, 2)) * 9)


class Parallel(nn.Module):
    """Two branches and an identity between the same nodes: their edges are one."""

    @nn.compact
    def __call__(self, x):
        x = conv(3, (3, 3), name="stem")(x)
        x = conv(3, (3, 3), name="wide")(x) + conv(3, (1, 1), name="narrow")(x)
        x = x + conv(3, (1, 1), name="short")(x)
        return nn.Dense(2, use_bias=False, name="head")(x.reshape(x.shape[0], -1))


class Joined(nn.Module):
    @nn.compact
    def __call__(self, x):
        top = conv(3, (3, 3), name="down1")(x)
        low = conv(4, (3, 3), name="down2")(4 * nn.avg_pool(top, (2, 2), (2, 2)))
        up = nn.ConvTranspose(2, (2, 2), strides=(2, 2), use_bias=False, name="up")(low)
        joined = jnp.concatenate([top, up], axis=-1)
        return conv(2, (3, 3), kernel_dilation=2, name="mix")(joined)


class Ranks(nn.Module):
    rank: int

    @nn.compact
    def __call__(self, x):
        x = conv(3, (3,) * self.rank, padding="VALID", name="first")(x)
        x = conv(4, (2,) * self.rank, strides=2, name="second")(x)
        return nn.Dense(2, use_bias=False, name="head")(x.reshape(len(x), -1))


class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, use_bias=False, name="first")(x)
        shared = nn.Dense(4, use_bias=False, name="shared")
        return nn.Dense(2, use_bias=False, name="head")(shared(shared(x)))


class Taken(nn.Module):
    """Every second position, by an index that is a constant: a gather."""

    @nn.compact
    def __call__(self, x):
        x = conv(3, (3, 3), name="first")(x)
        x = jnp.take(x, jnp.array([0, 3, 1]), axis=1)
        x = jax.lax.dynamic_slice(x, (0, 0, 1, 0), (x.shape[0], 3, 2, 3))
        return nn.Dense(2, use_bias=False, name="head")(x.reshape(x.shape[0], -1))


class Tokens(nn.Module):
    """Each position of a sequence goes through the same dense layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3, use_bias=False, name="each")(x)
        x = nn.DenseGeneral((2, 2), use_bias=False, name="wide")(x)
        x = nn.DenseGeneral(3, axis=(-2, -1), use_bias=False, name="narrow")(x)
        return nn.Dense(2, use_bias=False, name="head")(x[:, 0])


LINEAR = {
    "strided": (Strided(), (5, 6, 2)),
    "pools": (Pools(), (6, 4, 2)),
    "overlapping": (Overlapping(), (7, 7, 2)),
    "residual": (Residual(), (6, 6, 2)),
    "parallel": (Parallel(), (4, 4, 2)),
    "joined": (Joined(), (4, 4, 2)),
    "one_dimension": (Ranks(1), (8, 2)),
    "three_dimensions": (Ranks(3), (4, 4, 5, 2)),
    "shared": (Shared(), (3,)),
    "taken": (Taken(), (4, 4, 2)),
    "tokens": (Tokens(), (3, 4)),
}


def weighted(tree, seed=0, density=0.5):
    """Positive weights, on which no two paths cancel, and masks."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: np.asarray(rng.uniform(0.5, 1.5, leaf.shape), np.float32), tree
    )
    masks = jax.tree.map(lambda leaf: rng.random(leaf.shape) < density, tree)
    return params, masks


def paths(graph):
    """Weights of all paths from inputs to outputs, by what the adjacency matrix says."""
    dense = np.zeros((graph.nodes, graph.nodes))
    np.add.at(dense, (graph.sources, graph.targets), graph.weights)
    assert len(set(zip(graph.sources, graph.targets, strict=True))) == graph.edges
    total = np.linalg.inv(np.eye(graph.nodes) - dense)
    return total[np.ix_(graph.of_role("input"), graph.of_role("output"))]


def of_the_image(graph, matrix, shape):
    """Rows of a matrix over the input's nodes, without its padding, in the order of the image."""
    layer = graph.layers[0]
    *size, channels = shape
    if layer.shape == (*size, channels) or len(layer.shape) == 1:
        return matrix
    whole = matrix.reshape(*layer.shape, -1)
    extra = [wide - inner for wide, inner in zip(layer.shape[1:], size, strict=True)]
    before = [1, 0] if extra == [1, 1] else [each // 2 for each in extra]  # as `Pools` pads
    inner = tuple(slice(low, low + wide) for low, wide in zip(before, size, strict=True))
    image = np.moveaxis(whole[(slice(None), *inner)], 0, -2)
    return image.reshape(-1, matrix.shape[-1])


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("batch", [1, 3])
def test_paths_are_the_jacobian_of_a_linear_network(name, batch):
    module, shape = LINEAR[name]
    x = jnp.ones((batch, *shape))
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    params, masks = weighted(variables["params"])
    traced = network.trace(module.apply, variables, x)
    graph = encode(traced, masks, params)
    kept = masks_lib.apply(params, masks)
    jacobian = jax.jacobian(lambda x: module.apply({"params": kept}, x[None])[0])(x[0])
    out = np.asarray(jacobian, np.float64).reshape(-1, int(np.prod(shape)))
    if len(shape) > 1 and jacobian.ndim > len(shape) + 1:  # channels come first in graphs
        outputs = jacobian.shape[: -len(shape)]
        out = np.moveaxis(out.reshape(*outputs, -1), -2, 0).reshape(-1, out.shape[-1])
    np.testing.assert_allclose(
        of_the_image(graph, paths(graph), shape), out.T, rtol=1e-5, atol=1e-6
    )


def literal(image, kernel, mask, stride, padding):
    """Edges of a convolution by loops over all that it multiplies: ((c, y, x), (o, y, x))."""
    height, width, _ = image
    rows, columns, inputs, outputs = kernel
    edges = []
    for o in range(outputs):
        for y in range((height + 2 * padding - rows) // stride + 1):
            for x in range((width + 2 * padding - columns) // stride + 1):
                for c in range(inputs):
                    for i in range(rows):
                        for j in range(columns):
                            if mask[i, j, c, o]:
                                # the input's padding are nodes
                                at = (c, y * stride + i, x * stride + j)
                                edges.append((at, (o, y, x)))
    return edges


@pytest.mark.parametrize(
    "image, kernel, stride, padding",
    [
        ((3, 3, 3), (2, 2, 3, 2), 1, 0),  # Figure 1 of the paper
        ((5, 4, 2), (3, 3, 2, 3), 2, 1),
        ((4, 4, 1), (1, 1, 1, 2), 2, 0),
    ],
)
def test_edges_are_what_a_convolution_multiplies(image, kernel, stride, padding):
    def forward(params, x):
        return jax.lax.conv_general_dilated(
            x,
            params["kernel"],
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=kernel).astype(np.float32)}
    for density in (1.0, 0.5):
        masks = {"kernel": rng.random(kernel) < density}
        with pytest.warns(UserWarning, match="no channel"):
            traced = network.trace(forward, params, np.zeros((1, *image), np.float32))
        graph = encode(traced, masks, params)
        expected = literal(image, kernel, masks["kernel"], stride, padding)
        found = [
            ((one.channel, *one.position), (other.channel, *other.position))
            for one, other in zip(
                map(graph.node, graph.sources.tolist()),
                map(graph.node, graph.targets.tolist()),
                strict=True,
            )
        ]
        assert sorted(found) == sorted(expected)
        if density == 1 and padding == 0 and stride == 1:
            # each of 2 x 2 x 2 outputs of the figure reads 2 x 2 x 3 of the 27 inputs
            assert (graph.nodes, graph.edges) == (27 + 8, 8 * 12)


def traced(module, shape, batch=2, density=0.5):
    x = jnp.ones((batch, *shape))
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    params, masks = weighted(variables["params"], density=density)
    return network.trace(module.apply, variables, x), masks, params


def test_a_maximum_reads_what_an_average_reads():
    class Pooled(nn.Module):
        most: bool

        @nn.compact
        def __call__(self, x):
            x = nn.relu(conv(3, (3, 3), name="first")(x))
            pool = nn.max_pool if self.most else nn.avg_pool
            x = conv(2, (2, 2), name="second")(pool(x, (2, 2), (2, 2)))
            x = x.max(axis=(1, 2)) if self.most else x.mean(axis=(1, 2))
            return nn.softmax(nn.Dense(3, name="head")(x))

    one, other = (encode(*traced(Pooled(most), (6, 6, 2))) for most in (True, False))
    for ends in ("sources", "targets", "weights"):
        np.testing.assert_array_equal(getattr(one, ends), getattr(other, ends))
    assert one.layers == other.layers


def test_all_of_a_whole_network_is_there():
    for name, (module, shape) in LINEAR.items():
        if name == "parallel":  # the first of two branches has the edges of both
            continue
        graph = encode(*traced(module, shape, density=2))
        assert all(block.stop - block.start == block.possible for block in graph.blocks)


def test_norms_and_activations_make_no_edges():
    class Normed(nn.Module):
        norms: bool

        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3), use_bias=self.norms, name="first")(x)
            if self.norms:
                x = nn.BatchNorm(use_running_average=True, name="batch")(x)
                x = nn.silu(nn.GroupNorm(2, name="groups")(x))
                x = nn.LayerNorm(name="layer")(x)
            x = nn.Conv(3, (3, 3), use_bias=self.norms, name="second")(x)
            if self.norms:
                x = nn.gelu(nn.RMSNorm(name="rms")(x))
            return nn.Dense(2, use_bias=self.norms, name="head")(x.reshape(len(x), -1))

    with_norms, masks, params = traced(Normed(True), (4, 4, 2))
    without, _, _ = traced(Normed(False), (4, 4, 2))
    bare = {name: {"kernel": masks[name]["kernel"]} for name in ("first", "second", "head")}
    # weights of norms, and biases, count for nothing: masked or not, known or not
    one, other = encode(with_norms, masks), encode(without, bare)
    np.testing.assert_array_equal(one.sources, other.sources)
    np.testing.assert_array_equal(one.targets, other.targets)
    assert (one.weights == 1).all()
    assert encode(with_norms, masks, params).weights.min() >= 0.5


def test_a_gate_is_read_with_what_it_scales():
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = conv(4, (1, 1), name="first")(x)
            gate = nn.sigmoid(nn.Dense(4, use_bias=False, name="gate")(x.mean(axis=(1, 2))))
            x = conv(3, (1, 1), name="second")(x * gate[:, None, None, :])
            return nn.Dense(2, use_bias=False, name="head")(x.reshape(len(x), -1))

    graph = encode(*traced(Gated(), (2, 2, 2), density=2))
    edges = {block.name: block.stop - block.start for block in graph.blocks}
    # each of 4 x 3 weights of `second` reads its channel's gate and its own position, at 4 places
    assert edges == {"first": 32, "gate": 64, "second": 96, "head": 24}


def test_identity_shortcuts():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = conv(3, (1, 1), name="stem")(x)
            y = conv(3, (1, 1), name="conv1")(x)
            x = nn.relu(x + conv(3, (1, 1), name="conv2")(y))
            return nn.Dense(2, use_bias=False, name="head")(x.mean(axis=(1, 2)))

    given = traced(Block(), (2, 2, 1))
    graph, without = encode(*given), encode(*given, identity_skips=False)
    assert graph.edges == without.edges + 12
    (block,) = [block for block in graph.blocks if block.name == "conv2 (identity)"]
    part = slice(block.start, block.stop)
    stem, inner = (graph.layers[place].offset for place in (1, 3))
    np.testing.assert_array_equal(graph.targets[part] - inner, graph.sources[part] - stem)
    assert (graph.weights[part] == 1).all()


@pytest.mark.parametrize(
    "name, nodes, sources, sinks",
    [
        ("resnet20", 191_894, 2000, 1504),
        pytest.param("resnet32", 306_582, 2000, 1504, marks=pytest.mark.slow),
        pytest.param("wide_resnet28_2", 478_614, 4000, 3008, marks=pytest.mark.slow),
    ],
)
def test_counts_of_the_published_code(name, nodes, sources, sinks):
    """Nodes, sources and sinks that the published table gives wherever no channel is dead.

    Rows "er" at sparsity .6 and CIFAR-10.
    """
    shortcut = {} if name.startswith("wide") else {"shortcut": "conv1x1"}
    model = models.build(name, num_classes=10, **shortcut)
    x = jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    given = network.trace(model.apply, variables, x)

    def thinned(mask):  # a third of each kernel, so that no channel is dead
        inputs, outputs = np.indices(mask.shape[-2:])
        return np.broadcast_to(inputs % 3 == outputs % 3, mask.shape)

    whole = jax.tree.map(thinned, masks_lib.make(variables["params"]))
    for compat in (False, True):
        graph = encode(given, whole, compat=compat)
        begun = np.bincount(graph.sources, minlength=graph.nodes) > 0
        ended = np.bincount(graph.targets, minlength=graph.nodes) > 0
        found = (begun & ~ended & ~graph.of_role("input")).sum()
        lost = (ended & ~begun & ~graph.of_role("output")).sum()
        assert graph.nodes == nodes
        assert (found, lost) == ((sources, sinks) if compat else (0, 0))


def test_a_stride_that_leaves_a_border_out_by_hand():
    """A 3 x 3 kernel of stride 2 on 4 x 4: three rows are read, and counted three to a row."""

    class Small(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = conv(1, (1, 1), name="first")(x)
            return conv(1, (3, 3), strides=2, padding=1, name="second")(x)

    with pytest.warns(UserWarning, match="no channel"):
        given, masks, _ = traced(Small(), (4, 4, 1), batch=1)
    for leaf in (masks["first"]["kernel"], masks["second"]["kernel"]):
        leaf[:] = True
    graph = encode(given, masks, compat=True)
    # the input has 16 nodes, the first layer nodes 16 to 31, the second 32 to 35; the image without
    # its last row and column is numbered 16 17 18 / 19 20 21 / 22 23 24, and the output 25 to 28
    (block,) = [block for block in graph.blocks if block.name == "second"]
    part = slice(block.start, block.stop)
    found = {}
    for source, target in zip(graph.sources[part], graph.targets[part], strict=True):
        found.setdefault(int(target), set()).add(int(source))
    assert found == {
        25: {16, 17, 19, 20},
        26: {17, 18, 20, 21},
        27: {19, 20, 22, 23},
        28: {20, 21, 23, 24},
    }
    assert graph.nodes == 36


def test_other_libraries_and_plain_functions():
    class Nnx(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Conv(2, 3, (3, 3), rngs=rngs)
            self.head = nnx.Linear(48, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(nnx.relu(self.first(x)).reshape(x.shape[0], -1))

    graphdef, state = nnx.split(Nnx(nnx.Rngs(0)))
    params = nnx.to_pure_dict(state)
    masks = masks_lib.make(params)

    def forward(params, x):
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graphdef, state)(x)

    x = jnp.ones((2, 4, 4, 2))
    found = encode(network.trace(forward, params, x), masks)
    plain = {"first": params["first"]["kernel"], "head": params["head"]["kernel"]}

    def by_hand(params, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, params["first"], (1, 1), "SAME", dimension_numbers=numbers
        )
        return jnp.tanh(x).reshape(len(x), -1) @ params["head"]

    whole = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), plain)
    same = encode(network.trace(by_hand, plain, x), whole)
    net = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(2, 3, 3, padding=1, key=jax.random.key(0)),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(48, 2, key=jax.random.key(1)),
        ]
    )
    arrays, static = eqx.partition(net, eqx.is_array)

    def mapped(arrays, x):
        return jax.vmap(eqx.combine(arrays, static))(x)

    channels_first = encode(
        network.trace(mapped, arrays, jnp.ones((2, 2, 4, 4))),
        jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), arrays),
    )
    for graph in (found, same, channels_first):
        assert [layer.shape for layer in graph.layers] == [(2, 6, 6), (3, 4, 4), (2,)]
        assert graph.edges == 16 * 2 * 9 * 3 + 48 * 2
    np.testing.assert_array_equal(found.sources, same.sources)
    np.testing.assert_array_equal(found.targets, same.targets)


def test_kernels_on_their_own():
    given, masks, params = traced(Strided(), (5, 6, 2))
    graph = encode(given, masks, params, encoding="rolled")
    names = ("first", "grouped", "head")
    assert [block.name for block in graph.blocks] == [*names]
    for name, part in zip(names, graph.by_layer(), strict=True):
        kernel, mask = params[name]["kernel"], masks[name]["kernel"]
        assert part.edges == mask.sum()
        total = np.abs(kernel * mask).sum(axis=tuple(range(kernel.ndim - 1)))
        found = np.bincount(part.targets, part.weights, part.nodes)[-kernel.shape[-1] :]
        np.testing.assert_allclose(found, total, rtol=1e-5)
        # left nodes: what one output channel reads, of every group
        groups = 2 if name == "grouped" else 1
        assert part.layers[0].size == groups * mask.size // mask.shape[-1]
    graph = encode(given, masks, params, encoding="rolled_channel")
    kernel = params["first"]["kernel"] * masks["first"]["kernel"]
    norms = np.sqrt((kernel**2).sum(axis=(0, 1)))
    part = next(graph.by_layer())
    dense = part.to_scipy().toarray()[:2, 2:]
    np.testing.assert_allclose(dense, norms, rtol=1e-5)
    assert part.edges == (norms > 0).sum()


def test_layers_side_by_side():
    given = traced(Strided(), (5, 6, 2))
    whole, apart = encode(*given), encode(*given, encoding="bipartite")
    assert apart.edges == whole.edges
    sizes = [layer.size for layer in whole.layers]
    assert apart.nodes == sum(sizes) + sum(sizes[1:-1])
    for one, other in zip(whole.by_layer(), apart.by_layer(), strict=True):
        np.testing.assert_array_equal(one.sources, other.sources)
        np.testing.assert_array_equal(one.targets, other.targets)


def test_a_layer_that_is_masked_whole():
    given, masks, params = traced(Strided(), (5, 6, 2))
    masks["grouped"]["kernel"][:] = False
    graph = encode(given, masks, params)
    parts = {part.blocks[0].name: part for part in graph.by_layer()}
    assert parts["grouped"].edges == 0
    assert [layer.name for layer in parts["grouped"].layers] == ["first", "grouped"]
    assert encode(given, masks, encoding="bipartite").edges == graph.edges
    found = topology.measure(graph)
    assert found["sink"] > 0
    assert found["components"] > 1
    layers = topology.ramanujan(given, masks, params)
    assert layers["grouped"].density == 0
    assert np.isnan(layers["grouped"].imdb)
    local = topology.local(given, masks, params, two_hops=True)
    assert float(local.n2) == pytest.approx(topology.METRICS["n2"](graph), rel=1e-6)


def test_a_sliced_network_is_the_graph_without_the_removed_nodes():
    class Net(nn.Module):
        widths: tuple[int, int] = (4, 5)

        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(self.widths[0], (3, 3), name="first")(x))
            x = nn.relu(nn.Conv(self.widths[1], (3, 3), strides=2, name="second")(x))
            return nn.Dense(3, name="head")(x.reshape(x.shape[0], -1))

    given, _, params = traced(Net(), (5, 5, 2), batch=1)
    keep = {"first": np.array([1, 0, 1, 1], bool), "second": np.array([0, 1, 1, 0, 1], bool)}
    plan = given.plan(keep)
    masked = encode(given, plan.masks(params), params)
    smaller = encode(
        network.trace(plan.apply_fn, plan.slice({"params": params}), jnp.ones((1, 5, 5, 2))),
        jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), plan.slice({"params": params})),
        plan.slice({"params": params}),
    )
    stays = np.ones(masked.nodes, bool)
    for layer in masked.layers[1:3]:
        flags = np.broadcast_to(keep[layer.name][:, None, None], layer.shape)
        stays[layer.offset : layer.offset + layer.size] = flags.ravel()
    number = np.cumsum(stays) - 1
    assert stays[masked.sources].all()
    assert stays[masked.targets].all()
    one = sorted(zip(number[masked.sources], number[masked.targets], masked.weights, strict=True))
    other = sorted(zip(smaller.sources, smaller.targets, smaller.weights, strict=True))
    assert one == other


def test_saved_and_shown(tmp_path):
    graph = encode(*traced(Residual(), (6, 6, 2)))
    again = load(graph.save(tmp_path / "graph.npz"))
    assert (again.layers, again.blocks) == (graph.layers, graph.blocks)
    for ends in ("sources", "targets", "weights"):
        np.testing.assert_array_equal(getattr(again, ends), getattr(graph, ends))
    lines = str(graph).splitlines()
    assert lines[1].split() == ["input", "2x8x8"]
    assert lines[-1].split() == ["total", f"{graph.nodes}", f"{graph.edges:,}"]


def test_other_formats(tmp_path):
    graph = encode(*traced(Strided(), (5, 6, 2)))
    matrix = graph.to_scipy()
    assert matrix.shape == (graph.nodes, graph.nodes)
    assert matrix.nnz == graph.edges
    np.testing.assert_array_equal(matrix[graph.sources, graph.targets], graph.weights)
    way = graph.to_networkx()
    read = nx.read_graphml(graph.to_graphml(tmp_path / "graph.graphml"), node_type=int)
    for other in (way, read):
        assert other.number_of_nodes() == graph.nodes
        assert other.number_of_edges() == graph.edges
        first = (int(graph.sources[0]), int(graph.targets[0]))
        assert other.edges[first]["weight"] == pytest.approx(float(graph.weights[0]))
        assert other.nodes[first[1]]["layer"] == "first"
    assert way.nodes[first[1]] == graph.node(first[1])._asdict()
    with pytest.raises(ValueError, match="there is no node -1"):
        graph.node(-1)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    graph = encode(*traced(Strided(), (5, 6, 2)))
    path = graph.save(tmp_path / "graph.npz")
    arrays = dict(np.load(path))
    arrays["targets"] = arrays["targets"] + 10_000
    np.savez(tmp_path / "outside.npz", **arrays)
    with pytest.raises(ValueError, match="its edges do not fit its nodes"):
        load(tmp_path / "outside.npz")
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="is no saved graph"):
        load(tmp_path / "other.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere.npz")


def with_nan(given, masks, params):
    params["first"]["kernel"][0, 0, 0, 0] = np.nan
    masks["first"]["kernel"][0, 0, 0, 0] = True
    return encode(given, masks, params)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda g, m, p: encode(g, {"other": m}), "another network: it has no parameter 'other/"),
        (lambda g, m, p: encode(g, {**m, "head": {"kernel": np.ones((2, 3), bool)}}),
         r"'head/kernel' is \[2, 3\], not"),
        (lambda g, m, p: encode(g, m, encoding="roled"), "did you mean 'rolled'"),
        (with_nan, "weights of 'params/first/kernel' are not all finite"),
        (lambda g, m, p: encode(g, m, most_bytes=100), "edges, which need 0.0 GiB"),
        (lambda g, m, p: encode(g, jax.tree.map(lambda _: None, m)), "masks has no array"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*traced(Strided(), (5, 6, 2)))


def test_what_has_no_rule_names_the_layer():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="embed")(x)
            x = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x)
            return nn.Dense(2, name="head")(x[:, 0])

    with pytest.raises(ValueError, match="'attention/out' reads what 'dot_general' gives"):
        encode(*traced(Attention(), (3, 4)))

    class Words(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="head")(nn.Embed(7, 4, name="words")(x).mean(axis=1))

    words = jnp.zeros((2, 3), jnp.int32)
    variables = jax.eval_shape(Words().init, jax.random.key(0), words)
    made = masks_lib.make(variables["params"])
    with pytest.raises(ValueError, match="'head' reads what 'an input of integers' gives"):
        encode(network.trace(Words().apply, variables, words), made)

    def two_at_once(params, x):
        return x.reshape(2, 3) @ params["kernel"]

    params = {"kernel": jnp.ones((3, 4))}
    with pytest.warns(UserWarning, match="no channel"):
        given = network.trace(two_at_once, params, jnp.ones((2, 3, 1)))
    with pytest.raises(ValueError, match="with one example instead of 2"):
        encode(given, {"kernel": np.ones((3, 4), bool)})
    with pytest.warns(UserWarning, match="no channel"):
        given = network.trace(lambda p, x: x + p["bias"], {"bias": jnp.ones(3)}, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="no kernel"):
        encode(given, {"bias": np.ones(3, bool)})
