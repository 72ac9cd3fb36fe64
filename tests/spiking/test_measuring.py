"""Spikes and operations against counts spike by spike, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks, models, network, spiking
from tests.spiking.conftest import made
from tests.support import numpy_models

STEPS = 3


def random_masks(params, seed=0):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda mask: None if mask is None else jnp.asarray(random.random(mask.shape) < 0.6),
        masks.make(params),
        is_leaf=lambda leaf: leaf is None,
    )


class Counting(numpy_models.Net):
    """Counts, spike by spike, the unmasked weights that each one reaches.

    ``per`` says how many spikes an entry of what a kernel reads stands for.
    """

    def __init__(self, variables, made, per):
        super().__init__(variables, train=False)
        self.masks, self.per, self.counts = made, per, {}

    def dense(self, x, path):
        mask = np.asarray(self.masks[path]["kernel"])
        spikes = x * self.per.get(path, 1)
        if path == "hidden1":
            spikes = np.ones_like(x)  # an image's numbers, each multiplied once
        self.counts[path] = sum(
            spikes[image, unit] * mask[unit].sum() for image, unit in np.argwhere(spikes).tolist()
        )
        return super().dense(x, path)

    def conv(self, x, path, stride=1, padding=0):
        mask = np.asarray(self.masks[path]["kernel"])
        size = mask.shape[0]
        sides = [(side + 2 * padding - size) // stride + 1 for side in x.shape[1:3]]
        counted, spikes_of = 0.0, x * self.per.get(path, 1)
        if path in ("conv1", "stem"):
            spikes_of = np.ones_like(x)  # an image's numbers, each multiplied once
        for image, row, column, channel in np.argwhere(spikes_of).tolist():
            spikes = spikes_of[image, row, column, channel]
            for top in range(sides[0]):
                for left in range(sides[1]):
                    down = row + padding - top * stride
                    right = column + padding - left * stride
                    if 0 <= down < size and 0 <= right < size:
                        counted += spikes * mask[down, right, channel].sum()
        self.counts[path] = counted
        return super().conv(x, path, stride, padding)


def counted(name, made_masks, variables, x):
    """Operations per image, by layer, and firing rates."""
    lif = numpy_models.Lif(STEPS, threshold=0.2 if name == "conv, no norm" else 0.5)
    rates = []

    def fires(currents):
        spikes = numpy_models.Lif.__call__(lif, currents)
        rates.append(spikes.mean())
        return spikes

    spy = type("Spy", (), {"__call__": lambda _, c: fires(c), "shown": lif.shown, "mean": lif.mean})
    per = {"conv2": 4, "hidden": 4} if name.startswith("conv") else {"hidden": 2 * 2}
    net = Counting(variables, made_masks, per)
    if name == "conv, no norm":
        net.norm = lambda x, path: x
    reference = {
        "mlp": lambda: numpy_models.spiking_mlp(net, x, 2, spy()),
        "resnet": lambda: numpy_models.spiking_resnet19(net, x, spy()),
    }.get(name, lambda: numpy_models.spiking_conv(net, x, spy()))
    logits = reference()
    first = {"mlp": "hidden1", "resnet": "stem"}.get(name, "conv1")
    net.counts[first] /= STEPS  # the reference shows images at each step
    return {path: count / len(x) for path, count in net.counts.items()}, rates, logits


@pytest.mark.parametrize("name", ["mlp", "conv", "conv, no norm", "resnet"])
def test_operations_equal_a_count_spike_by_spike(name):
    model, variables, x, traced = made(name)
    given = random_masks(variables["params"])
    pruned = {**variables, "params": masks.apply(variables["params"], given)}
    found = spiking.measure(traced, pruned, np.asarray(x), given, batch_size=2)
    expected, rates, logits = counted(name, given, pruned, np.asarray(x, np.float64))
    np.testing.assert_allclose(model.apply(pruned, x), logits, atol=1e-5)
    assert list(found.firing_rates.values()) == pytest.approx(rates, rel=1e-6)
    assert min(rates) > 0
    everything = {**found.multiply_adds, **found.synaptic_operations}
    assert everything == pytest.approx(expected, rel=1e-6)
    first = next(iter(found.multiply_adds))
    assert set(found.multiply_adds) == {first}
    assert first in ("hidden1", "conv1", "stem")
    assert found.sops == pytest.approx(sum(found.synaptic_operations.values()))


def test_energy_by_hand():
    """Two neurons, one of which fires at each of two steps: every number is counted by hand."""
    model = models.build("spiking_mlp", num_classes=3, hidden_widths=(2,), timesteps=2, decay=0.0)
    kernel = jnp.array([[1.0, -1.0], [0.0, 0.0]])
    params = {
        "hidden1": {"kernel": kernel, "bias": jnp.zeros(2)},
        "classifier": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)},
    }
    x = np.ones((1, 2), np.float32)
    traced = network.trace(model.apply, {"params": params}, x)
    found = spiking.measure(traced, {"params": params}, x)
    # 4 multiply-adds in the first layer; 2 spikes reach 3 weights each
    assert (found.macs, found.sops, found.firing_rate) == (4, 6, 0.5)
    assert found.energy == pytest.approx((4 * 4.6 + 6 * 0.9) / 1000)
    assert found.dense_energy == pytest.approx((4 + 6) * 4.6 / 1000)
    every, none = True, False
    half = {
        "hidden1": {"kernel": jnp.array([[True, False], [False, True]]), "bias": None},
        "classifier": {
            "kernel": jnp.array([[every, every, none], [every] * 3]),
            "bias": None,
        },
    }
    pruned = spiking.measure(traced, {"params": masks.apply(params, half)}, x, half)
    assert (pruned.macs, pruned.sops) == (2, 4)
    assert pruned.dense_macs == found.dense_macs == 10
    assert "nJ of arithmetic" in str(found)
    assert "memory" in str(found)


def test_a_layer_that_never_fires_is_named():
    _, variables, x, traced = made("mlp")
    silent = jax.tree.map(lambda leaf: leaf, variables)
    silent["params"]["hidden2"] = jax.tree.map(lambda leaf: 0 * leaf, silent["params"]["hidden2"])
    with pytest.warns(UserWarning, match="'lif_2' never fire: their rate is 0 on 5 images"):
        spiking.measure(traced, silent, np.asarray(x))


def test_what_is_refused():
    _, variables, x, traced = made("mlp")
    x = np.asarray(x)
    with pytest.raises(ValueError, match="there are no images"):
        spiking.measure(traced, variables, x[:0])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        spiking.measure(traced, variables, x, batch_size=0)
    other = {"params": {**variables["params"], "more": {"kernel": jnp.ones((2, 2))}}}
    with pytest.raises(ValueError, match="not the variables of the network: 'params/more/kernel'"):
        spiking.measure(traced, other, x)
    wrong = {**masks.make(variables["params"]), "hidden1": {"kernel": jnp.ones((1, 1), bool)}}
    with pytest.raises(ValueError, match="'hidden1/kernel' is of no leaf"):
        spiking.measure(traced, variables, x, wrong)
    model = models.build("mlp", num_classes=3)
    plain = model.init(jax.random.key(0), jnp.asarray(x))
    traced = network.trace(model.apply, plain, jnp.asarray(x))
    for function in (spiking.measure, spiking.criticality, spiking.feature_entropy):
        with pytest.raises(ValueError, match="no spiking neurons"):
            function(traced, plain, x)


def test_separation_by_hand():
    train = np.array([[0.0, 2, 4], [4, 2, 0]])
    test = np.array([[0.0, 1, 2], [0, 2, 2], [3, 3, 3]])
    found = spiking.separation(train, np.array([0, 1]), test, np.array([0, 0, 1]))
    # (max - n) / (max - min): train 1, .5, 0 and 0, .5, 1; test 1, .5, 0; 1, 0, 0; 0, 0, 0
    variance = np.mean([np.var([[1, 0.5, 0], [1, 0, 0]], axis=0).mean(), 0.0])
    first = np.array([1, 0.25, 0]) @ np.array([1, 0.5, 0])
    cosine = first / np.linalg.norm([1, 0.25, 0]) / np.linalg.norm([1, 0.5, 0])
    assert found.class_variance == pytest.approx(variance)
    assert found.cosine == pytest.approx((cosine + 0) / 2)
    with pytest.raises(ValueError, match="no training image of class 1"):
        spiking.separation(train, np.array([0, 0]), test, np.array([0, 0, 1]))


def test_separation_wants_a_label_per_image(without_type_checks):
    counts = np.ones((3, 2))
    with pytest.raises(ValueError, match="counts of 3 images and 2 labels"):
        spiking.separation(counts, np.array([0, 1, 1]), counts, np.array([0, 1]))


def test_measures_are_of_any_batch_size():
    _, variables, x, traced = made("conv")
    x = np.asarray(x)
    whole = spiking.measure(traced, variables, x)
    for size in (1, 2, 5):
        part = spiking.measure(traced, variables, x, batch_size=size)
        for what in ("sops", "macs", "energy", "dense_energy", "firing_rate"):
            assert getattr(part, what) == pytest.approx(getattr(whole, what))


def test_a_dense_layer_at_every_position_and_spikes_that_are_added():
    """Kernels that are computed from others count by what the masks leave of them."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"first": (3, 7), "second": (7, 7), "third": (7, 5), "last": (5 * 4, 2)}
    variables = {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }

    def apply(v, x):  # [batch, 2, 2, 3]
        currents = jnp.broadcast_to(x @ v["first"], (3, *x.shape[:3], 7))
        s = spiking.lif(currents)[0]
        again = spiking.lif(s @ (3.0 * v["second"]))[0]
        t = spiking.lif((s + again) @ v["third"])[0]  # as in SEW residual blocks
        return t.mean(axis=0).reshape(x.shape[0], -1) @ v["last"]

    x = jax.random.normal(jax.random.key(1), (4, 2, 2, 3))
    traced = network.trace(apply, variables, x[:1])
    found = spiking.measure(traced, variables, np.asarray(x))
    spikes = traced.record(variables, x, ["lif_1", "lif_2", "lif_3"])
    counts = [float(np.sum(one)) / 4 for one in spikes.values()]
    expected = [7 * counts[0], 5 * (counts[0] + counts[1]), 2 * counts[2]]
    assert list(found.synaptic_operations.values()) == pytest.approx(expected)
    assert found.macs == 4 * 3 * 7
    assert found.dense_macs == 4 * (3 * 7 + 7 * 7 + 7 * 5) + 20 * 2
