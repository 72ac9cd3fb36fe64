"""Local search against brute force."""

import numpy as np
import pytest

from solvers.modes import exact
from solvers.search import local_search
from solvers.search.masks import Evaluator
from tests.support.mask_cases import brute_force, objective, problem


def test_local_search_alone_finds_good_masks():
    instance = problem("two hidden layers", 6)
    evaluator = Evaluator(instance, [6, 5])
    found = list(local_search.search(evaluator, 0, 5, np.inf))
    for mask in found:
        assert mask.objective == pytest.approx(objective(instance, mask.kept), abs=1e-12)
    assert min(mask.objective for mask in found) <= brute_force(instance) + 0.05


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_a_shaken_mask_prunes_no_more_than_it_may(share):
    """Under a cap that binds a flip becomes a swap, and is not dropped."""
    instance = problem("two hidden layers", 6)
    evaluator = Evaluator(instance, exact.most_pruned(instance, share))
    random = np.random.default_rng(0)
    kept = np.ones(11)
    for part, most in zip(evaluator.slices, evaluator.most.tolist(), strict=True):
        kept[part][:most] = 0
    moved = 0
    for _ in range(50):
        found = local_search.shaken(evaluator, kept, random)
        assert set(found) <= {0.0, 1.0}
        assert evaluator.allowed(found[None])[0]
        moved += not np.array_equal(found, kept)
    assert moved >= (0 if share == 0 else 40)
    np.testing.assert_array_equal(kept[:1], 0 if share >= 0.2 else 1)


def test_under_a_binding_cap_shakes_find_better_masks():
    """Where the cap binds, a search that starts anew finds what the first one has not."""
    better = 0
    for seed in range(6):
        instance = problem("14 neurons", seed, batch=6, loss_weight=2.0)
        evaluator = Evaluator(instance, exact.most_pruned(instance, 0.3))
        optimum = brute_force(instance, 0.3) if seed == 0 else None
        values = [mask.objective for mask in local_search.search(evaluator, seed, 8, np.inf)]
        assert len(values) >= 2 + 9  # the whole network, the greedy mask, and every start
        better += min(values) < min(values[:3]) - 1e-9
        if optimum is not None:
            assert min(values) == pytest.approx(optimum, abs=1e-9)
    assert better >= 1
