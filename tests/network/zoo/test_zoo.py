"""Every network of the list: how much of it can go, and that what is left computes the same."""

import contextlib
import importlib.util

import jax
import jax.numpy as jnp
import pytest

from tests.network.zoo import checking, measuring, shares
from tests.network.zoo.entry import Entry, function, image
from tests.network.zoo.networks import NETWORKS


@pytest.fixture(autouse=True)
def _networks_mix_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


def parameters(slow):
    """All networks; ``slow`` says of each whether its test is left to the slow ones."""
    for entry in NETWORKS.values():
        marks = [pytest.mark.slow] if slow(entry) else []
        if entry.package and importlib.util.find_spec(entry.package) is None:
            marks.append(pytest.mark.skip(reason=f"{entry.package} is not installed"))
        yield pytest.param(entry, id=entry.name, marks=marks)


@contextlib.contextmanager
def traced(entry):
    with checking.precision(entry):
        built = entry.build()
        if entry.double:
            built = checking.doubled(built)
        yield built, measuring.quietly(built.apply_fn, built.variables, built.x)


@pytest.mark.parametrize("entry", parameters(slow=lambda entry: entry.package or entry.slow))
def test_the_share_is_as_listed(entry):
    with traced(entry) as (_, network):
        assert measuring.share(network, entry) == shares.latest(entry.name)


@pytest.mark.parametrize("entry", parameters(slow=lambda entry: not entry.quick))
def test_sliced_equals_masked(entry):
    with traced(entry) as (built, network):
        if any(group.width > 1 for group in network.groups.values()):
            checking.agree(entry, built, network)


def test_the_list_is_complete():
    assert list(shares.read()) == list(NETWORKS)
    assert len(NETWORKS) >= 60
    assert sum(not entry.package for entry in NETWORKS.values()) >= 45


def test_nearly_all_channels_can_go():
    """Of the networks of packages 95 % have 95 % free; the others have a reason of their own."""
    stored = shares.read()
    after = {name: stored[name]["after"] for name in NETWORKS}
    packages = [after[name] >= 0.95 for name, entry in NETWORKS.items() if entry.package]
    assert sum(packages) >= 0.95 * len(packages)
    assert not [name for name, entry in NETWORKS.items() if after[name] < 0.95 and not entry.reason]
    assert not [name for name in NETWORKS if after[name] < stored[name]["before"]]


def test_a_network_that_computes_something_else_is_seen():
    entry = NETWORKS["deep_sets"]
    with traced(entry) as (built, network):
        wrong = built._replace(apply_fn=lambda variables, x: 1.001 * built.apply_fn(variables, x))
        with pytest.raises(AssertionError):
            checking.agree(entry, wrong, network)


def test_the_share_counts_each_axis_of_a_kernel_once():
    def forward(variables, x):
        for _ in range(2):  # six channels, used twice
            x = jax.nn.relu(x @ variables["shared"])
        ranked = jnp.sort(x @ variables["sorted"], axis=-1)  # three that stay
        return (jax.nn.relu(x @ variables["wide"]) @ variables["last"]) + ranked.sum()

    shapes = {"shared": (6, 6), "sorted": (6, 3), "wide": (6, 5), "last": (5, 2)}
    made = Entry("made", "", lambda: function(forward, shapes, image(4, 6)), returned=2)
    with traced(made) as (_, network):
        # the input of the first use is that of the network, so the shared ones stay as well
        assert measuring.measured(network, made) == (5, 6 + 3 + 5)
        assert measuring.share(network, made) == 0.3571
