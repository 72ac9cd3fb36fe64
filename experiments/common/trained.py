"""A network from its seed to its test: initialised, pruned or not, trained."""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from experiments.common.bench import Tools, Workbench
from experiments.common.desk import Show
from experiments.common.during import DURING
from experiments.common.methods import Subject, find, settings
from experiments.common.protocol import Protocol
from experiments.common.run import Outcome
from experiments.common.shape import EVERYTHING, Shape
from experiments.common.together import Training, Work, alone
from prunejax import data, training
from prunejax import masks as masks_lib
from prunejax.rewiring import during_training


class Keys(NamedTuple):
    """What a seed stands for in every study: one key per purpose.

    Attributes:
      weights: initial weights.
      training: the order of the data and what is random in training.
      images: which images are scored, mapped or solved.
      method: what is random in a pruning method.
      tuning: the order of the data in fine-tuning.
    """

    weights: PRNGKeyArray
    training: PRNGKeyArray
    images: PRNGKeyArray
    method: PRNGKeyArray
    tuning: PRNGKeyArray


def keys(seed: int) -> Keys:
    """The keys of a seed."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


@dataclasses.dataclass(frozen=True)
class Pruning:
    """How a network is pruned.

    Attributes:
      method: a name in ``NAMES``, or of a criterion from outside.
      sparsity: the fraction of prunable weights removed.
      examples: how many training examples the method may look at.
      shape: what of the network is pruned, in what shape.
    """

    method: str
    sparsity: float
    examples: int
    shape: Shape = EVERYTHING

    def config(self) -> dict[str, Any]:
        """What of it names a record."""
        return {
            "method": self.method,
            "method_settings": settings(self.method),
            "sparsity": self.sparsity,
            "score_examples": self.examples,
            **self.shape.config(),
        }


class Trained(NamedTuple):
    """A network after training.

    Attributes:
      variables: ``params`` and running statistics.
      masks: under which it was trained.
      outcome: what a record says of it.
    """

    variables: PyTree
    masks: PyTree
    outcome: Outcome


def train(
    bench: Workbench,
    seed: int,
    pruning: Pruning | None = None,
    *,
    show: Show = lambda *_: None,
    checkpoints: Path | None = None,
) -> Trained:
    """Initialises, prunes, trains and tests one network, alone; see ``training_of``."""
    return alone(training_of(bench, seed, pruning, show=show, checkpoints=checkpoints))


def training_of(
    bench: Workbench,
    seed: int,
    pruning: Pruning | None = None,
    *,
    show: Show = lambda *_: None,
    checkpoints: Path | None = None,
) -> Work[Trained]:
    """Initialises, prunes, trains and tests one network.

    The seed alone determines initial weights, scored examples, random scores and the order of the
    data, so that methods differ in nothing else.

    Args:
      bench: from ``workbench``.
      seed: the seed.
      pruning: how it is pruned at initialisation, or None.
      show: told (stage, done, of) as it goes on.
      checkpoints: a folder for this run's checkpoints, or None.

    Returns:
      The network. Its metrics: accuracies in [0, 1], counts of weights, names of empty layers.

    Raises:
      ValueError: the method cannot prune this network so far.
    """
    drawn, variables = keys(seed), initial(bench, seed)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    masks, scoring, tools = masks_lib.make(params), 0.0, bench.tools
    rewired = pruning is not None and pruning.method in DURING
    if pruning is not None and rewired:
        tools = bench.tools_during(DURING[pruning.method], pruning.sparsity, drawn.method)
    elif pruning is not None:
        show("scoring", 0, 1)
        masks, scoring = _pruned(bench, pruning, variables, masks, drawn, show, bench.losses)
    state = training.init_state(
        params,
        batch_stats,
        tools.tx,
        key=drawn.training,
        masks=None if pruning is None else masks,
    )
    state, history, trained = yield Training(
        bench,
        state,
        tools,
        bench.protocol,
        lambda progress: show("training", progress.epoch, progress.epochs),
        checkpoints,
    )
    if rewired:
        masks = during_training.masks_of(state.opt_state)
    elif pruning is not None:
        masks = state.masks  # a checkpoint's own, where training went on from one
    seconds = {"scoring": scoring, "training": trained}
    return _tested(bench, state, masks, history, seconds)


def retraining_of(
    bench: Workbench,
    seed: int,
    pruning: Pruning,
    tuning: Protocol,
    variables: dict[str, Any],
    *,
    show: Show = lambda *_: None,
    checkpoints: Path | None = None,
) -> Work[Trained]:
    """Prunes a trained network and trains what is left on, and tests it.

    Args:
      bench: from ``workbench``.
      seed: the network's seed.
      pruning: how it is pruned.
      tuning: the protocol of fine-tuning.
      variables: the network's.
      show: told (stage, done, of) as it goes on.
      checkpoints: a folder for this run's checkpoints, or None.

    Returns:
      The network. Its metrics are those of ``train``, and ``accuracy_pruned``, before fine-tuning.

    Raises:
      ValueError: the method cannot prune this network so far.
    """
    drawn, params = keys(seed), jax.tree.map(jnp.asarray, variables["params"])
    batch_stats = variables.get("batch_stats", {})
    show("scoring", 0, 1)
    masks, scoring = _pruned(
        bench,
        pruning,
        variables,
        masks_lib.make(params),
        drawn,
        show,
        bench.losses_of(batch_stats),
    )
    pruned = {**variables, "params": masks_lib.apply(params, masks)}
    before = accuracy(bench.tools, pruned, bench)
    tools = bench.tools_of(tuning)
    state = training.init_state(params, batch_stats, tools.tx, key=drawn.tuning, masks=masks)
    state, history, trained = yield Training(
        bench,
        state,
        tools,
        tuning,
        lambda progress: show("fine-tuning", progress.epoch, progress.epochs),
        checkpoints,
    )
    seconds = {"scoring": scoring, "training": trained}
    made = _tested(bench, state, state.masks, history, seconds)
    metrics = {**made.outcome.metrics, "accuracy_pruned": before}
    return made._replace(outcome=made.outcome._replace(metrics=metrics))


def _tested(
    bench: Workbench,
    state: training.TrainState,
    masks: PyTree,
    history: training.History,
    seconds: dict[str, float],
) -> Trained:
    """A network after training, with what a record says of it."""
    tested = training.evaluate(bench.tools.eval_step, state.params, state.batch_stats, bench.test)
    weights = sum(mask.size for mask in jax.tree.leaves(masks))
    outcome = Outcome(
        metrics={
            "accuracy": tested["accuracy"],
            "loss": tested["loss"],
            "weights": weights,
            "kept_weights": masks_lib.count(masks),
            "kept_parameters": _kept_parameters(state.params, masks),
            "sparsity": 1 - masks_lib.count(masks) / weights,
            "layer_sparsity": {key: float(v) for key, v in masks_lib.sparsities(masks).items()},
            "empty_layers": masks_lib.empty(masks),
            "diverged": not training.is_finite(state, history, tested),
        },
        history=history,
        seconds=seconds,
    )
    return Trained(
        {"params": state.params, **training.stats_collection(state.batch_stats)},
        masks,
        outcome,
    )


def _pruned(
    bench: Workbench,
    pruning: Pruning,
    variables: PyTree,
    masks: PyTree,
    drawn: Keys,
    show: Show,
    losses: dict[str, Any],
) -> tuple[PyTree, float]:
    """The masks of a method, and the seconds that it took, without compiling."""
    size = min(pruning.examples, len(bench.train.labels))
    images, labels = next(data.batches(bench.train, batch_size=size, key=drawn.images))
    subject = Subject(
        params=variables["params"],
        masks=masks,
        batch=(bench.prepare(images), labels),
        **losses,
        network=bench.traced,
        batch_stats=variables.get("batch_stats", {}),
        key=drawn.method,
        on_round=lambda done, of: show("scoring", done, of),
        shape=pruning.shape,
    )
    method = find(pruning.method)
    if pruning.method not in bench.compiled:  # the first time it is done twice
        method(subject, pruning.sparsity)
        bench.compiled.add(pruning.method)
    started = time.perf_counter()
    masks = jax.block_until_ready(method(subject, pruning.sparsity))
    return masks, time.perf_counter() - started


def _kept_parameters(params: Any, masks: Any) -> int:
    """Parameters left: kept weights, and all that no mask is for (biases, normalisation)."""
    unmasked = sum(leaf.size for leaf in jax.tree.leaves(params)) - sum(
        mask.size for mask in jax.tree.leaves(masks)
    )
    return masks_lib.count(masks) + unmasked


def initial(bench: Workbench, seed: int) -> dict[str, Any]:
    """The variables of a network at initialisation."""
    inputs = jax.ShapeDtypeStruct((1, *bench.train.images.shape[1:]), jnp.float32)
    params, batch_stats = training.init_variables(bench.model, keys(seed).weights, inputs)
    return {"params": params, **training.stats_collection(batch_stats)}


def accuracy(tools: Tools, variables: dict[str, Any], bench: Workbench) -> float:
    """On the test images, in [0, 1]."""
    return training.evaluate(
        tools.eval_step, variables["params"], variables.get("batch_stats", {}), bench.test
    )["accuracy"]
