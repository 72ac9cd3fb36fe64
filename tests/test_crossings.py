"""Any method's result in any analysis: the table of docs/architecture.md, each cell a test.

One tiny network plays all parts: an MLP and a spiking MLP of the same widths have the same tree, so
that masks found on one are masks of the other.
"""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import (
    channels,
    masks,
    models,
    network,
    pruning,
    rewiring,
    robustness,
    sparse,
    spiking,
    topology,
    training,
)
from prunejax.rewiring import State, during_training

WIDTHS = (8, 6)
pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


@functools.cache
def nets():
    plain = models.build("mlp", num_classes=3, hidden_widths=WIDTHS)
    fires = models.build("spiking_mlp", num_classes=3, hidden_widths=WIDTHS, timesteps=2)
    x = jax.random.uniform(jax.random.key(0), (9, 3, 3, 1))
    params = jax.tree.map(lambda leaf: 1.5 * leaf, plain.init(jax.random.key(1), x)["params"])
    return plain, fires, params, x, jnp.arange(9) % 3


def traced(model):
    _, _, params, x, _ = nets()
    return network.trace(model.apply, {"params": params}, x[:1])


def by_criterion(name):
    plain, _, params, x, labels = nets()
    loss_fn = training.classification_loss(plain, {}, train=name != "synflow")
    return pruning.prune(
        params, masks.make(params), (x, labels), criterion=name, sparsity=0.5, loss_fn=loss_fn,
        key=jax.random.key(0),
    )  # fmt: skip


def while_training(name):
    plain, _, params, x, labels = nets()
    tx = during_training.sparsified(
        training.optimizer("sgd", 0.1, momentum=0.9, weight_decay=0.0), name, sparsity=0.5,
        every=1, end=3, distribution="uniform", key=jax.random.key(0),
    )  # fmt: skip
    state = training.init_state(params, {}, tx, key=jax.random.key(0))
    step = training.make_train_step(plain, tx)
    for _ in range(4):
        state = step(state, (x, labels))
    return during_training.masks_of(state.opt_state)


def grown_by_criticality():
    _, fires, params, x, _ = nets()
    given = traced(fires)
    scores = spiking.criticality(given, {"params": params}, np.asarray(x))
    total = masks.count(masks.make(params))
    return spiking.regenerate(
        jax.random.key(0), State(params, masks.make(params)), total // 2,
        evidence=spiking.of_weights(given, scores, params), head=("classifier/kernel",),
    ).state.topology  # fmt: skip


def evolved():
    _, _, params, _, _ = nets()
    given = by_criterion("random")
    return rewiring.evolve(jax.random.key(0), State(params, given), regrowth="ch3_l3")[0].topology


def of_plan(plan):
    return plan.masks(nets()[2])


def kcore_plan():
    _, fires, params, x, _ = nets()
    given = traced(fires)
    scores = channels.rank(given, {"params": params}, x, criterion="entropy", kinds=("dense",))
    return scores.plan(0.5)


def critical_plan():
    plain, _, params, x, labels = nets()
    found = channels.critical_neurons(
        traced(plain), {"params": params}, np.asarray(x[:3]), np.asarray(labels[:3]), time_limit=20
    )
    return channels.ChannelScores(traced(plain), found.scores).plan(0.5)


def spiking_plan():
    _, fires, params, x, _ = nets()
    given = traced(fires)
    scores = spiking.criticality(given, {"params": params}, np.asarray(x))
    return spiking.of_channels(given, scores).plan(0.5)


PLANS = {
    "entropy of filters": kcore_plan,
    "critical neurons": critical_plan,
    "criticality of channels": spiking_plan,
}
METHODS = {
    "snip": lambda: by_criterion("snip"),
    "synflow": lambda: by_criterion("synflow"),
    "grasp": lambda: by_criterion("grasp"),
    "gradual": lambda: while_training("gradual"),
    "rigl": lambda: while_training("rigl"),
    "ch3_l3": evolved,
    "criticality": grown_by_criticality,
    **{name: functools.partial(lambda make: of_plan(make()), make) for name, make in PLANS.items()},
}


@functools.cache
def found_by(method):
    return METHODS[method]()


def as_graph(made, plan):
    """Sixteen metrics of the graph that the masks are."""
    graph = topology.encode(traced(nets()[0]), _weights(made), nets()[2])
    assert graph.edges == masks.count(_weights(made))
    assert all(np.isfinite(value) for value in topology.measure(graph).values())


def attacked(made, plan):
    """What is left is removed: accuracy ends at that of a constant answer."""
    plain, _, params, x, labels = nets()
    pruned = {"params": masks.apply(params, made)}
    curve = robustness.curve(
        jax.random.key(0), plain.apply, pruned, {"params": _weights(made)}, [(x, labels)],
        "random", (0.0, 1.0),
    )  # fmt: skip
    logits = plain.apply(pruned, x)
    assert np.allclose(curve.accuracy[0], np.mean(np.argmax(np.asarray(logits), -1) == labels))


def rewired(made, plan):
    """Links move on; their number stays."""
    given = _weights(made)
    state, _ = rewiring.evolve(jax.random.key(0), State(nets()[2], given), zeta=0.2)
    assert masks.count(state.topology) == masks.count(given)


def as_links(made, plan):
    """Layers that hold only their links compute the same."""
    _, _, params, _, _ = nets()
    given = _weights(made)
    for layer in ("hidden1", "hidden2"):
        links = sparse.Links.from_mask(given[layer]["kernel"])
        weights = links.gather(params[layer]["kernel"])
        size = params[layer]["kernel"].shape[0]
        inputs = jax.random.normal(jax.random.key(0), (4, size))
        dense = inputs @ (params[layer]["kernel"] * given[layer]["kernel"])
        found = sparse.sparse_linear(weights, links, inputs, "coo")
        np.testing.assert_allclose(found, dense, atol=1e-5)


def in_a_spiking_network(made, plan):
    """Spikes and operations through what the masks leave."""
    _, fires, params, x, _ = nets()
    pruned = {"params": masks.apply(params, made)}
    found = spiking.measure(traced(fires), pruned, np.asarray(x), _weights(made))
    assert found.macs == int(_weights(made)["hidden1"]["kernel"].sum())


def cut_out(made, plan):
    """Sliced is masked, for the network with ReLU and for the spiking one."""
    for model in nets()[:2]:
        _, _, params, x, _ = nets()
        own = traced(model).plan(plan.keep)
        small = own.slice({"params": params})
        expected = model.apply({"params": masks.apply(params, own.masks(params))}, x)
        np.testing.assert_allclose(own.apply_fn(small, x), expected, atol=1e-5)


ANALYSES = {
    "graph": as_graph,
    "attacked": attacked,
    "rewired": rewired,
    "links": as_links,
    "spikes": in_a_spiking_network,
    "cut out": cut_out,
}


def _weights(made):
    """Masks of kernels alone: a plan's biases belong to no link."""
    return {layer: {"kernel": of["kernel"], "bias": None} for layer, of in made.items()}


@pytest.mark.filterwarnings("ignore:the neurons of:UserWarning")
@pytest.mark.parametrize("analysis", ANALYSES)
@pytest.mark.parametrize("method", METHODS)
def test_a_result_of_one_goes_into_the_other(method, analysis):
    if analysis == "cut out" and method not in PLANS:
        pytest.skip("masks of single weights remove no channel")
    plan = PLANS[method]() if method in PLANS else None
    made = found_by(method)
    ANALYSES[analysis](made, plan)


def test_the_table_in_the_docs_is_this_one():
    text = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text()
    table = text[text.index("| result of") :].split("\n\n")[0].splitlines()
    header = [cell.strip() for cell in table[0].split("|")[2:-1]]
    assert header == list(ANALYSES)
    rows = {}
    for line in table[2:]:
        name, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        for method in re.findall(r"`([^`]+)`", name):
            rows[method] = cells
    assert set(rows) == set(METHODS)
    for method, cells in rows.items():
        wanted = ["yes" if name != "cut out" or method in PLANS else "-" for name in ANALYSES]
        assert cells == wanted, method
