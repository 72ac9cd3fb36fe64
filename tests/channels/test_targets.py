"""Plans that remove a given share of the work or of the weights."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax.channels import (
    Measured,
    Redundancies,
    flops_reduction,
    measure,
    parameter_reduction,
    rank,
    score_by_redundancy,
    targets,
)
from prunejax.network import trace
from tests.support.small_networks import case, of


@functools.cache
def found(name):
    return measure(case(name).network, case(name).variables, case(name).x)


def removals(plan_at, positions, reduction):
    """What the plans at some positions remove; equal plans are costed once."""
    known, made = {}, []
    for position in positions:
        plan = plan_at(float(position))
        kept = np.concatenate(list(plan.keep.values())).tobytes()
        if kept not in known:
            known[kept] = reduction(plan)
        made.append(known[kept])
    return np.array(made)


@pytest.mark.parametrize(
    "name, reduction",
    [
        pytest.param("resnet", flops_reduction, marks=pytest.mark.slow),
        ("chain", flops_reduction),
        ("chain", parameter_reduction),
    ],
)
def test_the_threshold_comes_as_close_as_any(name, reduction):
    grid = removals(found(name).plan, np.linspace(0, 1, 301), reduction)
    levels = np.unique(grid)
    step = np.diff(levels).max()
    for target in np.linspace(0.1, 0.95 * levels[-1], 4):
        tau = found(name).level_for(float(target), reduction=reduction)
        assert 0 <= tau <= 1
        distance = abs(reduction(found(name).plan(tau)) - target)
        nearest = np.abs(grid - target).min()
        assert distance <= nearest + 1e-3 or distance <= step / 2 + 1e-3, (target, distance)


def test_where_lower_thresholds_always_remove_more_nothing_is_closer():
    """Ten channels in pairs that resemble each other by .15, .35, .55, .75 and .95."""
    network = case("chain").network
    similarity = np.eye(10, dtype=np.float32)
    for pair in range(5):
        similarity[2 * pair, 2 * pair + 1] = similarity[2 * pair + 1, 2 * pair] = 0.15 + 0.2 * pair
    worth = jnp.arange(10, dtype=jnp.float32)
    two = Measured("two", jnp.asarray(similarity), worth, worth)
    one = score_by_redundancy(network, Redundancies({"two": two}))
    levels = removals(one.plan, np.linspace(0, 1, 101), flops_reduction)
    assert np.all(np.diff(levels) <= 0)
    assert len(np.unique(levels)) == 6
    for target in np.linspace(0.01, levels[0], 8):
        tau = one.level_for(float(target))
        distance = abs(flops_reduction(one.plan(tau)) - target)
        assert distance <= max(np.abs(levels - target).min(), 1e-3) + 1e-9


def test_options_of_the_plan_hold_in_the_search():
    options = {"representative": "l1", "min_channels": 4, "round_to": 2}
    tau = found("chain").level_for(0.4, **options)
    plan = found("chain").plan(tau, **options)
    assert abs(flops_reduction(plan) - 0.4) < 0.1
    assert all(stays.sum() >= 4 for stays in plan.keep.values())
    with pytest.raises(ValueError, match=r"0.700 cannot be reached: the most is 0\.\d{3}"):
        found("chain").level_for(0.7, min_channels=6)


def test_a_target_out_of_reach_is_refused():
    most = flops_reduction(found("resnet").plan(0.0))
    with pytest.raises(ValueError, match=f"0.999 cannot be reached: the most is {most:.3f}"):
        found("resnet").level_for(0.999)
    ranking = rank(
        case("chain").network, case("chain").variables, None, criterion="l1", select="three"
    )
    with pytest.raises(ValueError, match=r"0\.900 cannot be reached"):
        ranking.plan_for(0.9)
    for target in (0.0, 1.0, -0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            found("resnet").level_for(target)
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            ranking.plan_for(target)


def test_a_sweep_neither_records_nor_traces(monkeypatch):
    measured = found("resnet")
    network = case("resnet").network

    def refuse(*_, **__):
        pytest.fail("the network was evaluated or traced again")

    monkeypatch.setattr(type(network), "record", refuse)
    object.__setattr__(network, "apply_fn", refuse)
    try:
        assert 0 < measured.level_for(0.5) < 1
    finally:
        object.__setattr__(network, "apply_fn", case("resnet").model.apply)


class Tiny(nn.Module):
    """Two convolutions on 4 x 4 pixels, batch norm between them."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), use_bias=False, name="a")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="norm")(x))
        x = nn.Conv(6, (1, 1), name="b")(x)
        return nn.Dense(2, name="head")(jnp.mean(nn.relu(x), axis=(1, 2)))


def test_reductions_by_hand():
    """Of 4 channels 3 are kept, of 6 then 2; the input has 3."""
    network = of(Tiny(), (4, 4, 3)).network

    def parameters(a, b):
        return 9 * 3 * a + 2 * a + (a * b + b) + (b * 2 + 2)

    def products(a, b):
        return 16 * 9 * 3 * a + 16 * a * b + 2 * b

    def thop(a, b):
        """Four for each entry that is normalised, one for each mean."""
        return products(a, b) + 4 * 16 * a + b

    plan = network.plan({"a": np.arange(4) != 1, "b": np.arange(6) < 2})
    assert math.isclose(parameter_reduction(plan), 1 - parameters(3, 2) / parameters(4, 6))
    assert math.isclose(flops_reduction(plan, "macs"), 1 - products(3, 2) / products(4, 6))
    assert math.isclose(flops_reduction(plan), 1 - thop(3, 2) / thop(4, 6))
    whole = network.plan({})
    assert parameter_reduction(whole) == flops_reduction(whole) == 0


def test_one_fraction_for_all_groups_reaches_a_target():
    network = case("resnet").network
    ranking = rank(network, case("resnet").variables, None, criterion="l2")
    levels = removals(ranking.plan, np.linspace(0, 1, 101), flops_reduction)
    for target in (0.2, 0.5, 0.8):
        plan = ranking.plan_for(target)
        distance = abs(flops_reduction(plan) - target)
        assert distance <= max(np.abs(levels - target).min(), 1e-3) + 1e-9
        shares = [stays.mean() for stays in plan.keep.values()]
        assert max(shares) - min(shares) <= 1 / 6 + 1e-9
    plan = ranking.plan_for(0.5, reduction=parameter_reduction, round_to=2)
    assert abs(parameter_reduction(plan) - 0.5) < 0.1
    assert all(stays.sum() % 2 == 0 for stays in plan.keep.values())


def test_the_closest_of_the_plans_tried_is_returned():
    """Steps that no bisection meets exactly, and one that is met at once."""
    network = case("mlp").network

    def plan_at(removal):
        keep = np.arange(9) < 9 - int(8 * removal)
        return network.plan({"hidden1": keep})

    def removed(plan):
        return 1 - plan.keep["hidden1"].mean()

    for target, wanted in ((0.4, 4 / 9), (0.38, 3 / 9), (0.85, 8 / 9), (0.05, 0), (1 / 9, 1 / 9)):
        reached = targets.reach(plan_at, target, removed)
        assert math.isclose(reached.reduction, wanted, abs_tol=1e-12)
        assert removed(plan_at(reached.removal)) == reached.reduction == removed(reached.plan)


def test_a_threshold_is_for_its_own_reduction():
    """`level_for` passes on what `reduction` measures, here one layer's channels."""

    def removed(plan):
        return 1 - plan.keep["two"].mean()

    tau = found("chain").level_for(0.5, reduction=removed)
    assert abs(removed(found("chain").plan(tau)) - 0.5) <= 0.1


def test_costs_are_of_the_traced_batch_in_both_terms():
    """A network traced with three images has the same reductions."""
    model, variables, _, network = case("chain")
    three = trace(model.apply, variables, jax.ShapeDtypeStruct((3, 10, 12, 2), jnp.float32))
    keep = {"two": np.arange(10) % 2 == 0}
    assert math.isclose(flops_reduction(three.plan(keep)), flops_reduction(network.plan(keep)))
