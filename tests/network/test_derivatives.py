"""`jax.custom_jvp` and `jax.custom_vjp` after slicing: the masked gradient, or a refusal."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_derivatives import SymbolicZero

from prunejax import masks
from prunejax.network import load_sliced, save_sliced, trace
from tests.support.slicing_checks import compiled, distance

SCALES = np.linspace(1, 2, 24, dtype=np.float32).reshape(3, 8)


@jax.custom_vjp
def reverse(h):
    return h


reverse.defvjp(lambda h: (h, None), lambda _, g: (-g,))


@jax.custom_vjp
def quantise(h):
    return jnp.round(h * 4) / 4


quantise.defvjp(lambda h: (quantise(h), None), lambda _, g: (g,))


@jax.custom_vjp
def two(h, n, s):
    return h * s, h * n.astype(jnp.float32)


two.defvjp(
    lambda h, n, s: (two(h, n, s), (h, n, s)),
    lambda saved, g: (3 * g[0] * saved[2] + g[1], None, (saved[0] * g[0]).sum()),
)


@jax.custom_vjp
def clip_by_size(h):
    return h * 1


clip_by_size.defvjp(
    lambda h: (h, None), lambda _, g: (g / (1 + jnp.linalg.norm(g, axis=-1, keepdims=True)),)
)


@jax.custom_jvp
def constant(h):
    return h * SCALES


constant.defjvp(lambda p, t: (constant(p[0]), 2 * t[0] * SCALES))


@jax.custom_jvp
def over_the_batch(h):
    return h * 1


over_the_batch.defjvp(
    lambda p, t: (over_the_batch(p[0]), t[0] / (1 + jnp.abs(p[0]).sum(axis=0, keepdims=True)))
)


@jax.custom_jvp
def over_channels(h):
    return h * 1


over_channels.defjvp(
    lambda p, t: (over_channels(p[0]), t[0] / (1 + jnp.linalg.norm(p[0], axis=-1, keepdims=True)))
)


@jax.custom_jvp
def position(h):
    return h * 1


position.defjvp(lambda p, t: (position(p[0]), t[0] * jnp.arange(p[0].shape[1], dtype=jnp.float32)))


@jax.custom_jvp
def softplus(h):
    return jnp.log1p(jnp.exp(h))


softplus.defjvp(lambda p, t: (softplus(p[0]), 7 * t[0]))

NETWORKS = {
    "reversed": lambda v, x: reverse(jax.nn.relu(x @ v["a"])) @ v["b"],
    "straight_through": lambda v, x: quantise(jax.nn.relu(x @ v["a"] + v["c"])) @ v["b"],
    "of_several": lambda v, x: sum(two(x @ v["a"], jnp.arange(3)[:, None], v["s"])) @ v["b"],
    "with_a_constant": lambda v, x: constant(x @ v["a"] + v["c"]) @ v["b"],
    "over_the_batch": lambda v, x: over_the_batch(x @ v["a"] + v["c"]) @ v["b"],
    # what is removed is 0 there, and adds nothing to the norm
    "a_norm_of_what_vanishes": lambda v, x: over_channels(x @ v["a"]) @ v["b"],
    "in_a_call": lambda v, x: jax.checkpoint(lambda h: quantise(h) * 2)(x @ v["a"]) @ v["b"],
    "called_like_one_of_jax": lambda v, x: (softplus(x @ v["a"] + v["s"]) ** 2) @ v["b"],
    # a table is cut like what it meets
    "position": lambda v, x: position(x @ v["a"]) @ v["b"],
    "a_norm_of_a_number": lambda v, x: over_channels(x @ v["a"] + 1) @ v["b"],
    "twice": lambda v, x: reverse(constant(quantise(x @ v["a"]))) @ v["b"],
}


@jax.custom_jvp
def shares(h):
    return h / h.sum(axis=-1, keepdims=True)


@shares.defjvp
def _(primals, tangents):
    (h,), (moved,) = primals, tangents
    total = h.sum(axis=-1, keepdims=True)
    return shares(h), moved / total - h * moved.sum(axis=-1, keepdims=True) / total**2


@jax.custom_jvp
def scaled(h, by):
    return h * by


@functools.partial(scaled.defjvp, symbolic_zeros=True)
def _(primals, tangents):
    assert isinstance(tangents[1], SymbolicZero), "only what is differentiated may move"
    return primals[0] * primals[1], 2 * tangents[0] * primals[1]


@jax.custom_vjp
def steep(h):
    return jnp.tanh(h)


steep.defvjp(lambda h: (jnp.tanh(h), h), lambda h, g: (7 * g * h,), optimize_remat=True)

NETWORKS |= {
    # what is removed is a number there, the tangent of which is 0
    "shares_of_exp": lambda v, x: shares(jnp.exp(x @ v["a"])) @ v["b"],
    "shares_of_sigmoid": lambda v, x: shares(jax.nn.sigmoid(x @ v["a"])) @ v["b"],
    "one_that_moves": lambda v, x: scaled(x @ v["a"], jnp.arange(8.0)) @ v["b"],
    "rematerialised": lambda v, x: steep(x @ v["a"]) @ v["b"],
}
REFUSED = {
    "over_channels": lambda v, x: over_channels(jnp.exp(x @ v["a"] + v["s"])) @ v["b"],
    "clip_by_size": lambda v, x: clip_by_size(x @ v["a"] + 1) @ v["b"],
}


@pytest.fixture
def subject():
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"a": (5, 8), "b": (8, 3), "c": (8,), "s": ()}
    variables = {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return variables, jax.random.normal(jax.random.key(9), (3, 5))


def planned(forward, variables, x):
    network = trace(forward, variables, x)
    plan = network.plan({name: np.arange(8) % 3 == 1 for name in network.groups})
    made = masks.apply(variables, plan.masks(variables))
    return plan, made, plan.slice(made)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_masked_networks_gradient(name, subject):
    variables, x = subject
    plan, masked, small = planned(NETWORKS[name], variables, x)

    def of(function):
        return lambda tree: jnp.cos(function(tree, x)).sum()

    def everything(small, masked):
        return (
            (plan.apply_fn(small, x), jax.grad(of(plan.apply_fn))(small)),
            (NETWORKS[name](masked, x), plan.slice(jax.grad(of(NETWORKS[name]))(masked))),
        )

    assert small["a"].shape == (5, 3)
    assert distance(*compiled(everything)(small, masked)) <= 1e-5


FORWARD = [name for name in NETWORKS if name not in ("reversed", "straight_through", "of_several")]
FORWARD = [name for name in FORWARD if name not in ("in_a_call", "twice", "rematerialised")]
"""Those without ``jax.custom_vjp``, which has no forward derivative."""


@pytest.mark.parametrize("name", FORWARD)
def test_the_masked_networks_forward_derivative(name, subject):
    variables, x = subject
    plan, masked, small = planned(NETWORKS[name], variables, x)
    direction = jnp.cos(jnp.arange(15.0)).reshape(3, 5)

    def everything(small, masked):
        def along(function, tree):
            of_x = jax.jvp(lambda x: function(tree, x), (x,), (direction,))[1]
            of_variables = jax.jvp(lambda tree: function(tree, x), (tree,), (tree,))[1]
            return of_x, of_variables

        return along(plan.apply_fn, small), along(NETWORKS[name], masked)

    assert distance(*compiled(everything)(small, masked)) <= 1e-5


@jax.custom_jvp
def ternary(h, threshold):
    return jnp.sign(h) * (jnp.abs(h) > jnp.abs(threshold)).astype(h.dtype)


@ternary.defjvp
def _(primals, tangents):
    slope = jnp.exp(-jnp.abs(primals[0]))
    return ternary(*primals), slope * (tangents[0] - tangents[1])


def test_what_is_a_number_and_moves_all_the_same_is_not_summed(subject):
    """All units share a threshold that is learned: what is removed is 0, and has a derivative."""
    variables, x = subject

    def plain(v, x):
        return ternary(x @ v["a"], v["s"]) @ v["b"]

    plan, masked, small = planned(plain, variables, x)
    ours = jax.grad(lambda tree: jnp.cos(plan.apply_fn(tree, x)).sum())(small)
    theirs = jax.grad(lambda tree: jnp.cos(plain(tree, x)).sum())(masked)
    assert small["a"].shape == (5, 3)
    assert distance(ours, plan.slice(theirs)) <= 1e-5

    def summed(v, x):
        h = ternary(x @ v["a"], v["s"])
        return (h - h.mean(axis=-1, keepdims=True)) @ v["b"]

    with pytest.warns(UserWarning, match="what a masked one adds is not known"):
        assert not trace(summed, variables, x).groups


@jax.custom_jvp
def quantised(h, step):
    return jnp.round(h / step) * step


@quantised.defjvp
def _(primals, tangents):
    h, step = primals
    inside = jnp.round(h / step) - h / step
    return quantised(h, step), tangents[0] + inside * tangents[1]


def test_a_learned_step_moves_nothing_that_is_removed(subject):
    """The rule multiplies the step's tangent by 0 there, so that sums over channels are known."""
    variables, x = subject

    def forward(v, x):
        h = quantised(x @ quantised(v["a"], v["s"]) + v["c"], 0.5 + v["s"] ** 2)
        return (h - h.mean(axis=-1, keepdims=True)) @ v["b"]

    plan, masked, small = planned(forward, variables, x)
    assert small["a"].shape == (5, 3)

    def of(function):
        return lambda tree: jnp.cos(function(tree, x)).sum()

    ours, theirs = jax.grad(of(plan.apply_fn))(small), jax.grad(of(forward))(masked)
    assert distance(ours, plan.slice(theirs)) <= 1e-5


def test_a_primitive_without_a_rule_in_a_derivative_is_named(subject):
    variables, x = subject

    @jax.custom_jvp
    def odd(h):
        return 1 * h

    def moved(primals, tangents):
        slope = jax.pure_callback(np.cos, jax.ShapeDtypeStruct((3, 8), jnp.float32), primals[0])
        return odd(*primals), tangents[0] * slope

    odd.defjvp(moved)
    plan, _, small = planned(lambda v, x: odd(x @ v["a"]) @ v["b"], variables, x)
    with pytest.raises(ValueError, match=r"'odd' .*test_derivatives.* uses pure_callback"):
        jax.grad(lambda tree: plan.apply_fn(tree, x).sum())(small)


@pytest.mark.parametrize("name", REFUSED)
def test_rules_that_mix_channels_are_refused_by_name(name, subject):
    variables, x = subject
    plan, masked, small = planned(REFUSED[name], variables, x)
    forward = plan.apply_fn
    assert distance(forward(small, x), REFUSED[name](masked, x)) <= 1e-5
    with pytest.raises(ValueError, match=f"the derivative of '{name}'.* not differentiated"):
        jax.grad(lambda tree: forward(tree, x).sum())(small)


def test_the_second_derivative_is_the_masked_networks(subject):
    variables, x = subject
    forward = NETWORKS["straight_through"]
    plan, masked, small = planned(forward, variables, x)

    def curvature(function, tree):
        def slope(tree):
            slopes = jax.grad(lambda tree: jnp.sin(function(tree, x)).sum())(tree)
            return sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(slopes))

        return compiled(jax.grad(slope))(tree)

    ours = curvature(plan.apply_fn, small)
    assert (
        distance(ours["b"], plan.slice(_masked_curvature(curvature, forward, plan, masked))["b"])
        <= 1e-5
    )


def _masked_curvature(curvature, forward, plan, masked):
    """The derivative along the weights that are kept, as `grad` of the masked function sees it."""
    made = plan.masks(masked)
    return curvature(lambda tree, x: forward(masks.apply(tree, made), x), masked)


def test_what_cannot_be_differentiated_is_saved_without_its_derivative(subject, tmp_path):
    variables, x = subject
    plan, _, small = planned(REFUSED["over_channels"], variables, x)
    with pytest.warns(UserWarning, match="cannot be differentiated: the derivative of 'over_ch"):
        folder = save_sliced(tmp_path / "m", plan, small, x)
    found = load_sliced(folder)
    assert distance(found.apply_fn(found.variables, x), plan.apply_fn(small, x)) <= 1e-6


def test_a_function_called_like_one_of_jax_is_not_taken_for_it(subject):
    """What it gives where channels are gone would have to be derived by its own rule: it stays."""
    variables, x = subject

    def forward(v, x):
        h = x @ v["a"]
        return (h + (softplus(h + v["s"]) ** 2).sum(axis=-1, keepdims=True)) @ v["b"]

    with pytest.warns(UserWarning, match="what a masked one adds is not known"):
        assert trace(forward, variables, x).groups == {}
