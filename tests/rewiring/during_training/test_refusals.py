"""What the wrapper refuses, and how it names it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax.rewiring.during_training import (
    DropAndGrow,
    KeepBest,
    NofM,
    forward_params,
    saliency,
    sparsified,
)
from prunejax.rewiring.during_training.timing import Timing

PARAMS = {"first": {"kernel": jnp.ones((6, 4)), "bias": jnp.zeros(4)}}


def wrapped(method="set", **options):
    options = {"sparsity": 0.5, "every": 2, **options}
    tx = sparsified(optax.sgd(0.1), method, **options)
    return tx, tx.init(PARAMS)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: wrapped("rigel"), "unknown training method 'rigel'.*did you mean 'rigl'"),
        (lambda: wrapped(sparsity=1.0), r"in \[0, 1\), got 1.0"),
        (lambda: wrapped(sparsity=-0.1), r"in \[0, 1\), got -0.1"),
        (lambda: wrapped(sparsity=None), "sparsity= is missing"),
        (lambda: wrapped(every=0), "every must be a whole number of at least 1, got 0"),
        (lambda: wrapped(every=True), "every must be a whole number"),
        (lambda: wrapped(begin=-1), "begin must be a whole number of at least 0, got -1"),
        (lambda: wrapped(begin=5, end=4), "end must not be before begin, 5, got 4"),
        (lambda: wrapped("gradual"), "'gradual' needs end=, the step of the last change"),
        (lambda: wrapped("rigl"), "'rigl' needs end="),
        (lambda: wrapped("gradual", every=100, end=50), "is one change: lower every"),
        (lambda: wrapped("gradual", end=50, pattern="two"), "unknown pattern 'two'; allowed are"),
        (lambda: wrapped(select="nothing"), "nothing"),
        (lambda: wrapped("one_shot", sparsity=None, pattern=NofM()), "'first/kernel'.*6, 4.*2:4"),
        (lambda: wrapped(pattern=NofM()), "works on single links, not on NofM"),
        (lambda: KeepBest(schedule="cubik"), "unknown schedule 'cubik'.*did you mean 'cubic'"),
        (lambda: wrapped(KeepBest(saliency, "at_once")), "saliency needs a gradient"),
        (lambda: DropAndGrow(fraction=1.5), r"fraction must be in \[0, 1\], got 1.5"),
        (lambda: DropAndGrow(annealing="cos"), "unknown annealing 'cos'"),
        (lambda: wrapped()[0].update(PARAMS, wrapped()[1]), "needs the parameters"),
        (lambda: forward_params(PARAMS, optax.EmptyState()), "not one of during_training"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("begin, every, end", [(0, 3, 9), (2, 3, 9), (0, 1, None), (4, 5, 4)])
def test_the_steps_after_which_masks_change(begin, every, end):
    timing = Timing(every, begin, end)
    found = [done for done in range(21) if bool(timing.is_due(jnp.int32(done)))]
    assert found == list(range(begin, (20 if end is None else end) + 1, every))
    fractions = timing.fractions()
    if end is not None:
        numbers = [int(timing.number(jnp.int32(done))) for done in found]
        assert numbers == list(range(len(found)))
        assert len(fractions) == len(found)
    assert fractions[-1] == 1
    assert len(fractions) == 1 or np.allclose(np.diff(fractions), fractions[1])


@pytest.mark.usefixtures("optax_mixes_dtypes")
def test_one_shot_prunes_once_after_its_step():
    params = {"kernel": jax.random.normal(jax.random.key(0), (5, 8))}
    tx = sparsified(optax.sgd(0.1), "one_shot", sparsity=0.75, every=1, begin=3)
    state, kept = tx.init(params), []
    for _ in range(5):
        updates, state = tx.update(jax.tree.map(jnp.cos, params), state, params)
        params = optax.apply_updates(params, updates)
        kept.append((int(state.masks["kernel"].sum()), int((params["kernel"] != 0).sum())))
    assert kept == [(40, 40), (40, 40), (10, 10), (10, 10), (10, 10)]


@pytest.mark.usefixtures("optax_mixes_dtypes")
def test_bare_arrays_and_selected_leaves():
    params = {"a": jax.random.normal(jax.random.key(0), (40,)), "b": jnp.ones((3, 3))}
    tx = sparsified(optax.adam(0.1), "set", sparsity=0.5, every=1, select="a")
    state = tx.init(params)
    assert state.masks["b"] is None
    for _ in range(3):
        updates, state = tx.update(jax.tree.map(jnp.cos, params), state, params)
        params = optax.apply_updates(params, updates)
        assert int(state.masks["a"].sum()) == 20
        assert np.count_nonzero(params["a"]) <= 20
