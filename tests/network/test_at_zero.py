"""What is left out of a sum must be 0 there: every primitive is asked for its value at 0."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from prunejax.network import at_zero, elementwise, trace
from tests.support.slicing_checks import check, randomise

NOTHING = "no channel of this network can be removed"


def forward(function):
    """Sums over channels of a function of a branch that is 0 at removed channels."""

    def apply(variables, x):
        hidden, other = x @ variables["a"], x @ variables["c"] + variables["d"]
        return (function(hidden, other) + 0 * hidden).sum(axis=1, keepdims=True) * variables["e"]

    return apply


def variables():
    shapes = {"a": (3, 6), "c": (3, 6), "d": (6,), "e": (1,)}
    return randomise({k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()})


X = jax.random.normal(jax.random.key(3), (4, 3))


def switched(y, *branches):
    """Each image goes another branch: `lax.select_n` of as many cases."""
    which = jnp.arange(len(y)) % len(branches)
    return jax.vmap(lambda index, row: lax.switch(index, branches, row))(which, y)


def of_other(o, factor):
    return lambda row: row * factor + (o[0] - 2)


ZERO = {
    "switch": lambda y, _: switched(y, *(lambda row, k=k: row * k for k in range(1, 9))),
    "known_case": lambda y, o: lax.select_n(jnp.zeros_like(y, jnp.int32), y, *[o - 2] * 8),
    "mul": lambda y, _: y * jnp.arange(2.0, 8.0).sum(),
    "power": lambda y, _: lax.pow(y * y, 1.5 * jnp.ones(())),
    "clamp": lambda y, _: jnp.clip(y, -0.5, 0.5),
    "relu6": lambda y, _: jax.nn.relu6(y),
    "gt": lambda y, _: (y > 0).astype(jnp.float32) * y,
    "gate": lambda y, _: (y > 0).astype(jnp.float32),
    "erf_inv": lambda y, _: lax.erf_inv(0.1 * y),
    "rem": lambda y, _: lax.rem(y, 2 * jnp.ones_like(y)),
}
"""Functions that are 0 at 0: their channels can go, one by one."""

NOT_ZERO = {
    "switch": lambda y, o: switched(y, lambda row: row, *(of_other(o, k) for k in range(1, 8))),
    "switch_last": lambda y, o: switched(y, *[lambda row: row] * 7, of_other(o, 1)),
    "other_known_case": lambda y, o: lax.select_n(jnp.ones_like(y, jnp.int32), y, *[o - 2] * 8),
    "atan2": lambda y, o: lax.atan2(y, o - 2),  # pi at 0 where the other is below 0
    "atan2_reversed": lambda y, o: lax.atan2(o - 2, y),
    "nextafter": lambda y, o: lax.nextafter(y, o - 2) * 1e38,
    "cos": lambda y, _: jnp.cos(y),
    "power_of_zero": lambda y, o: lax.pow(jnp.abs(o) + 1, y),
    "clamp_above": lambda y, _: jnp.clip(y, 0.25, 1.0),
    "maximum": lambda y, _: jnp.maximum(y, 0.5),
    "ge": lambda y, _: (y >= 0).astype(jnp.float32),
    "equal": lambda y, _: (y == 0).astype(jnp.float32),
    "select": lambda y, _: jnp.where(y > 0, y, 0.5),
    "erfc": lambda y, _: lax.erfc(y),
    "igammac": lambda y, o: lax.igammac(jnp.abs(o) + 1, jnp.abs(y)),
    "above_a_threshold": lambda _, o: (o - 2 > 100).astype(jnp.float32),
    "equal_to_a_number": lambda _, o: (o - 2 == 7).astype(jnp.float32),
    "below_zero": lambda y, o: jnp.minimum(jnp.abs(y), o - 2),
    "high_bits": lambda _, o: lax.shift_right_logical(
        lax.bitcast_convert_type(o - 2, jnp.uint32), jnp.full_like(o, 16, jnp.uint32)
    ).astype(jnp.float32),
    "softplus": lambda y, _: jax.nn.softplus(y),
}


NEVER = ("above_a_threshold", "equal_to_a_number")


def infinite(y, o):
    return jnp.where(o > 2, y, jnp.inf)


@pytest.mark.parametrize("name", ZERO)
def test_terms_that_are_zero_are_left_out(name):
    check(forward(ZERO[name]), variables(), X, removes=0.2)


@pytest.mark.parametrize("name", NOT_ZERO)
def test_terms_that_are_not_zero_are_added(name):
    """Those of most are known: the smaller network adds what the masked one adds."""
    apply = forward(NOT_ZERO[name])
    if name in NEVER:  # far from all entries of X: both networks give 0
        (group,) = trace(apply, variables(), X).groups.values()
        assert group.width == 6
    else:
        check(apply, variables(), X, removes=0.2)


def test_terms_that_are_infinite_stay():
    with pytest.warns(UserWarning, match="select_n of 4x6 .* is infinite or no number"):
        assert trace(forward(infinite), variables(), X).groups == {}


def test_a_primitive_of_too_many_numbers_is_not_evaluated(monkeypatch):
    apply = forward(ZERO["mul"])
    assert trace(apply, variables(), X).groups
    at_zero._evaluated.cache_clear()
    monkeypatch.setattr(at_zero, "MOST_ROWS", 1)
    with pytest.warns(UserWarning, match=NOTHING):
        assert trace(apply, variables(), X).groups == {}
    at_zero._evaluated.cache_clear()


def test_every_element_by_element_primitive_of_jax_has_a_rule():
    found = {
        primitive.name
        for name, primitive in vars(lax).items()
        if name.endswith("_p") and _element_by_element(primitive)
    }
    assert len(found) > 50
    assert found <= elementwise.NAMES


def _element_by_element(primitive):
    """Whether its result has the shape of its operands, by trying up to three of them."""
    if primitive.name in MOVES:
        return False
    params = PARAMS.get(primitive.name, {})
    for count, dtype in itertools.product((1, 2, 3), (jnp.float32, jnp.int32)):
        try:
            shapes = [jax.ShapeDtypeStruct((2, 3), dtype)] * count
            made = jax.eval_shape(functools.partial(primitive.bind, **params), *shapes)
        except Exception:
            continue
        if getattr(made, "shape", None) == (2, 3):
            return True
    return False


PARAMS = {
    "integer_pow": {"y": 2},
    "reduce_precision": {"exponent_bits": 5, "mantissa_bits": 5},
    "round": {"rounding_method": lax.RoundingMethod.TO_NEAREST_EVEN},
    **{
        name: {"accuracy": None}
        for name in ("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "logistic")
    },
    **{name: {"accuracy": None} for name in ("sin", "cos", "tan", "tanh")},
}
MOVES = ("optimization_barrier", "dce_sink", "tie", "stage", "sort", "cumsum", "rev")
"""What gives a shape back, but not entry by entry."""


def test_numbers_that_are_no_numbers_are_no_error():
    with jax.debug_nans(True), jax.debug_infs(True), pytest.warns(match=NOTHING):
        network = trace(lambda v, x: jnp.log(x @ v["a"]) @ v["b"] + jnp.nan, TWO, jnp.ones((1, 3)))
    assert network.groups == {}
    trace(lambda v, x: jnp.minimum(x @ v["a"], jnp.inf) @ v["b"], TWO, jnp.ones((1, 3)))


TWO = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
