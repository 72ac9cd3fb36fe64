"""Every network of the list: how much of it can go, and that what is left computes the same."""

import contextlib
import importlib.util

import jax
import pytest

from tests.network.zoo import checking, measuring, shares
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
