"""Runs of critical neurons: solve the program on a batch, prune by its scores and by rivals."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dense import Dense, keys
from experiments.protocol import Protocol, protocol_for
from experiments.sources import digest
from experiments.workbench import Tools, Workbench
from prunejax import data, masks, training
from prunejax.channels import (
    ChannelScores,
    at_random,
    best_of_each,
    critical_neurons,
    representations,
)
from prunejax.network import Plan
from solvers import (
    decoupled,
    exact,
    formulation,
    full,
    kelley,
    local_search,
    mask_program,
    paper,
    per_class,
    reduced,
)
from solvers.probes import fit_probe
from solvers.solution import Solution

SOURCES: dict[str, tuple[Callable[..., Any], ...]] = {
    "paper": (paper.solve, reduced.reduce, kelley.minimise),
    "full": (full.solve, formulation.formulate),
    "per_class": (per_class.solve, paper.solve, reduced.reduce, kelley.minimise),
    "exact": (exact.solve, mask_program.build, local_search.improve),
    "decoupled": (decoupled.solve, fit_probe, kelley.minimise),
}
"""Mode -> the functions whose files say what is solved, and how far."""


def source(mode: str) -> str:
    """A digest of the files that say what a mode does."""
    return digest(*SOURCES[mode])


VERSION = 2
"""Part of every run's configuration; raised when what a run does changes."""

RIVALS = ("method", "random", "critical", "inactive")
"""What is pruned: the neurons of low score; as many of each layer at random; as many of the highest
scores; those that are 0 on the whole batch."""

THRESHOLDS = {"mlp": 0.1, "lenet_300_100": 0.1, "mlp_1000x3": 0.1, "lenet5": 0.2}
"""The paper's thresholds on scores; 0.3 for all other networks."""

EXAMPLES = 1000
"""To how many training images probes are fitted."""

FINE_TUNING: dict[str, dict[str, Any]] = {"digits": {"epochs": 5}, "mnist": {"epochs": 2}}
"""How long pruned networks are trained on; two epochs unless told."""

CURVE_IMAGES = 2000
"""On how many test images the curve is drawn."""

SHARES = tuple(round(0.1 * tenth, 1) for tenth in range(10))
"""The pruned shares of the curve."""


def protocols(dataset: str, model: str, *, quick: bool, **given: Any) -> tuple[Protocol, Protocol]:
    """The protocols of training and of fine-tuning."""
    dense = protocol_for(dataset, model, quick=quick, **given)
    tuning = {"learning_rate": 0.01, "epochs": 2, **FINE_TUNING.get(dataset, {})}
    return dense, replace(dense, **(tuning | ({"epochs": 1} if quick else {})))


class Setting(NamedTuple):
    """What a program is made of.

    Attributes:
      batch: which of the batches that a seed draws.
      per_class: images of each class.
      loss_weight: lambda.
      mode: see ``solvers.critical_neurons.solve``.
      threshold: on the scores, or "mean".
      balanced: whether a batch has as many images of each class; otherwise as many in all.
    """

    batch: int
    per_class: int
    loss_weight: float
    mode: str
    threshold: float | str
    balanced: bool = True


class Pruned(NamedTuple):
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


def draw(bench: Workbench, seed: int, setting: Setting) -> tuple[Any, np.ndarray]:
    """A batch of training images: so many of each class, or as many of any.

    Raises:
      ValueError: a class has too few.
    """
    key = jax.random.fold_in(keys(seed).images, setting.batch)
    labels = np.asarray(bench.train.labels)
    order = np.asarray(jax.random.permutation(key, len(labels)))
    classes = np.unique(labels)
    if not setting.balanced:
        indices = np.sort(order[: setting.per_class * len(classes)])
        return bench.prepare(bench.train.images[indices]), labels[indices]
    chosen = []
    for label in classes:
        of_class = order[labels[order] == label][: setting.per_class]
        if len(of_class) < setting.per_class:
            raise ValueError(f"class {label} has {len(of_class)} images, not {setting.per_class}")
        chosen.append(of_class)
    indices = np.sort(np.concatenate(chosen))
    return bench.prepare(bench.train.images[indices]), labels[indices]


def sample(bench: Workbench, seed: int, count: int) -> tuple[Any, np.ndarray]:
    """So many training images of any class, or all there are."""
    order = jax.random.permutation(keys(seed).images, len(bench.train.labels))[:count]
    indices = np.sort(np.asarray(order))
    images = bench.prepare(jnp.asarray(bench.train.images[indices]))
    return images, np.asarray(bench.train.labels)[indices]


def score(
    bench: Workbench,
    dense: Dense,
    batch: tuple[Any, np.ndarray],
    setting: Setting,
    seed: int,
    **settings: Any,
) -> ChannelScores[Solution]:
    """Solves the program; see ``prunejax.channels.critical_neurons``.

    In mode "decoupled" probes are fitted to ``EXAMPLES`` training images.
    """
    examples = sample(bench, seed, EXAMPLES) if setting.mode == "decoupled" else None
    return critical_neurons(
        bench.traced,
        dense.variables,
        *batch,
        loss_weight=setting.loss_weight,
        mode=setting.mode,  # pyright: ignore[reportArgumentType]
        examples=examples,
        seed=seed,
        **settings,
    )


def rival(
    name: str, found: ChannelScores[Solution], setting: Setting, batch: Any, dense: Dense, key: Any
) -> dict[str, np.ndarray]:
    """Which neurons stay, by group."""
    kept = found.keep(setting.threshold)
    if name == "method":
        return kept
    if name == "inactive":
        return _active(found, batch, dense)
    if name == "random":
        return best_of_each(kept, at_random(kept, key))
    return best_of_each(kept, {group: -scores for group, scores in found.scores.items()})


def _active(found: ChannelScores[Solution], batch: Any, dense: Dense) -> dict[str, np.ndarray]:
    """The neurons that are not 0 on every image; one at least stays in every layer."""
    # no mean of what a ReLU puts out is 0 unless all of it is
    outputs = representations(found.network, dense.variables, batch, positions=1)
    kept = {}
    for group in found.scores:
        kept[group] = (outputs[group] != 0).any(axis=(0, 1))
        if not kept[group].any():
            kept[group][0] = True
    return kept


def measure(
    bench: Workbench, tuning: Tools, protocol: Protocol, dense: Dense, plan: Plan, seed: int
) -> tuple[Pruned, bool]:
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
    pruned = Pruned(
        before,
        after["accuracy"],
        gone / neurons,
        1 - plan.cost().parameters / plan.network.cost().parameters,
    )
    return pruned, not training.is_finite(state, history)


def curve(
    bench: Workbench, found: ChannelScores[Solution], dense: Dense, key: Any
) -> dict[str, list[float]]:
    """Accuracy, not fine-tuned, as a share of each layer goes in one of three orders.

    On the first ``CURVE_IMAGES`` test images.
    """
    stats = dense.variables.get("batch_stats", {})
    images = data.Split(*(part[:CURVE_IMAGES] for part in bench.test))
    orders = {
        "method": found.scores,
        "random": at_random(found.scores, key),
        "critical": {group: -scores for group, scores in found.scores.items()},
    }
    result: dict[str, list[float]] = {"share": list(SHARES)}
    for name, worth in orders.items():
        result[name] = []
        for share in SHARES:
            counts = {
                group: np.arange(len(values)) < max(1, len(values) - round(share * len(values)))
                for group, values in worth.items()
            }
            keep = best_of_each(counts, worth)
            made = found.network.plan(keep).masks(dense.variables["params"])
            params = masks.apply(dense.variables["params"], made)
            tested = training.evaluate(bench.tools.eval_step, params, stats, images)
            result[name].append(tested["accuracy"])
    return result


def certificate(found: ChannelScores[Solution], threshold: float | str) -> dict[str, Any]:
    """What the solver says of its answer, as plain data."""
    solution = found.evidence
    return {
        "status": solution.status,
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": solution.gap,
        "bound_scope": solution.bound_scope,
        "loss": solution.loss,
        "whole_loss": solution.problem.loss(),
        "masked_loss": solution.masked_loss(threshold),
        "violation": solution.violation,
        "rows": solution.rows,
        "columns": solution.columns,
        "binaries": solution.binaries,
        "open": solution.open,
        "seconds": solution.seconds,
        "trajectory": [list(moved) for moved in solution.trajectory],
        "scores": {group: scores.tolist() for group, scores in found.scores.items()},
    }


def timed_score(*arguments: Any, **settings: Any) -> tuple[ChannelScores[Solution], float]:
    """``score``, and the seconds it took."""
    started = time.perf_counter()
    found = score(*arguments, **settings)
    return found, time.perf_counter() - started
