"""Primitives that other packages make: opened if JAX can trace what they do, named if not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

from prunejax.network import trace
from tests.support.slicing_checks import check


def _doubled(x, by):
    return [x * jnp.cos(x), (x * by).sum()]


DOUBLED = Primitive("doubled")
DOUBLED.multiple_results = True
DOUBLED.def_impl(_doubled)
DOUBLED.def_abstract_eval(lambda x, by: [x, x.update(shape=())])
mlir.register_lowering(DOUBLED, mlir.lower_fun(_doubled, multiple_results=True))
# a derivative that is not that of the implementation: it must be the one that counts
ad.primitive_jvps[DOUBLED] = lambda values, moves, by: (
    DOUBLED.bind(*values, by=by),
    [7.0 * moves[0], jnp.zeros(())],
)


def _centred(x):
    return x - x.mean()


CENTRED = Primitive("centred")
CENTRED.def_impl(_centred)
CENTRED.def_abstract_eval(lambda x: x)
mlir.register_lowering(CENTRED, mlir.lower_fun(_centred, multiple_results=False))

HIDDEN = Primitive("hidden")
HIDDEN.def_impl(lambda x: np.sort(np.asarray(x)))
HIDDEN.def_abstract_eval(lambda x: x)

NAMESAKE = Primitive("mul")  # what it does is not what JAX's does
NAMESAKE.def_impl(lambda x: np.asarray(x)[:, ::-1])
NAMESAKE.def_abstract_eval(lambda x: x)

LOOP = Primitive("scan")
LOOP.def_impl(lambda x: np.asarray(x))
LOOP.def_abstract_eval(lambda x: x)

OTHER = Primitive("other")  # what it does is not what it says
OTHER.def_impl(lambda x: x[:1])
OTHER.def_abstract_eval(lambda x: x)


@pytest.fixture
def variables():
    drawing = np.random.default_rng(0)
    shapes = {"first": (5, 8), "last": (8, 3)}
    return {
        name: jnp.asarray(drawing.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(1).normal(size=(4, 5)), jnp.float32)


def test_it_is_opened_and_keeps_its_own_derivative(variables, x):
    def forward(variables, x):
        hidden, total = DOUBLED.bind(x @ variables["first"], by=3.0)
        return hidden @ variables["last"] + total

    plan = check(forward, variables, x, removes=0.2, gradients=True)
    assert plan.network.groups["first"].width == 8
    assert not plan.network.unknown

    def slope(forward, variables):
        return jax.grad(lambda variables: forward(variables, x).sum())(variables)["first"]

    # 7 times what comes from the last layer, wherever the implementation is steep
    pulled = 7 * jnp.ones((4, 3)) @ plan.slice(variables)["last"].T
    np.testing.assert_allclose(slope(plan.apply_fn, plan.slice(variables)), x.T @ pulled, rtol=1e-5)


def test_the_mean_over_channels_counts_those_that_are_gone(variables, x):
    def forward(variables, x):
        return CENTRED.bind(jax.nn.relu(x @ variables["first"])) @ variables["last"]

    plan = check(forward, variables, x, removes=0.2)
    assert plan.network.groups["first"].width == 8


def test_a_derivative_that_it_does_not_have_is_refused_by_name(variables, x):
    def forward(variables, x):
        return CENTRED.bind(jax.nn.relu(x @ variables["first"])) @ variables["last"]

    plan = trace(forward, variables, x).plan({"first": np.arange(8) < 4})
    with pytest.raises(ValueError, match=r"derivative of 'tests\.centred'"):
        jax.grad(lambda variables: plan.apply_fn(variables, x).sum())(plan.slice(variables))


@pytest.mark.parametrize("primitive", [HIDDEN, NAMESAKE, LOOP, OTHER], ids=str)
def test_what_cannot_be_opened_stays_and_is_named(primitive, variables, x):
    def forward(variables, x):
        return primitive.bind(x @ variables["first"]) @ variables["last"]

    named = f"tests.{primitive.name}"
    rule, nothing = f"no rule for {named}", "no channel of this network"
    with pytest.warns(UserWarning, match=rule), pytest.warns(UserWarning, match=nothing):
        network = trace(forward, variables, x)
    assert network.unknown == (named,)
    assert not network.groups


def test_a_table_that_a_callback_computes_is_cut_like_any_other(variables, x):
    """What is made of numbers alone is computed at full size, even of numbers of variables."""

    def forward(variables, x):
        size = variables["size"]
        table = jax.pure_callback(
            lambda size: np.float32(size) * np.arange(8, dtype=np.float32),
            jax.ShapeDtypeStruct((8,), jnp.float32),
            size,
        )
        return jax.nn.relu(x @ variables["first"] * table) @ variables["last"]

    plan = check(forward, variables | {"size": jnp.float32(2)}, x, removes=0.2)
    assert plan.network.groups["first"].width == 8


def test_what_is_made_of_the_input_is_not_cut_whatever_the_batch(variables):
    """An input of one entry looks like a number while the batch is one."""

    def forward(variables, x):
        shape = jax.ShapeDtypeStruct((len(x), 8), jnp.float32)
        made = jax.pure_callback(lambda x: np.float32(x * np.arange(8)), shape, x)
        return jax.nn.relu(x @ variables["first"][:1] + made) @ variables["last"]

    with pytest.warns(UserWarning, match="no channel of this network"):
        alone = trace(forward, variables, jnp.ones((1, 1)))
    with pytest.warns(UserWarning, match="no channel of this network"):
        together = trace(forward, variables, jnp.ones((4, 1)))
    assert alone.groups == together.groups == {}


def test_a_composite_is_opened(variables, x):
    def forward(variables, x):
        wave = jax.lax.composite(lambda x: x * jnp.tanh(x), "some.wave")
        return wave(x @ variables["first"]) @ variables["last"]

    assert check(forward, variables, x, removes=0.2).network.groups["first"].width == 8


def _tripled(x):
    return 3 * x


TRIPLED = Primitive("tripled")
TRIPLED.def_impl(_tripled)
TRIPLED.def_abstract_eval(lambda x: x)
mlir.register_lowering(TRIPLED, mlir.lower_fun(_tripled, multiple_results=False))
ad.deflinear2(TRIPLED, lambda slope, x: [TRIPLED.bind(slope)])


def test_a_linear_primitive_whose_derivative_holds_itself(variables, x):
    def forward(variables, x):
        return TRIPLED.bind(jax.nn.relu(x @ variables["first"])) @ variables["last"]

    plan = check(forward, variables, x, removes=0.2, gradients=True)
    assert plan.network.groups["first"].width == 8


def test_only_the_inputs_that_are_differentiated_move(variables, x):
    """Equinox's rules refuse derivatives of what may not have any."""

    @jax.custom_vjp
    def scaled(h, scale):
        return h * scale

    def first(h, scale):
        assert not scale.perturbed
        return h.value * scale.value, scale.value

    scaled.defvjp(first, lambda scale, slope: (5 * slope * scale, None), symbolic_zeros=True)

    def forward(variables, x):
        hidden = scaled(x @ variables["first"], jax.lax.stop_gradient(variables["first"].sum(0)))
        return hidden @ variables["last"]

    plan = check(forward, variables, x, removes=0.2, gradients=True)
    assert plan.network.groups["first"].width == 8
