"""The program of a run: its batch, its settings, its solution and what that certifies."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.bench import Workbench
from experiments.common.networks import LoadedNetwork
from experiments.common.sources import digest
from experiments.common.trained import keys
from prunejax.channels import ChannelScores, critical_neurons, representations
from solvers.modes import decoupled, exact, full, paper, per_class
from solvers.network.probes import fit_probe
from solvers.programs import explicit, masked, probed, reduced
from solvers.search import cutting_planes, local_search, masks
from solvers.solution import Solution

SOURCES: dict[str, tuple[Callable[..., Any], ...]] = {
    "paper": (paper.solve, reduced.reduce, cutting_planes.minimise),
    "full": (full.solve, explicit.formulate),
    "per_class": (per_class.solve, paper.solve, reduced.reduce, cutting_planes.minimise),
    "exact": (exact.solve, masked.build, local_search.improve, masks.Evaluator),
    "decoupled": (
        decoupled.solve,
        representations,
        fit_probe,
        probed.build,
        cutting_planes.minimise,
    ),
}
"""Mode -> the functions whose files say what is solved, and how far."""


def source(mode: str) -> str:
    """A digest of the files that say what a mode does."""
    return digest(*SOURCES[mode])


THRESHOLDS = {"mlp": 0.1, "lenet_300_100": 0.1, "mlp_1000x3": 0.1, "lenet5": 0.2}
"""The paper's thresholds on scores; 0.3 for all other networks."""

EXAMPLES = 1000
"""To how many training images probes are fitted."""


class Program(NamedTuple):
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


def check_images(bench: Workbench, program: Program) -> None:
    """Refuses a batch of more images than there are.

    Raises:
      ValueError: a class has too few.
    """
    for label, count in zip(*np.unique(bench.train.labels, return_counts=True), strict=True):
        if count < program.per_class:
            raise ValueError(f"class {label} has {count} images, not {program.per_class}")


def draw(bench: Workbench, seed: int, program: Program) -> tuple[Any, np.ndarray]:
    """A batch of training images: so many of each class, or as many of any.

    Raises:
      ValueError: a class has too few.
    """
    check_images(bench, program)
    key = jax.random.fold_in(keys(seed).images, program.batch)
    labels = np.asarray(bench.train.labels)
    order = np.asarray(jax.random.permutation(key, len(labels)))
    classes = np.unique(labels)
    if not program.balanced:
        indices = np.sort(order[: program.per_class * len(classes)])
        return bench.prepare(bench.train.images[indices]), labels[indices]
    chosen = [order[labels[order] == label][: program.per_class] for label in classes]
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
    dense: LoadedNetwork,
    batch: tuple[Any, np.ndarray],
    program: Program,
    seed: int,
    **settings: Any,
) -> ChannelScores[Solution]:
    """Solves the program; see ``prunejax.channels.critical_neurons``.

    In mode "decoupled" probes are fitted to ``EXAMPLES`` training images.
    """
    examples = sample(bench, seed, EXAMPLES) if program.mode == "decoupled" else None
    return critical_neurons(
        bench.traced,
        dense.variables,
        *batch,
        loss_weight=program.loss_weight,
        mode=program.mode,  # pyright: ignore[reportArgumentType]
        examples=examples,
        seed=seed,
        **settings,
    )


def timed_score(*arguments: Any, **settings: Any) -> tuple[ChannelScores[Solution], float]:
    """``score``, and the seconds it took."""
    started = time.perf_counter()
    scored = score(*arguments, **settings)
    return scored, time.perf_counter() - started


def certificate(scored: ChannelScores[Solution], threshold: float | str) -> dict[str, Any]:
    """What the solver says of its answer, as plain data."""
    solution = scored.evidence
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
        "scores": {group: scores.tolist() for group, scores in scored.scores.items()},
    }
