"""The course of a training: epochs of weight learning, an update of the topology between two."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.common.bench import Setup
from experiments.common.desk import Desk
from prunejax import data, models, rewiring, sparse, training
from prunejax.rewiring import State
from prunejax.sparse import Links

EVALUATED = 1000
"""Test images that are classified together."""

Row = dict[str, float]


class Rules(NamedTuple):
    """How the topology is updated, see ``prunejax.rewiring.evolve``.

    Attributes:
      regrowth: where links grow.
      removal: which links go.
      zeta: the share of links that go.
      annealed: whether zeta falls to 0 along a cosine.
      sweep: whether links of disconnected neurons go too.
      initial: weights of new links.
      fan_in: what these and the first weights are scaled by.
      temperature: of drawing new links by their scores; None takes the best.
      settle_at: a layer of which a larger share comes back at once is left as it is.
    """

    regrowth: str
    removal: str = "magnitude"
    zeta: float = 0.3
    annealed: bool = False
    sweep: bool = True
    initial: str = "kaiming"
    fan_in: str = "inputs"
    temperature: float | None = None
    settle_at: float | None = None


class Tools(NamedTuple):
    """Data and compiled steps for one setup.

    Attributes:
      model: the module.
      tx: the optimiser.
      images: training images, on the device.
      labels: theirs.
      test: batches of test images and labels.
      epoch: ``(params, opt_state, links, images, labels, order) -> (params, opt_state, sums)``.
      measure: ``(variables, images, labels) -> (right answers, summed loss)``.
      gradients: ``(params, links, images, labels) -> gradients`` of all weights, those of links
        that are not there included.
    """

    model: nn.Module
    tx: optax.GradientTransformation
    images: Array
    labels: Array
    test: list[tuple[Array, Array]]
    epoch: Callable[..., Any]
    measure: Callable[..., Any]
    gradients: Callable[..., Any]

    def order(self, key: PRNGKeyArray, batch_size: int) -> Int[Array, "steps batch"]:
        """A random order of the training images, in whole batches."""
        steps = data.batches_per_epoch(len(self.labels), batch_size)
        return jax.random.permutation(key, len(self.labels))[: steps * batch_size].reshape(
            steps, batch_size
        )


def tools_of(setup: Setup, backend: str, desk: Desk) -> Tools:
    """The tools of a setup, from the desk if they are there."""
    return desk.kept("sparse tools", (setup, backend), lambda: _tools(setup, backend))


def variables_of(state: State) -> dict[str, Any]:
    """The variables of the module."""
    return {"params": state.params, "links": state.topology}


def initial(setup: Setup, tools: Tools, key: PRNGKeyArray) -> State:
    """A network at initialisation: random links, random weights."""
    shape = data.DATASETS[setup.dataset].shape
    variables: Any = tools.model.init(key, jnp.zeros((1, *shape), jnp.float32))
    params = variables["params"]
    return State(params, variables["links"], tools.tx.init(params))


def _tools(setup: Setup, backend: str) -> Tools:
    protocol, info = setup.protocol, data.DATASETS[setup.dataset]
    train = data.load(setup.dataset, "train", limit=protocol.limit)
    test = data.load(setup.dataset, "test")
    options = {**dict(setup.options), "backend": backend}
    model: Any = models.build(setup.model, num_classes=info.classes, **options)
    steps = protocol.epochs * data.batches_per_epoch(len(train.labels), protocol.batch_size)
    rate = training.learning_rate(protocol.schedule, protocol.learning_rate, max(steps, 1))
    tx = training.optimizer(
        protocol.optimizer, rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )

    def loss_fn(params: Any, links: Any, images: Array, labels: Array) -> tuple[Array, Array]:
        logits = jnp.asarray(model.apply({"params": params, "links": links}, images))
        losses = training.cross_entropy(logits, labels, label_smoothing=protocol.label_smoothing)
        return jnp.mean(losses), jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.int32)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def epoch(
        params: Any, opt_state: Any, links: Any, images: Array, labels: Array, order: Array
    ) -> tuple[Any, Any, tuple[Array, Array]]:
        def step(carry: Any, chosen: Array) -> tuple[Any, tuple[Array, Array]]:
            params, opt_state = carry
            (loss, right), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
                params, links, images[chosen], labels[chosen]
            )
            updates, opt_state = tx.update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), (loss, right)

        (params, opt_state), (losses, right) = jax.lax.scan(step, (params, opt_state), order)
        return params, opt_state, (jnp.mean(losses), jnp.sum(right))

    @jax.jit
    def measure(variables: Any, images: Array, labels: Array) -> tuple[Array, Array]:
        logits = jnp.asarray(model.apply(variables, images))
        right = jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.int32)
        return right, jnp.sum(training.cross_entropy(logits, labels))

    plain = models.build("mlp", num_classes=info.classes, hidden_widths=model.hidden_widths)

    @jax.jit
    def gradients(params: Any, links: Any, images: Array, labels: Array) -> Any:
        def loss(dense: Any) -> Array:
            logits = jnp.asarray(plain.apply({"params": dense}, images))
            return jnp.mean(training.cross_entropy(logits, labels))

        return jax.grad(loss)(sparse.to_dense(params, links)[0])

    batches = [
        (
            jnp.asarray(test.images[start : start + EVALUATED]),
            jnp.asarray(test.labels[start : start + EVALUATED]),
        )
        for start in range(0, len(test.labels), EVALUATED)
    ]
    images, labels = jnp.asarray(train.images), jnp.asarray(train.labels)
    return Tools(model, tx, images, labels, batches, epoch, measure, gradients)


def tested(tools: Tools, state: State) -> dict[str, float]:
    """Accuracy in [0, 1] and mean loss in nats on the test images."""
    sums = [tools.measure(variables_of(state), *batch) for batch in tools.test]
    right, loss = np.sum(np.asarray(jax.device_get(sums), np.float64), axis=0)
    examples = sum(len(labels) for _, labels in tools.test)
    return {"accuracy": right / examples, "loss": loss / examples}


class Course:
    """A training that can be stopped after any epoch and go on, bit for bit.

    Args:
      setup: the network, its data and its protocol.
      rules: how the topology is updated.
      tools: of the setup.
      training_key: of the order of the data.
      rewiring_key: of the updates.

    Attributes:
      seconds: what training and updates took, compiling aside: seconds of each.
    """

    def __init__(
        self,
        setup: Setup,
        rules: Rules,
        tools: Tools,
        training_key: PRNGKeyArray,
        rewiring_key: PRNGKeyArray,
    ) -> None:
        self._setup, self._rules, self._tools = setup, rules, tools
        self._keys = training_key, rewiring_key
        self._trained = self._compiled = False
        self.seconds: dict[str, list[float]] = {"training": [], "updates": []}

    def epoch(self, state: State, number: int, settled: Any) -> tuple[State, Any, Row]:
        """Learns weights for one epoch, tests, and updates the topology unless it is the last.

        Args:
          state: the network; it is donated.
          number: of the epoch, from 0.
          settled: see ``evolve``; None at first.

        Returns:
          The network, which layers are settled, and the epoch's row of the history.
        """
        tools, protocol = self._tools, self._setup.protocol
        order = tools.order(jax.random.fold_in(self._keys[0], number), protocol.batch_size)
        started = time.perf_counter()
        params, opt_state, (loss, right) = jax.block_until_ready(
            tools.epoch(
                state.params, state.opt_state, state.topology, tools.images, tools.labels, order
            )
        )
        if self._trained:  # the first epoch compiles
            self.seconds["training"].append(time.perf_counter() - started)
        self._trained = True
        state = State(params, state.topology, opt_state)
        after = tested(tools, state)
        row = {
            "epoch": number + 1,
            "loss": float(loss),
            "accuracy": int(right) / order.size,
            "test_loss": after["loss"],
            "test_accuracy": after["accuracy"],
            **shape_of(state),
        }
        if number + 1 < protocol.epochs:
            state, settled, went = self._rewired(state, number, settled)
            row |= went
        return state, settled, row

    def _rewired(self, state: State, number: int, settled: Any) -> tuple[State, Any, Row]:
        rules = self._rules
        zeta = rules.zeta
        if rules.annealed:
            zeta = float(rewiring.cosine(rules.zeta, number, self._setup.protocol.epochs - 1))
        key = jax.random.fold_in(self._keys[1], number)
        tools = self._tools

        def update() -> tuple[State, rewiring.Info]:
            gradients = None
            if rules.regrowth == "gradient":
                images, labels = tools.images[:EVALUATED], tools.labels[:EVALUATED]
                gradients = tools.gradients(state.params, state.topology, images, labels)
            return rewiring.evolve(
                key,
                state,
                zeta=zeta,
                removal=rules.removal,
                regrowth=rules.regrowth,
                gradients=gradients,
                chain=chain_of(state) if rules.sweep else (),
                initial=rules.initial,
                fan_in=rules.fan_in,
                temperature=rules.temperature,
                settle_at=rules.settle_at,
                settled=settled,
            )

        if not self._compiled:
            jax.block_until_ready(update())
            self._compiled = True
        started = time.perf_counter()
        state, info = jax.block_until_ready(update())
        self.seconds["updates"].append(time.perf_counter() - started)
        totals = {name: sum(map(int, of.values())) for name, of in info._asdict().items()}
        went = totals["removed"] + totals["swept"]
        row = {"swept": totals["swept"], "came_back": totals["regrown"] / max(went, 1)}
        return state, info.settled if rules.settle_at is not None else None, row


def layers_of(state: State) -> dict[str, Links]:
    """The sparse layers by their names, in order."""
    found = {layer: leaves["kernel"] for layer, leaves in state.topology.items()}
    return dict(sorted(found.items(), key=lambda item: int(item[0].removeprefix("hidden"))))


def chain_of(state: State) -> tuple[str, ...]:
    """The kernels of the sparse layers, in order."""
    return tuple(f"{layer}/kernel" for layer in layers_of(state))


def shape_of(state: State) -> Row:
    """Active neurons (with links in) and the largest number of links in, by layer."""
    row: Row = {}
    for layer, degrees in in_degrees(state).items():
        row[f"active_{layer}"] = int(np.count_nonzero(degrees))
        row[f"hub_{layer}"] = int(degrees.max())
    return row


def in_degrees(state: State) -> dict[str, Float[np.ndarray, " neurons"]]:
    """How many links lead to each neuron, by layer."""
    return {
        layer: np.bincount(np.asarray(links.targets), minlength=links.shape[1]).astype(float)
        for layer, links in layers_of(state).items()
    }
