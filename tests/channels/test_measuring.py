"""What is wrong is said with the name of the layer, the group or the argument."""

import inspect
import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax.channels import measure, rank, redundancies
from tests.support.small_networks import case, of, with_kernel


@pytest.mark.parametrize(
    "broken, named",
    [
        ("stem", "stem"),
        ("stage1_block1/conv1", "stage1_block1/conv1"),
        ("stage2_block1/conv1", "stage2_block1/conv1"),
        ("stage3_block1/shortcut", "stage3_block1/shortcut"),
        # this one's maps are not read: the first that is read after it
        ("stage1_block1/conv2", "stage2_block1/conv1"),
    ],
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_layer_that_puts_out_nan_is_named(broken, named, value):
    _, variables, x, network = case("resnet")
    bad = with_kernel(variables, broken, lambda leaf: leaf.at[..., 0].set(value))
    with pytest.raises(ValueError, match=f"^what '{named}' puts out has values that are NaN"):
        measure(network, bad, x)
    with pytest.raises(ValueError, match=f"^what '{named}' puts out has values that are NaN"):
        rank(network, bad, x, criterion="entropy")


def test_nan_in_images_and_in_kernels():
    _, variables, x, network = case("chain")
    with pytest.raises(ValueError, match="what 'one' puts out has values that are NaN"):
        measure(network, variables, x.at[3, 0, 0, 0].set(math.nan))
    bad = with_kernel(variables, "two", lambda leaf: leaf.at[0, 0, 0, 3].set(math.nan))
    with pytest.raises(ValueError, match="fpgm cannot score the channels of 'two': kernel has"):
        rank(network, bad, None, criterion="fpgm")


def test_variables_of_another_network_are_refused():
    _, variables, x, network = case("chain")
    with pytest.raises(ValueError, match="not the variables of the network: params/one/bias"):
        measure(network, with_kernel(variables, "one", lambda leaf: leaf[..., :4]), x)


class Narrowing(nn.Module):
    """Maps of 4 x 4, of 1 x 1, and of 1 x 1 again."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3), name="wide")(x))
        x = nn.relu(nn.Conv(5, (4, 4), padding="VALID", name="point")(x))
        x = nn.relu(nn.Conv(4, (1, 1), name="dot")(x))
        return nn.Dense(2, name="head")(x.reshape(len(x), -1))


def test_maps_of_one_pixel_stay_whole_with_a_warning():
    _, variables, x, network = of(Narrowing(), (4, 4, 1))
    with pytest.warns(UserWarning, match="^maps of 1 x 1 carry no hash: point, dot stay whole$"):
        found = measure(network, variables, x)
    assert list(found.evidence.groups) == ["wide"]
    assert found.evidence.skipped == ("point", "dot")
    plan = found.plan(0.0)
    assert plan.keep["point"].all()
    assert plan.keep["dot"].all()
    assert plan.keep["wide"].sum() < 6
    with (
        pytest.warns(UserWarning, match="point, dot stay whole"),
        pytest.raises(ValueError, match="maps of no layer carry a hash: point, dot were skipped"),
    ):
        measure(network, variables, x, select="dot|point")
    with pytest.raises(ValueError, match="feature maps need at least one image"):
        measure(network, variables, x[:0])
    with pytest.raises(ValueError, match=r"select is no regular expression: '\('"):
        measure(network, variables, x, select="(")


def test_constant_filters_are_counted_in_a_warning():
    _, variables, x, network = case("chain")
    dead = with_kernel(variables, "three", lambda leaf: leaf.at[..., jnp.array([1, 4, 6])].set(0))
    with pytest.warns(UserWarning, match="^3 of 7 filters of 'three' put out one constant value"):
        found = measure(network, dead, x)
    assert found.evidence.skipped == ()
    np.testing.assert_array_equal(
        found.evidence.groups["three"].entropy[jnp.array([1, 4, 6])], [0, 0, 0]
    )
    assert np.all(np.asarray(found.evidence.groups["three"].entropy)[[0, 2, 3, 5]] > 0)
    # they are redundant to each other: one of the three stays, the first
    stays = found.keep(0.999)["three"]
    assert stays.tolist() == [True, True, True, True, False, True, False]


def test_a_layer_of_constants_stays_whole():
    _, variables, x, network = case("chain")
    dead = with_kernel(variables, "two", jnp.zeros_like)
    constant = "all filters of '{}' put out constants: it stays whole"
    with (
        pytest.warns(UserWarning, match=constant.format("two")),
        pytest.warns(UserWarning, match=constant.format("three")),  # which reads nothing else
    ):
        found = measure(network, dead, x)
    assert found.evidence.skipped == ("two", "three")
    assert list(found.evidence.groups) == ["one"]
    assert found.plan(0.0).keep["two"].all()


@pytest.mark.parametrize("act", [measure, lambda *given, **o: rank(*given, criterion="l1", **o)])
def test_a_pattern_that_matches_nothing(act):
    _, variables, x, network = case("chain")
    message = r"and named like 'four'; there are: one \(conv\), two \(conv\), three \(conv\)"
    with pytest.raises(ValueError, match=message):
        act(network, variables, x, select="four")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tau": -0.01}, r"tau must be in \[0, 1\], got -0.01"),
        ({"tau": 1.5}, r"tau must be in \[0, 1\], got 1.5"),
        ({"tau": math.nan}, r"tau must be in \[0, 1\], got nan"),
        ({"delta": -0.1}, "delta must not be negative, got -0.1"),
        ({"delta": math.nan}, "delta must not be negative, got nan"),
        ({"representative": "random"}, "'random' needs a key"),
        ({"min_channels": 0}, "min_channels must be at least 1, got 0"),
        ({"quota": {"four": 0.5}}, "quota 'four' matches no group; there are one, two, three"),
        ({"quota": {"one": 1.1}}, r"quota of 'one' must be in \[0, 1\], got 1.1"),
        ({"quota": {"one": -1.0}}, r"quota of 'one' must be in \[0, 1\], got -1.0"),
        ({"quota": {"one": math.nan}}, r"quota of 'one' must be in \[0, 1\], got nan"),
    ],
)
def test_a_wrong_argument_is_named(options, message):
    _, variables, x, network = case("chain")
    found = measure(network, variables, x)
    keep = inspect.unwrap(redundancies.keep_representatives)
    with pytest.raises(ValueError, match=message):
        keep(found.evidence, found.scores, **{"tau": 0.7, **options})


def test_words_that_do_not_exist():
    _, variables, x, network = case("chain")
    found = measure(network, variables, x)
    with pytest.raises(ValueError, match="round_to must be at least 1, got 0"):
        found.plan(0.7, round_to=0)
    with pytest.raises(
        ValueError, match="unknown representative 'best'; allowed are entropy, random, l1"
    ):
        inspect.unwrap(redundancies._worth)(found.evidence.groups["one"], "best", None, 0)
