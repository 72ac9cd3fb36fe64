"""What is pruned beside the method, and how the pruned networks do."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from experiments.common.bench import Tools, Workbench
from experiments.common.networks import LoadedNetwork
from experiments.common.protocol import Protocol, protocol_for
from experiments.common.trained import keys
from experiments.critical_neurons.program import Program
from prunejax import data, masks, training
from prunejax.channels import ChannelScores, at_random, best_of_each, representations
from prunejax.network import Plan
from solvers.solution import Solution

RIVALS = ("method", "random", "critical", "inactive")
"""What is pruned: the neurons of low score; as many of each layer at random; as many of the highest
scores; those that are 0 on the whole batch."""

FINE_TUNING: dict[str, dict[str, Any]] = {"digits": {"epochs": 5}, "mnist": {"epochs": 2}}
"""How long pruned networks are trained on; two epochs unless told."""

CURVE_IMAGES = 2000
"""On how many test images the curve is measured at most."""

SHARES = tuple(round(0.1 * tenth, 1) for tenth in range(10))
"""The pruned shares of the curve."""


def protocols(dataset: str, model: str, *, quick: bool, **given: Any) -> tuple[Protocol, Protocol]:
    """The protocols of training and of fine-tuning."""
    dense = protocol_for(dataset, model, quick=quick, trained=True, **given)
    tuning = {"learning_rate": 0.01, "epochs": 2, **FINE_TUNING.get(dataset, {})}
    return dense, dataclasses.replace(dense, **(tuning | ({"epochs": 1} if quick else {})))


class Rival(NamedTuple):
    """One rival's network.

    Attributes:
      accuracy: on the test images, in [0, 1].
      fine_tuned: the same after fine-tuning.
      neurons: the share removed.
      parameters: the share removed.
    """

    accuracy: float
    fine_tuned: float
    neurons: float
    parameters: float


def rival(
    name: str,
    scored: ChannelScores[Solution],
    program: Program,
    batch: Any,
    dense: LoadedNetwork,
    key: Any,
) -> dict[str, np.ndarray]:
    """Which neurons stay, by group."""
    kept = scored.keep(program.threshold)
    if name == "method":
        return kept
    if name == "inactive":
        return _active(scored, batch, dense)
    if name == "random":
        return best_of_each(kept, at_random(kept, key))
    return best_of_each(kept, {group: -scores for group, scores in scored.scores.items()})


def _active(
    scored: ChannelScores[Solution], batch: Any, dense: LoadedNetwork
) -> dict[str, np.ndarray]:
    """The neurons that are not 0 on every image; one at least stays in every layer."""
    # no mean of what a ReLU puts out is 0 unless all of it is
    outputs = representations(scored.network, dense.variables, batch, positions=1)
    kept = {}
    for group in scored.scores:
        kept[group] = (outputs[group] != 0).any(axis=(0, 1))
        if not kept[group].any():
            kept[group][0] = True
    return kept


def measure(
    bench: Workbench, tuning: Tools, protocol: Protocol, dense: LoadedNetwork, plan: Plan, seed: int
) -> tuple[Rival, bool]:
    """Masks what a plan removes, tests, trains on, tests again.

    Returns:
      The network's numbers, and whether training diverged.
    """
    made = plan.masks(dense.variables["params"])
    stats = dense.variables.get("batch_stats", {})
    masked = masks.apply(dense.variables["params"], made)
    before = training.evaluate(tuning.eval_step, masked, stats, bench.test)["accuracy"]
    state, history = training.fit(
        training.init_state(
            dense.variables["params"], stats, tuning.tx, key=keys(seed).tuning, masks=made
        ),
        tuning.train_step,
        bench.train,
        epochs=protocol.epochs,
        batch_size=protocol.batch_size,
        placement=bench.placement,
    )
    after = training.evaluate(tuning.eval_step, state.params, state.batch_stats, bench.test)
    neurons = sum(len(stays) for stays in plan.keep.values())
    gone = sum(int((~stays).sum()) for stays in plan.keep.values())
    pruned = Rival(
        before,
        after["accuracy"],
        gone / neurons,
        1 - plan.cost().parameters / plan.network.cost().parameters,
    )
    return pruned, not training.is_finite(state, history)


def curve(
    bench: Workbench, scored: ChannelScores[Solution], dense: LoadedNetwork, key: Any
) -> dict[str, Any]:
    """Accuracy, not fine-tuned, as a share of each layer goes in one of three orders.

    On the first ``CURVE_IMAGES`` test images, or all where there are fewer; "images" says how many.
    """
    stats = dense.variables.get("batch_stats", {})
    images = data.Split(*(part[:CURVE_IMAGES] for part in bench.test))
    orders = {
        "method": scored.scores,
        "random": at_random(scored.scores, key),
        "critical": {group: -scores for group, scores in scored.scores.items()},
    }
    result: dict[str, Any] = {"share": list(SHARES), "images": len(images.labels)}
    for name, worth in orders.items():
        result[name] = []
        for share in SHARES:
            counts = {
                group: np.arange(len(values)) < max(1, len(values) - round(share * len(values)))
                for group, values in worth.items()
            }
            keep = best_of_each(counts, worth)
            made = scored.network.plan(keep).masks(dense.variables["params"])
            params = masks.apply(dense.variables["params"], made)
            tested = training.evaluate(bench.tools.eval_step, params, stats, images)
            result[name].append(tested["accuracy"])
    return result
