"""One ChannelScores for every method: a rule, plans, the plan for a reduction."""

import dataclasses

import numpy as np
import pytest

from prunejax.channels import ChannelScores, Rule, keep_best, measure, parameter_reduction
from prunejax.channels.scores import ABOVE
from tests.support.small_networks import case


def scored(rule):
    network = case("chain").network
    random = np.random.default_rng(0)
    scores = {name: random.uniform(size=group.width) for name, group in network.groups.items()}
    return ChannelScores(network, scores, rule)


def test_a_threshold_is_found_for_a_reduction():
    scores = scored(ABOVE)
    plan = scores.plan_for(0.5)
    threshold = scores.level_for(0.5)
    assert 0 < threshold < 1
    for group, stays in plan.keep.items():
        np.testing.assert_array_equal(stays, scores.scores[group] >= threshold)
    most = scores.plan_for(0.9, reduction=lambda plan: 0.9 if _smallest(plan) else 0.0)
    assert _smallest(most)


def _smallest(plan):
    return all(stays.sum() == 1 for stays in plan.keep.values())


def test_levels_have_the_rules_own_names():
    above = scored(ABOVE)
    for group, stays in above.keep(threshold=0.4).items():
        np.testing.assert_array_equal(stays, above.keep(0.4)[group])
    best = scored(Rule(keep_best, lambda scores, removal: 1 - removal))
    assert best.plan(fraction=0.5, round_to=4).keep["one"].sum() == 4
    redundant = measure(case("chain").network, case("chain").variables, case("chain").x)
    assert redundant.plan(tau=0.7).keep["two"].tolist() == redundant.keep(0.7)["two"].tolist()


def test_masks_are_those_of_the_plan():
    scores, params = scored(ABOVE), case("chain").variables["params"]
    made = scores.masks(params, 0.4, min_channels=2)
    expected = scores.plan(0.4, min_channels=2).masks(params)
    np.testing.assert_array_equal(made["one"]["kernel"], expected["one"]["kernel"])


def test_other_scores_for_the_same_rule():
    redundant = measure(case("chain").network, case("chain").variables, case("chain").x)
    turned = dataclasses.replace(
        redundant, scores={group: -scores for group, scores in redundant.scores.items()}
    )
    assert any(
        turned.keep(0.6)[group].tolist() != stays.tolist()
        for group, stays in redundant.keep(0.6).items()
    )


def test_a_reduction_of_another_kind():
    plan = scored(ABOVE).plan_for(0.4, reduction=parameter_reduction)
    assert parameter_reduction(plan) == pytest.approx(0.4, abs=0.1)
