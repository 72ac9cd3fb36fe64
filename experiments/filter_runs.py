"""Runs of filter pruning: train a network, prune it once, cut the channels out, fine-tune."""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dense import Dense, accuracy, keys
from experiments.methods import REDUNDANCY
from experiments.protocol import Protocol
from experiments.sources import digest
from experiments.workbench import Workbench
from prunejax import channels, models, network, training
from prunejax.filters import FILTER_CRITERIA
from prunejax.filters.entropy_kcore import Representative

VERSION = 2
"""Part of every run's configuration; raised when what a run does changes."""

OURS = "entropy_kcore"
KCORE: dict[str, Representative] = {OURS: "entropy", "kcore_random": "random", "kcore_l1": "l1"}
"""Methods that select by a threshold -> what represents a redundant set."""

METHODS = (*KCORE, *(name for name in FILTER_CRITERIA if name not in KCORE))
"""All of them keep as many channels of each layer as the first, so that they differ in the choice
alone."""

BATCHES = (1, 256)
"""The batch sizes that latency is measured at."""

TRAINING: dict[str, Protocol] = {
    "digits": Protocol(epochs=20, schedule="quarters"),
    "grey": Protocol(epochs=10, batch_size=128, schedule="quarters"),
    "colour": Protocol(
        epochs=200,
        batch_size=256,
        schedule="quarters",
        augment=True,
        checkpoint_epochs=10,
    ),
}
"""How dense networks are trained; "colour" is Section 4.1 of Yang et al. 2025, with random crops
and flips, which it does not name, and weight decay off biases and normalisation."""

FINE_TUNING: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 7},
    "grey": {"epochs": 3},
    "colour": {"epochs": 70},
}
"""What differs when pruned networks are trained on, beside the rate .01, divided by 10 twice."""


def protocols(
    dataset: str, *, quick: bool, fine_tuning: Mapping[str, Any], **given: Any
) -> tuple[Protocol, Protocol]:
    """The protocols of training and of fine-tuning.

    Args:
      dataset: a name in ``prunejax.data.DATASETS``.
      quick: two epochs each on at most 2,000 examples.
      fine_tuning: fields of the second; None keeps the default.
      **given: fields of the first, of which the second inherits all but epochs, rate and schedule.

    Returns:
      Both.
    """
    kind = dataset if dataset in TRAINING else "colour" if dataset.startswith("cifar") else "grey"
    dense = TRAINING[kind]
    tuned: dict[str, Any] = {"learning_rate": 0.01, "schedule": "sevenths", **FINE_TUNING[kind]}
    if quick:
        dense = replace(dense, epochs=2, limit=None if dataset == "digits" else 2000)
        tuned["epochs"] = 2
    dense = replace(dense, **{name: value for name, value in given.items() if value is not None})
    tuned |= {name: value for name, value in fine_tuning.items() if value is not None}
    return dense, replace(dense, **tuned)


def source(method: str) -> str:
    """A digest of the files that say what a method of ``METHODS`` does."""
    return digest(*REDUNDANCY, FILTER_CRITERIA[method].score, channels.measure)


class Job(NamedTuple):
    """One network to prune.

    Attributes:
      method: a name in ``METHODS``.
      tau: the threshold.
      images: of how many images feature maps are taken.
      rate: the learning rate of fine-tuning.
      curve: whether the network is tested after each epoch, not only after the last.
    """

    method: str
    tau: float
    images: int
    rate: float
    curve: bool = False


class Pruned(NamedTuple):
    """What pruning and fine-tuning gave.

    Attributes:
      plan: which channels stay.
      variables: the sliced network's, fine-tuned.
      metrics: accuracies in [0, 1] and costs.
      history: one row an epoch of fine-tuning.
      seconds: of fine-tuning.
    """

    plan: network.Plan
    variables: dict[str, Any]
    metrics: dict[str, Any]
    history: training.History
    seconds: dict[str, float]


def check_images(bench: Workbench, images: int) -> None:
    """Refuses to take feature maps of more training images than there are.

    Raises:
      ValueError: there are not so many.
    """
    if not 1 <= images <= len(bench.train.labels):
        raise ValueError(
            f"feature maps can be taken of 1 to {len(bench.train.labels)} images, not {images}"
        )


def mapped_images(bench: Workbench, seed: int, images: int) -> Any:
    """The training images that feature maps are taken of, the same for every method."""
    order = np.asarray(jax.random.permutation(keys(seed).images, len(bench.train.labels)))
    return jnp.asarray(bench.prepare(bench.train.images[np.sort(order[:images])]))


class Selection:
    """Plans for one trained network; what it was measured on is recorded once.

    Args:
      bench: the workbench.
      dense: the trained network.
      seed: its seed.
      images: how many images feature maps are taken of.
      group_source: which layer stands for channels that several share.
      delta: by how much the threshold rises towards the last layer.
      round_to: numbers of channels are raised to multiples of it.
    """

    def __init__(
        self,
        bench: Workbench,
        dense: Dense,
        seed: int,
        *,
        images: int,
        group_source: channels.GroupSource,
        delta: float,
        round_to: int | None,
    ) -> None:
        self._bench, self._variables = bench, dense.variables
        self._images = mapped_images(bench, seed, images)
        self._key = keys(seed).method
        self._group_source: channels.GroupSource = group_source
        self._delta, self._round_to = delta, round_to

    @functools.cached_property
    def found(self) -> channels.ChannelScores[channels.Redundancies]:
        """Similarities and entropies of all layers."""
        return channels.measure(
            self._bench.traced, self._variables, self._images, group_source=self._group_source
        )

    def measure(self) -> float:
        """The seconds of recording and measuring, which is done once, compiling included."""
        started = time.perf_counter()
        _ = self.found
        return time.perf_counter() - started

    def thresholds(self, tau: float) -> dict[str, float]:
        """The threshold of each group."""
        return self.found.evidence.thresholds(tau, delta=self._delta)

    def plan(self, method: str, tau: float) -> network.Plan:
        """The plan of a method of ``METHODS`` at a threshold.

        Raises:
          ValueError: the method cannot score a layer, which is named.
        """
        if method == OURS:
            return self.found.plan(tau, delta=self._delta, round_to=self._round_to)
        if method in KCORE:
            ranking = channels.rank_redundant(
                self.found,
                tau,
                representative=KCORE[method],
                key=self._key,
                delta=self._delta,
            )
        else:
            ranking = channels.rank(
                self._bench.traced,
                self._variables,
                self._images,
                criterion=method,
                key=self._key,
                group_source=self._group_source,
            )
        ours = self.plan(OURS, tau).keep
        return ranking.plan({group: int(ours[group].sum()) for group in ranking.scores})


def fine_tune(
    bench: Workbench,
    dense: Dense,
    plan: network.Plan,
    protocol: Protocol,
    seed: int,
    *,
    curve: bool,
    on_epoch: Callable[[training.Progress], None],
) -> Pruned:
    """Cuts the channels out and trains what is left.

    Args:
      bench: the workbench.
      dense: the trained network.
      plan: which channels stay.
      protocol: of fine-tuning.
      seed: determines the order of the data.
      curve: whether to test after each epoch.
      on_epoch: told after each epoch.

    Returns:
      The small network and its numbers.
    """
    model = models.resized(bench.model, plan.by_leaf())
    tools = bench.tools_for(model, protocol)
    variables = plan.slice(dense.variables)
    before = accuracy(tools, variables, bench)

    def test(state: training.TrainState) -> dict[str, float]:
        return training.evaluate(tools.eval_step, state.params, state.batch_stats, bench.test)

    started = time.perf_counter()
    state, history = training.fit(
        training.init_state(
            variables["params"],
            variables.get("batch_stats", {}),
            tools.tx,
            key=keys(seed).tuning,
        ),
        tools.train_step,
        bench.train,
        epochs=protocol.epochs,
        batch_size=protocol.batch_size,
        placement=bench.placement,
        on_epoch=on_epoch,
        evaluate_with=test if curve else None,
    )
    seconds = time.perf_counter() - started
    tuned = {"params": state.params, **training.stats_collection(state.batch_stats)}
    cost, whole = plan.cost("thop"), plan.network.cost("thop")
    return Pruned(
        plan,
        tuned,
        {
            "accuracy_dense": dense.accuracy,
            "accuracy_pruned": before,
            "accuracy": accuracy(tools, tuned, bench),
            "flops_reduction": channels.flops_reduction(plan),
            "parameter_reduction": channels.parameter_reduction(plan),
            "multiply_adds": cost.multiply_adds,
            "parameters": cost.parameters,
            "multiply_adds_dense": whole.multiply_adds,
            "parameters_dense": whole.parameters,
            "channels": {group: int(kept.sum()) for group, kept in plan.keep.items()},
            "diverged": not training.is_finite(state, history),
        },
        history,
        {"fine_tuning": seconds},
    )


def latency(
    bench: Workbench, dense: Dense, plan: network.Plan, *, repeats: int = 15
) -> dict[str, float]:
    """How long a forward pass takes, dense and sliced, in turns.

    Args:
      bench: the workbench.
      dense: the trained network.
      plan: which channels stay.
      repeats: passes of each that are timed.

    Returns:
      Median milliseconds as ``dense_1``, ``sliced_1``, ``dense_256``, ``sliced_256``.
    """
    small = models.resized(bench.model, plan.by_leaf())
    forward = {"dense": jax.jit(bench.model.apply), "sliced": jax.jit(small.apply)}
    variables = {
        "dense": jax.tree.map(jnp.asarray, dense.variables),
        "sliced": plan.slice(dense.variables),
    }
    found = {}
    for batch in BATCHES:
        x = jnp.zeros((batch, *bench.train.images.shape[1:]), jnp.float32)
        seconds: dict[str, list[float]] = {name: [] for name in forward}
        for turn in range(repeats + 2):
            for name, apply_fn in forward.items():
                started = time.perf_counter()
                jax.block_until_ready(apply_fn(variables[name], x))
                if turn > 1:
                    seconds[name].append(time.perf_counter() - started)
        found |= {f"{name}_{batch}": 1e3 * float(np.median(of)) for name, of in seconds.items()}
    return found
