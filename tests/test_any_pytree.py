"""The README's program, and the same ten lines for nnx, Equinox and a bare dict."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from prunejax import allocation, criteria, data, masks, pruning, training

README = Path(__file__).parents[1] / "README.md"


pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


def test_the_readmes_program(capsys):
    program = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    names = {}
    exec(program, names)
    said = re.fullmatch(r"90\.0% pruned, loss (\d\.\d\d)\n", capsys.readouterr().out)
    assert float(said.group(1)) < 0.5  # 2.3 before training
    kernel = np.asarray(names["params"]["layers_1"]["kernel"])
    mask = np.asarray(names["made"]["layers_1"]["kernel"])
    assert (kernel[~mask] == 0).all()
    assert (kernel[mask] != 0).all()


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def bare_dict():
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "first": {"w": jax.random.normal(keys[0], (64, 50)) / 8, "b": jnp.zeros(50)},
        "last": {"w": jax.random.normal(keys[1], (50, 10)) / 7, "b": jnp.zeros(10)},
    }

    def forward(params, images):
        hidden = images.reshape(len(images), -1) @ params["first"]["w"] + params["first"]["b"]
        return jax.nn.relu(hidden) @ params["last"]["w"] + params["last"]["b"]

    return params, forward


def flax_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(64, 50, rngs=rngs)
            self.last = nnx.Linear(50, 10, rngs=rngs)

        def __call__(self, images):
            return self.last(nnx.relu(self.first(images.reshape(len(images), -1))))

    graph, state = nnx.split(Net(nnx.Rngs(0)))

    def forward(params, images):
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(images)

    return nnx.to_pure_dict(state), forward


def equinox():
    model = eqx.nn.MLP(64, 10, 50, 1, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def forward(params, images):
        return jax.vmap(eqx.combine(params, static))(images.reshape(len(images), -1))

    return params, forward


@pytest.mark.parametrize(
    "criterion, network",
    [
        pytest.param(
            criterion,
            network,
            # second derivatives are compiled once more for each kind of tree
            marks=pytest.mark.slow
            if criterion in ("grasp", "prospr") and network is not equinox
            else (),
        )
        for criterion in sorted(criteria.CRITERIA)
        for network in (bare_dict, flax_nnx, equinox)
    ],
)
def test_score_allocate_and_train(network, criterion):
    params, forward = network()
    images, labels = (leaf[:500] for leaf in data.load("digits"))

    def loss_fn(params, batch):
        logits = forward(params, batch[0])
        return cross_entropy(logits, batch[1]), logits

    made = pruning.prune(
        params, masks.make(params), (images, labels), criterion=criterion, sparsity=0.7,
        loss_fn=loss_fn, key=jax.random.key(0), rounds=2,
    )  # fmt: skip
    assert masks.count(made) == 3700 - round(0.7 * 3700)
    tx = training.masked(optax.adam(3e-3))
    params = masks.apply(params, made)
    state, start = tx.init(params), loss_fn(params, (images, labels))[0]

    @jax.jit
    def step(params, state, made):
        gradients = jax.grad(lambda p: loss_fn(p, (images, labels))[0])(params)
        updates, state = tx.update(gradients, state, params, masks=made)
        return optax.apply_updates(params, updates), state

    for _ in range(100):
        params, state = step(params, state, made)
    assert loss_fn(params, (images, labels))[0] < 0.7 * start
    named = dict(zip(masks.sparsities(made), jax.tree.leaves(made), strict=True))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if (mask := named.get(masks.name(path))) is not None:
            assert (np.asarray(leaf)[~np.asarray(mask)] == 0).all()


def test_allocation_of_an_equinox_tree_keeps_its_class():
    params, _ = equinox()
    scores = criteria.magnitude(params, masks.make(params), None, loss_fn=None, key=None)
    made = allocation.allocate(scores, 0.5)
    assert isinstance(made, eqx.nn.MLP)
    assert made.layers[0].bias is None
