"""One run of a comparison: initialise, prune, train, test."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.methods import METHODS, Subject
from experiments.protocol import DENSE
from experiments.workbench import Workbench
from prunejax import data, training
from prunejax import masks as masks_lib


class Outcome(NamedTuple):
    """What one run gave.

    Attributes:
      metrics: accuracies in [0, 1], counts of weights, names of empty layers.
      history: one row an epoch.
      seconds: of scoring, of training.
      masks: the masks it trained under.
    """

    metrics: dict[str, Any]
    history: training.History
    seconds: dict[str, float]
    masks: Any


def run(
    bench: Workbench,
    method: str,
    sparsity: float,
    seed: int,
    *,
    on_stage: Callable[[str, int, int], None] = lambda *_: None,
    checkpoints: Path | None = None,
) -> Outcome:
    """Initialises, prunes, trains and tests one network.

    The seed alone determines initial weights, scored examples, random scores and the order of
    the data, so that methods differ in nothing else.

    Args:
      bench: from ``workbench``.
      method: a name in ``METHODS``, or "dense".
      sparsity: the fraction of prunable weights removed; 0 for "dense".
      seed: the seed.
      on_stage: told (stage, done, of) as the run goes on.
      checkpoints: a folder for this run's checkpoints.

    Returns:
      The outcome.

    Raises:
      ValueError: the method cannot prune this network so far.
    """
    init_key, batch_key, method_key, train_key = jax.random.split(jax.random.key(seed), 4)
    inputs = jax.ShapeDtypeStruct((1, *bench.train.images.shape[1:]), jnp.float32)
    params, batch_stats = training.init_variables(bench.model, init_key, inputs)
    masks = masks_lib.make(params)

    on_stage("scoring", 0, 1)
    batch_size = min(bench.protocol.score_examples, len(bench.train.labels))
    images, labels = next(data.batches(bench.train, batch_size=batch_size, key=batch_key))
    batch = (bench.prepare(images), labels)
    scoring = 0.0
    if method != DENSE:
        subject = Subject(
            params=params,
            masks=masks,
            batch=batch,
            **bench.losses,
            network=bench.traced,
            batch_stats=batch_stats,
            key=method_key,
            on_round=lambda done, of: on_stage("scoring", done, of),
        )
        if method not in bench.compiled:
            # Scoring is timed without compiling: the first time, it is done twice.
            METHODS[method](subject, sparsity)
            bench.compiled.add(method)
        started = time.perf_counter()
        masks = jax.block_until_ready(METHODS[method](subject, sparsity))
        scoring = time.perf_counter() - started

    state = training.init_state(params, batch_stats, bench.tools.tx, key=train_key, masks=masks)
    started = time.perf_counter()
    state, history = bench.train_network(
        state,
        on_epoch=lambda progress: on_stage("training", progress.epoch, progress.epochs),
        checkpoints=checkpoints,
    )
    trained = time.perf_counter() - started
    masks = state.masks  # those it was trained under, also where it went on from a checkpoint
    tested = training.evaluate(bench.tools.eval_step, state.params, state.batch_stats, bench.test)
    weights = sum(mask.size for mask in jax.tree.leaves(masks))
    return Outcome(
        metrics={
            "accuracy": tested["accuracy"],
            "loss": tested["loss"],
            "weights": weights,
            "kept_weights": masks_lib.count(masks),
            "kept_parameters": _kept_parameters(params, masks),
            "sparsity": 1 - masks_lib.count(masks) / weights,
            "layer_sparsity": {key: float(v) for key, v in masks_lib.sparsities(masks).items()},
            "empty_layers": masks_lib.empty(masks),
            "diverged": not training.is_finite(state, history, tested),
        },
        history=history,
        seconds={"scoring": scoring, "training": trained},
        masks=masks,
    )


def _kept_parameters(params: Any, masks: Any) -> int:
    """Parameters left: kept weights, and all that no mask is for (biases, normalisation)."""
    unmasked = sum(leaf.size for leaf in jax.tree.leaves(params)) - sum(
        mask.size for mask in jax.tree.leaves(masks)
    )
    return masks_lib.count(masks) + unmasked
