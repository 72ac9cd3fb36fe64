"""What stands between kernels is proved from the equations to be a layer, or refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from prunejax.channels import critical_neurons, describe
from prunejax.network import trace
from solvers.network.chain import build

RANDOM = np.random.default_rng(4)
DENSE = {
    "a": jnp.asarray(RANDOM.normal(size=(5, 4)), jnp.float32),
    "b": jnp.asarray(RANDOM.normal(size=(4, 6)), jnp.float32),
    "c": jnp.asarray(RANDOM.normal(size=(6, 3)), jnp.float32),
    "s": jnp.asarray(RANDOM.normal(size=6), jnp.float32),
}
X = jnp.asarray(RANDOM.normal(size=(4, 5)), jnp.float32)
WHOLE = np.ones(5, np.float32)


def between(function):
    """Three dense layers; the function stands behind the second."""

    def forward(v, x):
        return function(jax.nn.relu(x @ v["a"]) @ v["b"], v) @ v["c"]

    return forward


RELUS = {
    "max": lambda h, _: jnp.maximum(h, 0),
    "max_reversed": lambda h, _: jnp.maximum(0.0, h),
    "times_sign": lambda h, _: h * (h > 0),
    "times_sign_reversed": lambda h, _: (h >= 0).astype(jnp.float32) * h,
    "where": lambda h, _: jnp.where(h > 0, h, 0),
    "where_below": lambda h, _: jnp.where(h <= 0, 0, h),
    "clip": lambda h, _: jnp.clip(h, 0),
    "clamp": lambda h, _: lax.clamp(jnp.float32(0), h, jnp.float32(np.inf)),
    "of_a_shift": lambda h, v: jax.nn.relu((h - v["s"]) / 2 + 0.25),
    "scaled_behind": lambda h, v: jax.nn.relu(h) * v["s"] / 3,
    "negative": lambda h, _: -jax.nn.relu(-h),
    "doubled": lambda h, _: jax.nn.relu(h + h) - 0,
    "twice": lambda h, _: jax.nn.relu(jax.nn.relu(h)),
    "named_otherwise": lambda h, _: jax.jit(_named_gelu)(h),
    "behind_a_barrier": lambda h, _: jax.nn.relu(lax.optimization_barrier(h)),
    "second_of_a_barrier": lambda h, _: jax.nn.relu(lax.optimization_barrier((h, 2 * h))[1]),
    "barrier_with_numbers": lambda h, v: _second_of_a_barrier(v["s"], h),
    "biased_then_moved": lambda h, v: jax.nn.relu(_moved(h + v["s"]) + v["s"])[:, 0],
}


def _second_of_a_barrier(s, h):
    s, h = lax.optimization_barrier((s, h))
    return jax.nn.relu(h + s)


def _moved(h):
    return h[:, None]


def _named_gelu(h):
    return jnp.maximum(h, 0)


@pytest.fixture(autouse=True)
def _dtypes_mix():
    with jax.numpy_dtype_promotion("standard"):
        yield


def chain_of(forward, variables, x):
    network = trace(forward, variables, x)
    return network, build([layer for _, layer in describe(network, variables)], x.shape[1:])


@pytest.mark.parametrize("name", RELUS)
def test_a_relu_may_be_written_in_many_ways(name):
    network, chain = chain_of(between(RELUS[name]), DENSE, X)
    logits = chain.logits(np.asarray(X, np.float64))
    np.testing.assert_allclose(logits, network.apply_fn(DENSE, X), rtol=1e-4, atol=1e-5)
    keep = {"a": np.arange(4) != 2, "b": np.arange(6) % 2 == 1}
    plan = network.plan(keep)
    cut = plan.apply_fn(plan.slice(DENSE), X)
    kept = np.concatenate([keep["a"], keep["b"]]).astype(float)
    masked = chain.logits(np.asarray(X, np.float64), kept)
    np.testing.assert_allclose(masked, cut, rtol=1e-4, atol=1e-5)


NO_RELUS = {
    "capped": (lambda h, _: jnp.minimum(jax.nn.relu(h), 1), "between 'relu_2' and 'c': 'min'"),
    "capped_high": (lambda h, _: jnp.minimum(jax.nn.relu(h), 1e6), "'min' makes it no ReLU"),
    "relu6": (lambda h, _: jax.nn.relu6(h), "'relu6_1', a relu6"),
    "clip": (lambda h, _: jnp.clip(h, 0, 6), "'min' makes it no ReLU"),
    "clamp": (lambda h, _: lax.clamp(jnp.float32(0), h, jnp.float32(9)), "'clamp' makes it no"),
    "leaky": (lambda h, _: jax.nn.leaky_relu(h), "leaky_relu"),
    "leaky_where": (lambda h, _: jnp.where(h > 0, h, 0.01 * h), "'select_n' makes it no"),
    "abs": (lambda h, _: jnp.abs(h), "'abs' makes it no ReLU"),
    "square": (lambda h, _: h * h, "'mul' makes it no|'square' makes it no|'integer_pow' makes"),
    "other_threshold": (lambda h, _: h * (h > 0.5), "'gt' makes it no ReLU"),
    "shifted_sign": (lambda h, _: h * (h + 1 > 0), "'mul' makes it no ReLU"),
    "wrong_side": (lambda h, _: jnp.where(h > 0, 0, h), "'select_n' makes it no ReLU"),
    "filled_with_one": (lambda h, _: jnp.where(h > 0, h, 1), "'select_n' makes it no ReLU"),
    "max_one": (lambda h, _: jnp.maximum(h, 0.1), "'max' makes it no ReLU"),
    "max_of_two": (lambda h, _: jnp.maximum(h, -h), "'max' makes it no ReLU"),
    "elu": (lambda h, _: jax.nn.elu(h), "'elu_1', a elu"),
    "rounded": (lambda h, _: jnp.round(jax.nn.relu(h)), "'round' makes it no ReLU"),
    "whole_numbers": (lambda h, _: h.astype(jnp.int32).astype(jnp.float32), "convert_element_type"),
    "of_a_slice": (
        lambda h, _: jnp.concatenate([jax.nn.relu(h[:, :3]), h[:, 3:]], axis=1),
        "chains of layers only|'slice' makes it no",
    ),
    "shift_behind": (lambda h, v: jax.nn.relu(h) + v["s"], "the shift behind 'relu_2'"),
    "norm": (lambda h, _: h / jnp.linalg.norm(h, axis=1, keepdims=True), "makes it no|not affine"),
    "over_the_batch": (lambda h, _: jax.nn.relu(h - h.mean(axis=0)), "'reduce_sum'"),
    "by_place": (lambda h, _: jax.nn.relu(h * jnp.arange(4.0)[:, None]), "'max'|'mul'"),
    "reordered": (lambda h, _: jax.nn.relu(h)[:, ::-1], "'rev' makes it no ReLU"),
    "dropout": (
        lambda h, _: nn.Dropout(0.5, deterministic=False).apply(
            {}, jax.nn.relu(h), rngs={"dropout": jax.random.key(0)}
        ),
        "'mul'|'select_n'|'dot_general'|random",
    ),
    "a_value_before_its_bias": (
        lambda h, v: jax.nn.relu(_moved(h) + _moved(h + v["s"]))[:, 0],
        "'add' makes it no ReLU",
    ),
    "a_value_without_its_bias": (
        lambda h, v: jax.nn.relu(_moved(h + v["s"]) + _moved(h))[:, 0],
        "'broadcast_in_dim' makes it no ReLU",
    ),
    "a_bias_twice": (
        lambda h, v: jax.nn.relu(_moved(h + v["s"]) + _moved(h + v["s"]))[:, 0],
        "makes it no ReLU",
    ),
    "an_earlier_value_behind_a_barrier": (
        lambda h, _: jax.nn.relu(h) + lax.optimization_barrier((h, h))[1],
        "'add' makes it no ReLU|chains of layers only",
    ),
    "half_precision": (
        lambda h, _: jax.nn.relu(h.astype(jnp.bfloat16)).astype(jnp.float32),
        "computes in bfloat16, whose precision is too low",
    ),
}


@pytest.mark.parametrize("name", NO_RELUS)
def test_what_is_no_relu_is_refused_by_name(name):
    function, message = NO_RELUS[name]
    network = trace(between(function), DENSE, X)
    with pytest.raises(ValueError, match=message):
        describe(network, DENSE)


def test_the_end_of_a_network():
    def scaled(v, x):  # a temperature and a bias of the logits
        return (between(RELUS["max"])(v, x) * 0.5 + v["s"][:3]) / 2

    network, chain = chain_of(scaled, DENSE, X)
    np.testing.assert_allclose(
        chain.logits(np.asarray(X, np.float64)), scaled(DENSE, X), rtol=1e-4, atol=1e-5
    )
    assert isinstance(describe(network, DENSE)[-1][1].bias, np.ndarray)

    def softmax(v, x):
        return jax.nn.softmax(between(RELUS["max"])(v, x))

    with pytest.raises(ValueError, match="'softmax_1', a softmax"):
        describe(trace(softmax, DENSE, X), DENSE)

    def pair(v, x):
        return between(RELUS["max"])(v, x), x.sum()

    network = trace(pair, DENSE, X)
    for mode in ("paper", "decoupled"):
        with pytest.raises(ValueError, match="its logits and nothing else, it returns 2 arrays"):
            critical_neurons(network, DENSE, X, np.arange(4) % 3, mode=mode)


ENDS = {
    "moved": lambda y, b: (y + b)[:, None, :].squeeze(1),
    "moved_and_scaled": lambda y, b: (y + b)[:, None, :].squeeze(1) * b / 2,
    "moved_and_shifted": lambda y, b: (y + b)[:, None, :].squeeze(1) - 2 * b,
    "second_of_a_barrier": lambda y, b: lax.optimization_barrier((y, y * 2 + b))[1],
}


@pytest.mark.parametrize("name", ENDS)
def test_biases_of_the_last_layer_are_kept(name):
    def forward(v, x):
        return ENDS[name](between(RELUS["max"])(v, x), v["s"][:3])

    _, chain = chain_of(forward, DENSE, X)
    logits = chain.logits(np.asarray(X, np.float64))
    np.testing.assert_allclose(logits, forward(DENSE, X), rtol=1e-4, atol=1e-5)


def test_inputs_that_are_scaled_inside():
    def forward(v, x):
        return between(RELUS["max"])(v, (x - 0.5) / jnp.arange(1.0, 6.0))

    _, chain = chain_of(forward, DENSE, X)
    logits = chain.logits(np.asarray(X, np.float64))
    np.testing.assert_allclose(logits, forward(DENSE, X), rtol=1e-4, atol=1e-5)


IMAGES = {
    "a": jnp.asarray(RANDOM.normal(size=(3, 3, 2, 4)), jnp.float32),
    "b": jnp.asarray(RANDOM.normal(size=(2, 2, 4, 3)), jnp.float32),
}
PIXELS = jnp.asarray(RANDOM.uniform(size=(2, 8, 8, 2)), jnp.float32)


def convolved(x, kernel, **settings):
    dimensions = ("NHWC", "HWIO", "NHWC")
    settings = {"window_strides": (1, 1), "padding": "SAME", **settings}
    return lax.conv_general_dilated(x, kernel, dimension_numbers=dimensions, **settings)


def pooled(pool):
    def forward(v, x):
        h = pool(jax.nn.relu(convolved(x, v["a"])))
        h = jax.nn.relu(convolved(h, v["b"])).mean(axis=(1, 2))
        return h @ jnp.asarray([[1.0, 2, -1], [0, 1, 1], [3, -1, 0]])

    return forward


POOLS = {
    "max": lambda h: nn.max_pool(h, (2, 2), (2, 2)),
    "max_overlapping": lambda h: nn.max_pool(h, (3, 2), (2, 1)),
    "average": lambda h: nn.avg_pool(h, (2, 2), (2, 2)),
    "average_overlapping": lambda h: nn.avg_pool(h, (3, 3), (2, 2)),
    "whole_kept": lambda h: h.mean(axis=(1, 2), keepdims=True),
    "maximum_kept": lambda h: h.max(axis=(1, 2), keepdims=True),
    "sum": lambda h: lax.reduce_window(h, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_read(name):
    forward = pooled(POOLS[name])
    _, chain = chain_of(forward, IMAGES, PIXELS)
    logits = chain.logits(np.asarray(PIXELS, np.float64).reshape(2, -1))
    np.testing.assert_allclose(logits, forward(IMAGES, PIXELS), rtol=1e-4, atol=1e-5)
    assert [gate.neurons for gate in chain.gates] == [4, 3]


NO_POOLS = {
    "max_padded": (lambda h: nn.max_pool(h, (3, 3), (2, 2), "SAME"), "the padding of the pool"),
    "average_padded": (lambda h: nn.avg_pool(h, (3, 3), (2, 2), "SAME"), "the padding of the pool"),
    "average_not_counting_padding": (
        lambda h: nn.avg_pool(h, (3, 3), (2, 2), "SAME", count_include_pad=False),
        "the padding of the pool",
    ),
    "dilated": (
        lambda h: lax.reduce_window(
            h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", None, (1, 2, 2, 1)
        ),
        "'reduce_window_max' makes it no",
    ),
    "over_channels": (
        lambda h: lax.reduce_window(h, 0.0, lax.add, (1, 1, 1, 2), (1, 1, 1, 1), "SAME_LOWER"),
        "the padding of the pool|'reduce_window_sum'",
    ),
    "minimum": (lambda h: -nn.max_pool(-h, (2, 2), (2, 2)) - nn.avg_pool(h, (2, 2), (2, 2)), ""),
    "one_axis": (lambda h: h.mean(axis=1, keepdims=True), "'reduce_sum' makes it no"),
    "by_position": (lambda h: h * jnp.arange(8.0)[:, None, None], "'conv_general_dilated'|'mul'"),
    "turned": (lambda h: jnp.swapaxes(h, 1, 2), "'transpose' makes it no|between 'relu_1' and"),
    "flipped": (lambda h: h[:, ::-1], "'rev' makes it no"),
    "padded_by_hand": (lambda h: jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0))), "'pad' makes it"),
    "larger": (lambda h: jnp.repeat(h, 2, axis=1), "makes it no"),
}


@pytest.mark.parametrize("name", NO_POOLS)
def test_what_is_no_pool_is_refused(name):
    pool, message = NO_POOLS[name]
    network = trace(pooled(pool), IMAGES, PIXELS)
    with pytest.raises(ValueError, match=message or "."):
        describe(network, IMAGES)


@pytest.mark.parametrize("turned", [False, True])
def test_flattening_keeps_the_order_or_is_refused(turned):
    weights = jnp.asarray(RANDOM.normal(size=(8 * 8 * 4, 3)), jnp.float32)

    def forward(v, x):
        h = jax.nn.relu(convolved(x, v["a"]))
        h = jnp.moveaxis(h, 3, 1) if turned else h
        return h.reshape(h.shape[0], -1) @ weights

    network = trace(forward, IMAGES, PIXELS)
    if turned:
        with pytest.raises(ValueError, match="'transpose' makes it no"):
            describe(network, IMAGES)
    else:
        chain = build([layer for _, layer in describe(network, IMAGES)], PIXELS.shape[1:])
        logits = chain.logits(np.asarray(PIXELS, np.float64).reshape(2, -1))
        np.testing.assert_allclose(logits, forward(IMAGES, PIXELS), rtol=1e-4, atol=1e-4)


def test_the_answer_for_a_relu_written_otherwise_is_that_of_brute_force():
    import itertools

    kernels = (
        [[1, -0.7, 0.6], [-2.6, 0.2, 1.8], [0.8, 3.5, 1.7]],
        [[-2.2, -2.7], [0.2, -0.8], [-0.8, 1.1]],
        [[-0.9, -6.3], [0.2, 0.7]],
    )
    variables = {n: jnp.asarray(k, jnp.float32) for n, k in zip("abc", kernels, strict=True)}
    x = np.array([[0.3, 0, 0.1], [1, 0.3, 0.7], [0.1, 0.4, 0.3]], np.float32)

    def forward(v, x, mask=WHOLE):
        h = x @ v["a"]
        h = jnp.where(h > 0, h, 0) * mask[:3] @ v["b"]
        return h * (h > 0) * mask[3:] @ v["c"]

    network = trace(lambda v, x: forward(v, x), variables, x)
    found = critical_neurons(
        network, variables, x, np.array([1, 1, 1]), mode="exact", loss_weight=20.0, gap=0
    ).evidence

    def value(mask):
        logits = np.asarray(forward(variables, x, np.float32(mask)), np.float64)
        losses = np.log(np.exp(logits).sum(1)) - logits[:, 1]
        return 20 * losses.mean() + found.problem.penalty(np.array(mask))

    best = min(value(mask) for mask in itertools.product([0.0, 1.0], repeat=5))
    assert found.objective == pytest.approx(best, abs=1e-4)


def test_weights_that_overflow_are_named():
    huge = jax.tree.map(lambda leaf: 1e25 * leaf, DENSE)
    network = trace(between(RELUS["max"]), DENSE, X)
    with pytest.raises(ValueError, match=r"logits are up to 2e\+76, .*: divide the last layer"):
        critical_neurons(network, huge, X, np.arange(4) % 3)


def test_a_network_of_low_precision_says_so():
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), DENSE)
    x = X.astype(jnp.bfloat16)
    network = trace(between(RELUS["max"]), variables, x)
    with pytest.raises(ValueError, match="computes in bfloat16, whose precision is too low"):
        critical_neurons(network, variables, np.asarray(x), np.arange(4) % 3)
