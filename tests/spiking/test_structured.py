"""Whole channels: the penalty, the choice, and networks that are cut by it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import channels, masks, models, network, spiking
from tests.spiking.conftest import made


@pytest.mark.parametrize("name", ["conv", pytest.param("resnet", marks=pytest.mark.slow)])
def test_channels_kept_by_scale_and_regrown_by_criticality(name):
    model, variables, x, traced = made(name)
    scales = spiking.scales(traced, variables)
    critical = spiking.of_channels(traced, spiking.criticality(traced, variables, np.asarray(x)))
    assert set(critical.scores) == set(scales.scores) == set(traced.groups)
    keep = spiking.keep_and_regrow(scales, critical, 0.6, share=0.3)
    total = sum(group.width for group in traced.groups.values())
    assert sum(stay.sum() for stay in keep.values()) == int(0.6 * total)
    plan = traced.plan(keep)
    small = plan.slice(variables)
    masked = {
        **variables,
        "params": masks.apply(variables["params"], plan.masks(variables["params"])),
    }
    expected = model.apply(masked, x)
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(plan.apply_fn(small, x), expected, atol=1e-5)
    smaller = models.resized(model, plan.by_leaf())
    np.testing.assert_allclose(smaller.apply(small, x), expected, atol=1e-5)

    def loss(apply):
        return lambda params: jnp.sum(apply({**small, "params": params}, x) ** 2)

    first, second = (jax.grad(loss(f))(small["params"]) for f in (plan.apply_fn, smaller.apply))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), first, second)
    again = network.trace(plan.apply_fn, small, x[:1])
    cut = spiking.measure(again, small, np.asarray(x))
    assert cut.sops == pytest.approx(
        spiking.measure(traced, masked, np.asarray(x), _used(plan, variables)).sops, rel=1e-4
    )


def _used(plan, variables):
    """Masks of the weights that a cut network still has, those that read removed channels gone."""
    return plan.masks(variables["params"])


def scores(network_, values):
    return channels.ChannelScores(
        network_, {name: np.array(v, float) for name, v in values.items()}
    )


def test_the_choice_by_hand():
    *_, traced = made("mlp")  # groups hidden1 (9) and hidden2 (8)
    kept = scores(traced, {"hidden1": [9, 8, 7, 6, 5, 4, 3, 2, 1], "hidden2": [0.5] + 7 * [0.1]})
    grown = scores(traced, {"hidden1": [0] * 9, "hidden2": [0, 0, 5, 0, 7, 0, 0, 0]})
    keep = spiking.keep_and_regrow(kept, grown, 0.5, share=0.25)  # 8 stay, 2 of them regrow
    assert np.flatnonzero(keep["hidden1"]).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(keep["hidden2"]).tolist() == [0, 2, 4]
    alone = spiking.keep_and_regrow(kept, grown, 0.5, share=0.0)
    assert np.flatnonzero(alone["hidden1"]).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert np.flatnonzero(alone["hidden2"]).tolist() == [0]
    for fraction, share, said in (
        (0.0, 0.2, "fraction that stays"),
        (1.2, 0.2, "fraction that stays"),
        (0.5, 1.5, "share that grows"),
        (0.06, 0.2, "1 channels would stay of 2 groups"),
    ):
        with pytest.raises(ValueError, match=said):
            spiking.keep_and_regrow(kept, grown, fraction, share=share)
    with pytest.raises(ValueError, match="no group of channels has both scores"):
        spiking.keep_and_regrow(kept, scores(traced, {}), 0.5)


def test_the_penalty_adds_its_gradient_to_scales_alone(optax_mixes_dtypes):
    _, variables, _, traced = made("conv")
    params = variables["params"]
    paths = spiking.scale_paths(traced, params)
    assert paths == ("conv1_norm/scale", "conv2_norm/scale", "hidden_norm/scale")
    tx = optax.chain(spiking.l1_of_scales(paths, 0.01), optax.sgd(1.0))
    gradients = jax.tree.map(jnp.zeros_like, params)
    params = {
        **params,
        "conv1_norm": {**params["conv1_norm"], "scale": jnp.array([1.0, -2, 0, 3, 4])},
    }
    updates, _ = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(updates["conv1_norm"]["scale"], [-0.01, 0.01, 0, -0.01, -0.01])
    assert not np.any(updates["conv1"]["kernel"])
    assert not np.any(updates["conv1_norm"]["bias"])
    with pytest.raises(ValueError, match="l1_of_scales needs the parameters"):
        tx.update(gradients, tx.init(params))
    with pytest.raises(ValueError, match="no scale of a normalisation"):
        spiking.l1_of_scales(())
    with pytest.raises(ValueError, match="strength must not be negative"):
        spiking.l1_of_scales(paths, -1.0)


def test_networks_without_scales_or_scores():
    _, variables, _, traced = made("mlp")
    with pytest.raises(ValueError, match="norm"):
        spiking.scales(traced, variables)
    with pytest.raises(ValueError, match="no group of channels"):
        spiking.of_channels(traced, {})
    assert spiking.scale_paths(traced, variables["params"]) == ()
