"""Cutting channels out, training what is left, and timing it."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import networks
from experiments.common.bench import Workbench
from experiments.common.protocol import Protocol, protocol_for
from experiments.common.protocol import fine_tuning as fine_tuning_of
from experiments.common.trained import accuracy, keys
from prunejax import channels, models, network, training

BATCHES = (1, 256)
"""The batch sizes that latency is measured at."""


def protocols(
    dataset: str, model: str, *, quick: bool, fine_tuning: Mapping[str, Any], **given: Any
) -> tuple[Protocol, Protocol]:
    """The protocols of training and of fine-tuning.

    Args:
      dataset: a name in ``prunejax.data.DATASETS``.
      model: a name in ``prunejax.models.MODELS``.
      quick: a few epochs each on at most 2,000 examples.
      fine_tuning: fields of the second; None keeps the default.
      **given: fields of the first, of which the second inherits all but epochs, rate and schedule.

    Returns:
      Both.
    """
    dense = protocol_for(dataset, model, quick=quick, trained=True, **given)
    return dense, fine_tuning_of(dataset, dense, quick=quick, **fine_tuning)


class FineTuned(NamedTuple):
    """A small network after fine-tuning.

    Attributes:
      variables: its own.
      metrics: accuracies in [0, 1] and costs.
      history: one row per epoch of fine-tuning.
      seconds: of fine-tuning.
    """

    variables: dict[str, Any]
    metrics: dict[str, Any]
    history: training.History
    seconds: float


def fine_tune(
    bench: Workbench,
    dense: networks.LoadedNetwork,
    plan: network.Plan,
    protocol: Protocol,
    seed: int,
    *,
    curve: bool,
    on_epoch: Callable[[training.Progress], None],
) -> FineTuned:
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
    return FineTuned(
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
        seconds,
    )


def latency(
    bench: Workbench, dense: networks.LoadedNetwork, plan: network.Plan, *, repeats: int = 15
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
    milliseconds = {}
    for batch in BATCHES:
        x = jnp.zeros((batch, *bench.train.images.shape[1:]), jnp.float32)
        seconds: dict[str, list[float]] = {name: [] for name in forward}
        for turn in range(repeats + 2):
            for name, apply_fn in forward.items():
                started = time.perf_counter()
                jax.block_until_ready(apply_fn(variables[name], x))
                if turn > 1:
                    seconds[name].append(time.perf_counter() - started)
        medians = {name: 1e3 * float(np.median(taken)) for name, taken in seconds.items()}
        milliseconds |= {f"{name}_{batch}": median for name, median in medians.items()}
    return milliseconds
