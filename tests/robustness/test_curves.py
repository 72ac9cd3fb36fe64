"""Curves equal a plain loop; masks from everywhere in the library go in."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.methods import METHODS, Subject
from prunejax import channels, robustness
from prunejax import masks as masks_lib
from prunejax.robustness import curves
from tests.support import narrow_networks
from tests.support.attacks import check_attack

NAMES = sorted(robustness.PERTURBATIONS)
LEVELS = [0.0, 0.3, 0.6, 1.0]


def apply(params, inputs):
    hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"])
    return hidden @ params["last"]["kernel"]


def case(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "first": {"kernel": jax.random.normal(keys[0], (6, 9)), "bias": jnp.ones(9) / 9},
        "last": {"kernel": jax.random.normal(keys[1], (9, 3))},
    }
    made = masks_lib.make(params)
    made["first"]["kernel"] = jax.random.bernoulli(keys[2], 0.6, (6, 9))
    inputs = jax.random.normal(keys[3], (40, 6))
    params = masks_lib.apply(params, made)
    return params, made, (inputs, np.argmax(apply(params, inputs), axis=1))


def plain(key, params, made, batches, perturbation, strengths, repeats):
    """One network after the other, in NumPy behind the logits."""
    accuracy, loss = np.zeros((2, len(strengths), repeats))
    for row, strength in enumerate(strengths):
        for repeat in range(repeats):
            attacked = robustness.perturb(
                jax.random.fold_in(key, repeat), params, made, perturbation, strength
            )
            answers, losses = [], []
            for inputs, labels in batches:
                logits = np.asarray(apply(attacked, inputs), np.float64)
                answers += (logits.argmax(axis=1) == labels).tolist()
                logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                losses += (-logs[np.arange(len(labels)), labels]).tolist()
            accuracy[row, repeat], loss[row, repeat] = np.mean(answers), np.mean(losses)
    return accuracy, loss


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("together", [None, 5])
def test_a_curve_is_what_a_plain_loop_finds(name, together):
    params, made, (inputs, labels) = case()
    batches = [
        (inputs[:15], labels[:15]),
        (inputs[15:30], labels[15:30]),
        (inputs[30:], labels[30:]),
    ]
    key = jax.random.key(5)
    found = robustness.curve(
        key, apply, params, made, iter(batches), name, LEVELS, repeats=3, together=together
    )
    accuracy, loss = plain(key, params, made, batches, name, LEVELS, 3)
    assert found.strengths.tolist() == LEVELS
    np.testing.assert_array_equal(found.accuracy, accuracy)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-5)
    np.testing.assert_array_less(0.9, found.accuracy[0])
    if name not in ("noise", "shuffling"):
        assert (found.loss[-1] == found.loss[-1, 0]).all()


def test_values_recompile_nothing_and_another_last_batch_once():
    curves._sums.clear_cache()
    curves.perturbed_leaves.clear_cache()
    for seed in (0, 1):
        params, made, (inputs, labels) = case(seed)
        made["first"]["kernel"] = jnp.roll(case(0)[1]["first"]["kernel"], seed, axis=0)
        batches = [(inputs[:30], labels[:30]), (inputs[30:], labels[30:])]
        for levels in ([0.1, 0.9], [0.5]):
            robustness.curve(
                jax.random.key(seed), apply, params, made, batches, "random", levels, repeats=2
            )
    assert curves._sums._cache_size() == 2
    assert curves.perturbed_leaves._cache_size() == 1


def test_more_strengths_and_repeats_change_no_number():
    params, made, batch = case()
    draw = functools.partial(robustness.curve, jax.random.key(1), apply, params, made, batch)
    few = draw("random", [0.4], repeats=1)
    many = draw("random", [0.2, 0.4], repeats=3)
    assert few.loss[0, 0] == many.loss[1, 0]
    assert len(set(many.loss[1].tolist())) == 3


def test_progress():
    params, made, batch = case()
    for together, told in ((1, [1, 2, 3, 4, 5, 6]), (4, [4, 6])):
        heard = []

        def hear(done, of, heard=heard):
            heard.append((done, of))

        robustness.curve(
            jax.random.key(0), apply, params, made, batch, "noise", [0.1, 3.0], repeats=3,
            together=together, on_progress=hear,
        )  # fmt: skip
        assert heard == [(done, 6) for done in told]


def test_how_many_networks_fit():
    params, made, batch = case()
    kept = curves.find_kept(params, made)
    assert curves._fitting(apply, params, kept, batch) > 1000
    saved, curves.MEMORY = curves.MEMORY, 100
    try:
        assert curves._fitting(apply, params, kept, batch) == 1
    finally:
        curves.MEMORY = saved


def test_a_network_that_holds_links_alone():
    """1-D kernels with masks of ones: what ``prunejax.sparse`` trains."""
    params, made, batch = case()
    rows, columns = np.nonzero(np.asarray(made["first"]["kernel"]))
    sparse = {**params, "first": dict(params["first"])}
    sparse["first"]["kernel"] = params["first"]["kernel"][rows, columns]

    def apply_links(params, inputs):
        kernel = jnp.zeros((6, 9)).at[rows, columns].set(params["first"]["kernel"])
        return apply({**params, "first": {**params["first"], "kernel": kernel}}, inputs)

    ones = {**made, "first": {"kernel": jnp.ones(len(rows), bool), "bias": None}}
    for name in NAMES:
        key = jax.random.key(2)
        links = robustness.curve(key, apply_links, sparse, ones, batch, name, LEVELS, repeats=2)
        dense = robustness.curve(key, apply, params, made, batch, name, LEVELS, repeats=2)
        np.testing.assert_array_equal(links.accuracy, dense.accuracy)


def curve_of(params, made, batches, perturbation="random", strengths=(0.5,), **options):
    return robustness.curve(
        jax.random.key(0), apply, params, made, batches, perturbation, strengths, **options
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p, m, b: curve_of(p, m, b, "nose"), "unknown perturbation 'nose'.*mean 'noise'"),
        (lambda p, m, b: curve_of(p, m, b, "random", []), "strengths must be a list of at least"),
        (lambda p, m, b: curve_of(p, m, b, "random", 0.5), "strengths must be a list of at least"),
        (lambda p, m, b: curve_of(p, m, b, "random", [0, 2]), r"must be in \[0, 1\], got 2"),
        (lambda p, m, b: curve_of(p, m, b, repeats=0), "repeats must be a whole number"),
        (lambda p, m, b: curve_of(p, m, b, together=0), "together must be a whole number"),
        (lambda p, m, b: curve_of(p, m, []), "there are no batches"),
        (lambda p, m, b: curve_of(p, m, [b[0]]), "batch 0 is"),
        (lambda p, m, b: curve_of(p, m, (b[0], b[1][:3])), r"labels of shape \(3,\)"),
        (lambda p, m, b: curve_of(p, m, (b[0][:0], b[1][:0])), "a batch needs examples"),
        (lambda p, m, b: curve_of(p, m, (b[0], b[1] + 1)), "labels must be 0 to 2"),
        (lambda p, m, b: curve_of(p, m, (b[0], np.ones(40))), "labels must be integers"),
        (
            lambda p, m, b: curve_of({**p, "last": {"kernel": p["last"]["kernel"] * np.nan}}, m, b),
            "27 of 27 weights of 'last/kernel' are not finite",
        ),
        (lambda p, m, b: curve_of(p, {**m, "last": {"kernel": None}, "more": m}, b), "'more/"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*case())


def test_logits_of_another_shape_are_refused():
    params, made, batch = case()

    def flat(params, inputs):
        return apply(params, inputs).ravel()

    with pytest.raises(ValueError, match=r"logits of shape \(40, classes\), got \(120,\)"):
        robustness.curve(jax.random.key(0), flat, params, made, batch, "random", [0.5])


@functools.cache
def trained():
    """A small network with convolutions and batch normalisation, and what classifies with it."""
    model, variables, x, network = narrow_networks.made("resnet8")

    def forward(params, images):
        return model.apply({**variables, "params": params}, images)

    labels = np.argmax(forward(variables["params"], x), axis=1)
    return forward, variables, (x, labels), network


@jax.numpy_dtype_promotion("standard")
def test_masks_of_a_method_that_reads_norms():
    """Those of all other methods: tests/test_registries.py."""
    forward, variables, batch, network = trained()
    params = variables["params"]

    def loss(params, batch):
        logits = forward(params, batch[0])
        logs = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(logs, batch[1][:, None], 1)), logits

    subject = Subject(
        params=params,
        masks=masks_lib.make(params),
        batch=(batch[0], jnp.asarray(batch[1])),
        training_loss=loss,
        softened_loss=loss,
        evaluation_loss=loss,
        network=network,
        batch_stats=variables["batch_stats"],
        key=jax.random.key(1),
    )
    check_attack(forward, params, METHODS["channels_bn_scale"](subject, 0.4), batch)


def test_masks_of_a_plan():
    forward, variables, batch, network = trained()
    plan = channels.measure(network, variables, batch[0]).plan_for(0.4)
    params = variables["params"]
    made = masks_lib.restrict(plan.masks(params), masks_lib.make(params))
    check_attack(forward, params, made, batch, "weight_order")
    found = robustness.curve(jax.random.key(0), forward, params, made, batch, "noise", [0.2])
    assert np.isfinite(found.loss).all()


def test_masks_of_critical_neurons():
    model, variables, x, network = narrow_networks.made("mlp")
    labels = np.argmax(model.apply(variables, x), axis=1)
    scores = channels.critical_neurons(network, variables, x, labels, time_limit=20)
    made = scores.masks(variables["params"], threshold=0.1)
    made = masks_lib.restrict(made, masks_lib.make(variables["params"]))

    def forward(params, images):
        return model.apply({"params": params}, images)

    check_attack(forward, variables["params"], made, (x, labels))
