"""Neurons against back-propagation through time by hand, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import neurons

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# The derivatives of Section "Neuron" of the papers named, written down once more.
SLOPES = {
    "tanh_window": lambda d: np.where(
        abs(d) <= 0.5, 3 / np.cosh(3 * d) ** 2 / (2 * np.tanh(1.5)), 0.0
    ),
    "atan": lambda d: 1 / (1 + (np.pi * d) ** 2),
    "sigmoid": lambda d: 4 * np.exp(-4 * d) / (1 + np.exp(-4 * d)) ** 2,
    "triangle": lambda d: np.maximum(0, 1 - abs(d)),
    "rectangle": lambda d: (abs(d) <= 0.5).astype(float),
}
KINDS = [
    {"decay": 0.25},
    {"decay": 0.9, "threshold": 1.3},
    {"tau": 2.0},
    {"tau": 5.0, "threshold": 0.2},
]


def numbers(kind):
    tau = kind.get("tau")
    decay, gain = (1 - 1 / tau, 1 / tau) if tau else (kind["decay"], 1.0)
    return decay, gain, kind.get("threshold", 0.5)


def by_hand(x, kind, reset):
    """Spikes and potentials, entry by entry."""
    decay, gain, threshold = numbers(kind)
    spikes, membrane = np.zeros_like(x), np.zeros_like(x)
    for at in np.ndindex(x.shape[1:]):
        v = 0.0
        for t in range(len(x)):
            u = decay * v + gain * x[(t, *at)]
            s = float(u > threshold)
            v = u * (1 - s) if reset == "hard" else u - threshold * s
            spikes[(t, *at)], membrane[(t, *at)] = s, u
    return spikes, membrane


def gradient_by_hand(x, kind, reset, detached, slope, of_spikes, of_membrane):
    """g_u = w D + m + g_v dv/du, g_v[t-1] = decay g_u, g_x = gain g_u."""
    decay, gain, threshold = numbers(kind)
    spikes, membrane = by_hand(x, kind, reset)
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape[1:]):
        of_v = 0.0
        for t in reversed(range(len(x))):
            place = (t, *at)
            u, s = membrane[place], spikes[place]
            d = float(slope(np.float64(u - threshold)))
            if reset == "hard":
                dv = (1 - s) - (0 if detached else u * d)
            else:
                dv = 1 - (0 if detached else threshold * d)
            of_u = of_spikes[place] * d + of_membrane[place] + of_v * dv
            found[place] = gain * of_u
            of_v = decay * of_u
    return found


def arrays(steps=5, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(0.5, 0.7, size=(steps, 3, 4)) for _ in range(3)]


CASES = list(itertools.product(SLOPES, KINDS, ("hard", "soft"), (False, True)))


@pytest.mark.parametrize(
    "surrogate, kind, reset, detached", CASES, ids=lambda value: str(value).replace(" ", "")
)
def test_gradients_are_those_by_hand(surrogate, kind, reset, detached):
    x, of_spikes, of_membrane = arrays()

    def layer(x):
        return neurons.lif(x, surrogate=surrogate, reset=reset, detach_reset=detached, **kind)

    (spikes, membrane), pull = jax.vjp(layer, jnp.asarray(x))
    expected = by_hand(x, kind, reset)
    np.testing.assert_array_equal(spikes, expected[0])
    np.testing.assert_allclose(membrane, expected[1], rtol=0, atol=1e-14)
    assert 0 < expected[0].mean() < 1
    (found,) = pull((jnp.asarray(of_spikes), jnp.asarray(of_membrane)))
    by = gradient_by_hand(x, kind, reset, detached, SLOPES[surrogate], of_spikes, of_membrane)
    np.testing.assert_allclose(found, by, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_many_steps_are_a_scan_with_the_same_gradients(reset):
    x, of_spikes, of_membrane = arrays(steps=70)
    layer = lambda x: neurons.lif(x, reset=reset)  # noqa: E731
    text = str(jax.make_jaxpr(layer)(x))
    assert "scan" in text
    (spikes, _), pull = jax.vjp(layer, jnp.asarray(x))
    np.testing.assert_array_equal(spikes, by_hand(x, {"decay": 0.25}, reset)[0])
    (found,) = pull((jnp.asarray(of_spikes), jnp.asarray(of_membrane)))
    by = gradient_by_hand(
        x, {"decay": 0.25}, reset, False, SLOPES["tanh_window"], of_spikes, of_membrane
    )
    np.testing.assert_allclose(found, by, rtol=0, atol=1e-12)


def test_the_second_derivative_is_that_of_the_gradient():
    """Forwards over backwards, as GraSP needs it, against differences of the gradient by hand."""
    x, of_spikes, move = arrays(steps=4, seed=3)
    zeros, step = np.zeros_like(x), 1e-6

    def by(x):
        return gradient_by_hand(
            x, {"decay": 0.25}, "hard", False, SLOPES["sigmoid"], of_spikes, zeros
        )

    gradient = jax.grad(lambda x: jnp.sum(neurons.lif(x, surrogate="sigmoid")[0] * of_spikes))
    _, found = jax.jvp(gradient, (jnp.asarray(x),), (jnp.asarray(move),))
    expected = (by(x + step * move) - by(x - step * move)) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_step_by_step_gives_the_same_spikes_bit_for_bit(kind, reset):
    x = jnp.asarray(arrays()[0], jnp.float32)
    spikes, membrane = neurons.lif(x, reset=reset, **kind)
    one, carried = neurons.neuron(reset=reset, **kind), jnp.zeros_like(x[0])
    for t in range(len(x)):
        carried, s, u = neurons.lif_step(carried, x[t], one)
        np.testing.assert_array_equal(s, spikes[t])
        np.testing.assert_array_equal(u, membrane[t])


def test_nothing_but_potentials_is_kept_for_the_backward_pass():
    x = jnp.asarray(arrays()[0])
    _, pull = jax.vjp(lambda x: neurons.lif(x)[0], x)
    kept = [leaf for leaf in jax.tree.leaves(pull) if jnp.size(leaf) >= x.size]
    assert [leaf.shape for leaf in kept] == [x.shape]
    np.testing.assert_array_equal(kept[0], neurons.lif(x)[1])


def test_it_jits_and_maps_and_keeps_the_type():
    x = jnp.asarray(arrays()[0], jnp.bfloat16)
    spikes, membrane = jax.jit(jax.vmap(neurons.lif, in_axes=2, out_axes=2))(x)
    alone, _ = neurons.lif(x)
    np.testing.assert_array_equal(spikes, alone)
    assert spikes.dtype == membrane.dtype == jnp.bfloat16
    gradient = jax.grad(lambda x: jnp.sum(neurons.lif(x)[0]))(x)
    assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "given, said",
    [
        ({"decay": -0.1}, r"decay must be in \[0, 1\], got -0.1"),
        ({"decay": 1.1}, r"decay must be in \[0, 1\], got 1.1"),
        ({"decay": float("nan")}, "decay must be in"),
        ({"tau": 0.5}, "tau must be at least 1 step, got 0.5"),
        ({"tau": 2.0, "decay": 0.5}, "decay or tau, not both"),
        ({"threshold": 0.0}, "threshold must be a positive number, got 0.0"),
        ({"threshold": -1.0}, "threshold must be a positive number"),
        ({"threshold": float("inf")}, "threshold must be a positive number"),
        ({"surrogate": "arctan"}, "unknown surrogate 'arctan'.*did you mean 'atan'"),
        ({"reset": "zero"}, "unknown reset 'zero'; allowed are hard, soft"),
    ],
    ids=str,
)
def test_bad_settings(given, said):
    with pytest.raises(ValueError, match=said):
        neurons.lif(jnp.ones((2, 3)), **given)


@pytest.mark.parametrize("shape", [(0, 3), ()])
def test_no_time_step(shape, without_type_checks):
    with pytest.raises(ValueError, match="at least one time step"):
        neurons.lif(jnp.ones(shape))


def test_extreme_settings_hold():
    x = jnp.asarray(arrays()[0])
    for kind in ({"decay": 0.0}, {"decay": 1.0}, {"tau": 1.0}):
        expected, _ = by_hand(np.asarray(x), kind, "hard")
        np.testing.assert_array_equal(neurons.lif(x, **kind)[0], expected)


def test_gradients_pass_through_shard_map():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    spec = jax.sharding.PartitionSpec(None, "x")
    x = jnp.asarray(arrays()[0])
    layer = jax.shard_map(lambda x: neurons.lif(x)[0], mesh=mesh, in_specs=spec, out_specs=spec)
    found = jax.grad(lambda x: jnp.sum(layer(x)))(x)
    np.testing.assert_array_equal(found, jax.grad(lambda x: jnp.sum(neurons.lif(x)[0]))(x))


def test_whole_numbers_are_refused(without_type_checks):
    with pytest.raises(ValueError, match="currents must be floating point, got int"):
        neurons.lif(jnp.ones((3, 2), int))
