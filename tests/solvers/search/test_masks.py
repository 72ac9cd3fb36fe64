"""Many masks at once against the masked network."""

import numpy as np
import pytest

from solvers.search.masks import Evaluator
from tests.support.mask_cases import KINDS, problem


@pytest.mark.parametrize("kind", KINDS)
def test_many_masks_at_once_have_the_masked_networks_losses(kind, monkeypatch):
    monkeypatch.setattr("solvers.search.masks.CHUNK", 100)
    instance = problem(kind, 8)
    masks = np.random.default_rng(0).integers(0, 2, (9, instance.chain.neurons)).astype(float)
    found = Evaluator(instance, [99] * len(instance.chain.gates)).losses(masks)
    np.testing.assert_allclose(found, [instance.loss(kept) for kept in masks], atol=1e-12)
