"""What happens between epochs: weights are scored, pruned, and some grow again."""

import time
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from experiments.common.bench import Workbench
from prunejax import data, spiking, training
from prunejax.rewiring import State

ENDS = 0.75
"""After this part of the epochs masks stay as they are."""

PASSES = {"gradients": 3, "criticality": 1, None: 0}
"""How many forward passes evidence costs: back-propagation is two more."""

SCORED = 256
"""Images that go through the network at once where neurons are scored."""


class Method(NamedTuple):
    """How a network is pruned while it trains.

    Attributes:
      growth: a name in ``spiking.GROWTH``.
      sparsity: the fraction of weights removed in the end.
      share: r, of the kept weights that grow in an update.
      decayed: whether r falls to 0.
      reading: what criticality is, a name in ``spiking.READINGS``.
    """

    growth: str
    sparsity: float
    share: float
    decayed: bool
    reading: spiking.Reading

    @property
    def needs(self) -> str | None:
        """What its growth looks at."""
        return spiking.GROWTH[self.growth].needs


class Scoring(NamedTuple):
    """What scores weights, compiled once per bench.

    Attributes:
      statistics: of criticality, by its reading.
      gradients: ``(params, batch_stats, images, labels) -> gradients`` of all weights.
    """

    statistics: dict[str, spiking.Statistic]
    gradients: Any


def scoring(bench: Workbench) -> Scoring:
    """Makes what scores the weights of a bench's model."""

    @jax.jit
    def gradients(params: PyTree, batch_stats: PyTree, images: Array, labels: Array) -> PyTree:
        def loss(params: PyTree) -> Array:
            variables = {"params": params, **training.stats_collection(batch_stats)}
            logits = jnp.asarray(bench.model.apply(variables, images, train=False))
            return jnp.mean(training.cross_entropy(logits, labels))

        return jax.grad(loss)(params)

    return Scoring(
        {
            reading: spiking.streaming_criticality(bench.traced, reading)
            for reading in get_args(spiking.Reading)
        },
        gradients,
    )


class Course:
    """The changes of one run, for ``between`` of ``training.fit``.

    Args:
      bench: the model and its data.
      method: how it is pruned; None: not at all, which still measures the time of epochs.
      scored_by: from ``scoring``.
      images_key: draws the images that are scored.
      method_key: draws what is random in growth.

    Attributes:
      seconds: what each epoch and each update took.
    """

    def __init__(
        self,
        bench: Workbench,
        method: Method | None,
        scored_by: Scoring,
        images_key: PRNGKeyArray,
        method_key: PRNGKeyArray,
        tx: Any,
    ) -> None:
        self._bench, self._method, self._scored_by = bench, method, scored_by
        self._key, self._tx = method_key, tx
        self._last = max(1, int(ENDS * bench.protocol.epochs))
        self.seconds: dict[str, list[float]] = {"epochs": [], "updates": []}
        self._since = time.perf_counter()
        size = min(bench.protocol.score_examples, len(bench.train.labels))
        images, labels = next(data.batches(bench.train, batch_size=size, key=images_key))
        self._images, self._labels = jnp.asarray(bench.prepare(images)), jnp.asarray(labels)
        if method is not None:
            self._schedule = spiking.Schedule(
                method.sparsity, self._last, method.share, method.decayed
            )
            self._schedule.check()

    @property
    def scored(self) -> int:
        """How many images each update looks at."""
        return len(self._labels)

    def __call__(self, state: training.TrainState, done: int) -> training.TrainState:
        """After an epoch: an update, unless masks stay as they are from here on."""
        jax.block_until_ready(state.params)
        self.seconds["epochs"].append(time.perf_counter() - self._since)
        if self._method is not None and done <= self._last:
            started = time.perf_counter()
            state = self._updated(state, done)
            jax.block_until_ready(state.params)
            self.seconds["updates"].append(time.perf_counter() - started)
        self._since = time.perf_counter()
        return state

    def _updated(self, state: training.TrainState, update: int) -> training.TrainState:
        method = self._method
        assert method is not None
        weights = sum(int(mask.size) for mask in jax.tree.leaves(state.masks))
        made = spiking.regenerate(
            jax.random.fold_in(self._key, update),
            State(state.params, state.masks, state.opt_state),
            self._schedule.keep(weights, update),
            growth=method.growth,
            share=self._schedule.growth(update),
            evidence=self._evidence(state),
            head=spiking.undriven(self._bench.traced, state.masks),
            tx=self._tx,
        ).state
        return state._replace(params=made.params, masks=made.topology, opt_state=made.opt_state)

    def _evidence(self, state: training.TrainState) -> PyTree | None:
        method = self._method
        assert method is not None
        if method.needs == "gradients":
            return self._scored_by.gradients(
                state.params, state.batch_stats, self._images, self._labels
            )
        if method.needs is None:
            return None
        variables = {"params": state.params, **training.stats_collection(state.batch_stats)}
        statistic = self._scored_by.statistics[method.reading]
        scores = statistic.of(variables, self._images, SCORED)
        return spiking.of_weights(self._bench.traced, scores, state.params)

    def cost(self) -> dict[str, float | None]:
        """What the updates cost, as shares of the training, compiling aside.

        A training step counts as three forward passes, a gradient too, criticality as one. None
        where there were too few updates to leave out those that were compiled.
        """
        # the first ones were compiled
        epochs, updates = (self.seconds[name][2:] for name in ("epochs", "updates"))
        if not updates or not epochs:
            return {"seconds": None, "multiply_adds": None}
        passes = {"gradients": 3, "criticality": 1, None: 0}[
            self._method.needs if self._method else None
        ]
        trained = 3 * len(self._bench.train.labels) * self._bench.protocol.epochs
        return {
            "seconds": self._last
            * float(np.median(updates))
            / (self._bench.protocol.epochs * float(np.median(epochs))),
            "multiply_adds": passes * self.scored * self._last / trained,
        }
