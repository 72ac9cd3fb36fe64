"""Sub-networks of critical neurons, trained from the beginning: on other data, or another start."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from experiments.dense import initial, keys
from experiments.neuron_runs import sample
from experiments.neuron_studies import Retraining
from experiments.workbench import Workbench
from prunejax import masks as masks_lib
from prunejax import pruning, training
from prunejax.channels import at_random, best_of_each, keep_above, sum_weights
from prunejax.criteria import snip

OTHER = 1000
"""Seeds of other initial weights are so much higher."""


class Retrained(NamedTuple):
    """A sub-network after training.

    Attributes:
      accuracy: on the target's test images, in [0, 1].
      neurons: the share removed.
      parameters: the share removed.
    """

    accuracy: float
    neurons: float
    parameters: float


def retrain(
    bench: Workbench, run: Retraining, scores: Mapping[str, np.ndarray], on_epoch: Any
) -> tuple[Retrained, bool]:
    """Trains a sub-network on a target's data from initial weights.

    Args:
      bench: the target's; its network has the groups that were scored.
      run: which sub-network, from where.
      scores: of the solved program, by group.
      on_epoch: told after each epoch, see ``training.fit``.

    Returns:
      How it does, and whether training diverged.

    Raises:
      ValueError: the target's network has other neurons.
    """
    widths = {group.name: group.width for group in bench.traced.groups.values()}
    if widths != {group: len(each) for group, each in scores.items()}:
        raise ValueError(
            f"the network has other neurons on {run.target}: {_shown(widths)}, not "
            f"{_shown({group: len(each) for group, each in scores.items()})}"
        )
    seed = run.solved.seed
    variables = initial(bench, seed + OTHER if run.start == "new" else seed)
    params, stats = variables["params"], variables.get("batch_stats", {})
    kept = keep_above(scores, run.solved.setting.threshold)
    made = _masks(bench, run, variables, kept)
    state, history = bench.train_network(
        training.init_state(params, stats, bench.tools.tx, key=keys(seed).training, masks=made),
        on_epoch=on_epoch,
        checkpoints=None,
    )
    tested = training.evaluate(bench.tools.eval_step, state.params, state.batch_stats, bench.test)
    by_neuron = run.subnetwork not in ("whole", "snip_weights")
    gone = sum(int((~stays).sum()) for stays in kept.values()) if by_neuron else 0
    found = Retrained(tested["accuracy"], gone / sum(widths.values()), removed(params, made))
    return found, not training.is_finite(state, history)


def removed(params: PyTree, made: PyTree | None) -> float:
    """The share of all parameters that masks remove."""
    if made is None:
        return 0.0
    gone = sum(int((~np.asarray(mask)).sum()) for mask in jax.tree.leaves(made))
    return gone / sum(leaf.size for leaf in jax.tree.leaves(params))


def _masks(
    bench: Workbench, run: Retraining, variables: dict[str, Any], kept: dict[str, np.ndarray]
) -> PyTree | None:
    """The masks of a sub-network."""
    params = variables["params"]
    if run.subnetwork == "whole":
        return None
    by_method = bench.traced.plan(kept).masks(params)
    if run.subnetwork == "method":
        return by_method
    if run.subnetwork == "random":
        drawn = at_random(kept, keys(run.solved.seed).method)
        return bench.traced.plan(best_of_each(kept, drawn)).masks(params)
    images, labels = sample(bench, run.solved.seed, bench.protocol.score_examples)
    batch = images, jnp.asarray(labels)
    loss, prunable = bench.losses["training_loss"], masks_lib.make(params)
    if run.subnetwork == "snip_neurons":
        sensitivity = snip(params, prunable, batch, loss_fn=loss, key=None)
        worth = sum_weights(bench.traced, sensitivity, kept).scores
        return bench.traced.plan(best_of_each(kept, worth)).masks(params)
    of_weights = masks_lib.restrict(by_method, prunable)
    return pruning.prune(
        params,
        prunable,
        batch,
        criterion="snip",
        sparsity=float(masks_lib.sparsity(of_weights)),
        loss_fn=loss,
        key=keys(run.solved.seed).method,
    )


def _shown(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{group} {width}" for group, width in widths.items())
