"""Surrogates: each derivative is that of its primitive, which rises from 0 to 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.neurons import (
    SURROGATES,
    Surrogate,
    atan,
    lif,
    rectangle,
    sigmoid,
    tanh_window,
    triangle,
)

MADE = [
    *SURROGATES.values(),
    tanh_window(7.0),
    atan(0.5),
    sigmoid(9.0),
    triangle(0.3),
    rectangle(2.0),
]


@pytest.mark.parametrize("surrogate", MADE, ids=str)
def test_the_derivative_is_that_of_the_primitive(surrogate):
    d, step = np.linspace(-2.013, 2.0, 301), 1e-6
    edges = [0.5, surrogate.shape, surrogate.shape / 2]  # where windows and triangles have corners
    inside = np.all([abs(abs(d) - edge) > 1e-3 for edge in edges], axis=0)
    with jax.enable_x64(True):
        low, high = (np.asarray(surrogate.primitive(jnp.asarray(d + s))) for s in (-step, step))
        slope = np.asarray(surrogate.derivative(jnp.asarray(d)))
    np.testing.assert_allclose(slope[inside], ((high - low) / (2 * step))[inside], atol=1e-7)
    assert np.all(slope >= 0)
    assert np.all(np.diff(low) >= -1e-12)
    assert low.min() >= -1e-9
    assert high.max() <= 1 + 1e-9


@pytest.mark.parametrize("surrogate", MADE, ids=str)
def test_it_is_half_at_the_threshold_and_symmetric(surrogate):
    d = jnp.linspace(-1.5, 1.5, 31)
    assert float(surrogate.primitive(jnp.zeros(()))) == pytest.approx(0.5)
    np.testing.assert_allclose(surrogate.derivative(d), surrogate.derivative(-d), atol=1e-6)
    np.testing.assert_allclose(surrogate.primitive(d) + surrogate.primitive(-d), 1, atol=1e-6)
    highest = float(surrogate.derivative(d).max())
    assert float(surrogate.derivative(jnp.zeros(()))) == pytest.approx(highest, rel=1e-5)


def test_published_values():
    """The window of Chen et al. on [0, 1] around 1/2; the arc tangent around a threshold of 1."""
    u = jnp.array([0.0, 0.25, 0.5, 1.0, 1.01])
    expected = [3 / (np.cosh(3 * (x - 0.5)) ** 2 * 2 * np.tanh(1.5)) for x in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(tanh_window().derivative(u - 0.5), [*expected, 0], rtol=1e-5)
    np.testing.assert_allclose(
        atan().derivative(u - 1), 1 / (1 + (np.pi * (np.asarray(u) - 1)) ** 2), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [0.0, -1.0, float("nan"), float("inf")])
def test_a_shape_is_a_positive_number(shape):
    with pytest.raises(ValueError, match="must be a positive number"):
        tanh_window(shape)


def test_one_of_your_own():
    linear = Surrogate(
        "linear", 1.0, lambda d, a: jnp.full_like(d, a), lambda d, a: jnp.clip(a * d + 0.5, 0, 1)
    )
    gradient = jax.grad(lambda x: jnp.sum(lif(x, surrogate=linear, decay=0.0)[0]))(jnp.ones((3, 2)))
    np.testing.assert_array_equal(gradient, 1)
