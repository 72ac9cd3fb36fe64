"""One convex program a layer: a probe of its representation in the place of the network's rest.

A neuron's score s scales what it puts out, ``a``, so that a linear probe's logits
``probe(s a)`` are linear in the scores, and the objective

``loss_weight mean_b loss_b(probe(s a_b)) + sum_i (s_i - 2) / N_l``

is convex. With as few samples as classes, few neurons can explain them; larger batches need a
larger ``loss_weight``, some 20 to 50 for 100 samples.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from solvers import checks
from solvers.network.probes import Probe, fit_probe, linear_rest, representations
from solvers.programs.affine import AffineProgram, Columns, Vector
from solvers.programs.importance import Importance
from solvers.programs.objective import Objective
from solvers.programs.problem import PruningProblem
from solvers.programs.rows import joined
from solvers.search import cutting_planes, independent
from solvers.settings import Settings
from solvers.solution import Solution


class Decoupled(NamedTuple):
    """What a layer's program gave.

    Attributes:
        scores: [neurons].
        objective: of the scores.
        bound: no scores have a smaller objective with this probe.
        status: "optimal", "time limit" or "interrupted".
        loss: the probe's mean cross-entropy with these scores, nats.
        rows: of the last linear program.
        columns: of it.
        seconds: of building and of solving.
    """

    scores: np.ndarray
    objective: float
    bound: float
    status: str
    loss: float
    rows: int
    columns: int
    seconds: tuple[float, float]


class Representation(NamedTuple):
    """A layer on a batch.

    Attributes:
        name: of the layer.
        activations: behind its ReLU, [batch, positions, neurons].
        size: N_l.
        probe: reads the layer.
    """

    name: str
    activations: np.ndarray
    size: int
    probe: Probe


class Pruned(Protocol):
    """A network and a batch."""

    @property
    def labels(self) -> np.ndarray:
        """[batch]."""
        ...

    @property
    def loss_weight(self) -> float:
        """Lambda."""
        ...

    def loss(self, kept: np.ndarray | None = None) -> float:
        """The mean cross-entropy, nats, with some of all layers' neurons masked."""
        ...


class _Task(NamedTuple):
    """The arguments of ``decouple``."""

    layer: Representation
    labels: np.ndarray
    loss_weight: float


def decouple(
    activations: np.ndarray,
    labels: np.ndarray,
    probe: Probe,
    size: int,
    loss_weight: float,
    settings: Settings,
    name: str = "the layer",
) -> Decoupled:
    """Scores one layer's neurons.

    Args:
        activations: behind the layer's ReLU, [batch, positions, neurons]; a dense layer has one
            position.
        labels: [batch].
        probe: reads the layer.
        size: N_l, units of a dense layer, filters x height x width of a convolution's kernel.
        loss_weight: lambda; it must grow with the batch.
        settings: limits and the solver.
        name: of the layer, for messages.

    Returns:
        The scores, and how far they are certain.

    Raises:
        ValueError: shapes do not fit each other, labels are out of range, or there is NaN.
    """
    started = time.perf_counter()
    _check(activations, labels, probe, name)
    batch, positions, neurons = activations.shape
    classes = len(probe.bias)
    kernel = np.asarray(probe.kernel, np.float64).reshape(positions, neurons, classes)
    matrices = np.einsum("bpn,pnk->bkn", activations, kernel, optimize=True)
    program = AffineProgram(
        [Vector(np.asarray(probe.bias, np.float64), matrix) for matrix in matrices],
        Columns.of_scores(neurons),
        joined([]),
        0,
    )
    importance = Importance(
        np.full((1, neurons), 1 / size), np.array([-2 * neurons / size]), largest=1
    )
    objective = Objective(program, np.asarray(labels), loss_weight, importance)
    built = time.perf_counter()
    minimum = cutting_planes.minimise(
        program,
        objective,
        np.ones(neurons),
        settings.solver(),
        settings.limits(started),
        settings.tell,
    )
    return Decoupled(
        minimum.columns,
        minimum.objective,
        min(minimum.bound, minimum.objective),
        minimum.status,
        float(objective.losses(minimum.columns)[0].mean()),
        minimum.rows,
        neurons + batch + 1,
        (built - started, time.perf_counter() - built),
    )


def solve(
    problem: PruningProblem,
    settings: Settings,
    *,
    probes: Sequence[Probe] | None = None,
    examples: tuple[np.ndarray, np.ndarray] | None = None,
) -> Solution:
    """Scores every layer by a program of its own.

    The last layer's probe is the rest of the network, where that is linear; the others' are fitted.

    Args:
        problem: the network, the batch, and ``loss_weight``, which must grow with the batch.
        settings: limits, which the probes and the layers share, the solver, and how many processes.
        probes: one for each layer; by default they are fitted.
        examples: inputs and labels to fit probes to, better many; by default the batch itself.

    Returns:
        The solution. Objective and bound are sums over the layers, the loss is the probes' mean.

    Raises:
        ValueError: a probe does not fit its layer.
    """
    started = time.perf_counter()
    gates, labels = problem.chain.gates, np.asarray(problem.labels)
    if probes is None:
        inputs, given = (problem.inputs, labels) if examples is None else examples
        checks.batch(inputs, given, problem.chain.classes, "the examples")
        rest = linear_rest(problem.chain)
        seen = representations(problem.chain, np.asarray(inputs))
        fitted = seen if rest is None else seen[:-1]
        probes = [fit_probe(each, given, problem.chain.classes) for each in fitted]
        probes += [] if rest is None else [rest]
    if len(probes) != len(gates):
        raise ValueError(f"there must be {len(gates)} probes, one a layer, got {len(probes)}")
    layers = [
        Representation(gate.name, values, gate.size, probe)
        for values, probe, gate in zip(
            representations(problem.chain, problem.inputs), probes, gates, strict=True
        )
    ]
    prepared = time.perf_counter() - started
    if settings.time_limit is not None:
        settings = dataclasses.replace(
            settings, time_limit=max(settings.time_limit - prepared, 0.0)
        )
    return solve_layers(layers, problem, settings, prepared)


def solve_layers(
    layers: Sequence[Representation], problem: Pruned, settings: Settings, prepared: float = 0.0
) -> Solution:
    """Scores every layer by a program of its own, whatever the network around it.

    ``settings.on_incumbent`` is told the sums over the layers that are solved, as they are.

    Args:
        layers: with what they put out and what reads it.
        problem: what they are layers of.
        settings: limits, which the layers share, the solver, and how many processes.
        prepared: the seconds it took to make the layers.

    Returns:
        The solution. Objective and bound are sums over the layers, the loss is the probes' mean.

    Raises:
        ValueError: a probe does not fit its layer.
    """
    started = time.perf_counter()
    labels = np.asarray(problem.labels)
    tasks = [_Task(layer, labels, problem.loss_weight) for layer in layers]
    answers = independent.solve_each(
        _solve_layer,
        tasks,
        settings,
        lambda solved: settings.tell(time.perf_counter() - started, *_sums(solved)),
    )
    found = answers.results
    objective, bound = _sums(found)
    seconds = time.perf_counter() - started
    scores = [each.scores for each in found]
    return Solution(
        layers=tuple(layer.name for layer in layers),
        scores=tuple(scores),
        status=answers.status,
        objective=objective,
        bound=bound,
        bound_scope="probe",
        loss=float(np.mean([each.loss for each in found])),
        problem=problem,
        violation=max(float(np.maximum(-each, each - 1).max()) for each in scores),
        seconds={"probes": prepared, "solve": seconds},
        rows=sum(each.rows for each in found),
        columns=sum(each.columns for each in found),
        binaries=0,
        open=0,
        programs=len(found),
        trajectory=((seconds, objective, bound),),
    )


def _sums(solved: Sequence[Decoupled]) -> tuple[float, float]:
    return sum(each.objective for each in solved), sum(each.bound for each in solved)


def _solve_layer(task: _Task, settings: Settings) -> Decoupled:
    layer = task.layer
    return decouple(
        layer.activations,
        task.labels,
        layer.probe,
        layer.size,
        task.loss_weight,
        settings,
        layer.name,
    )


def _check(activations: np.ndarray, labels: np.ndarray, probe: Probe, name: str) -> None:
    if activations.ndim != 3 or not activations.size:
        raise ValueError(
            f"activations of {name} must be [batch, positions, neurons], got shape "
            f"{list(activations.shape)}"
        )
    batch, positions, neurons = activations.shape
    classes = len(probe.bias)
    if np.shape(probe.kernel) != (positions * neurons, classes):
        raise ValueError(
            f"the probe of {name} must have a kernel of shape [{positions * neurons}, {classes}] "
            f"for {positions} positions, {neurons} neurons and {classes} classes, got "
            f"{list(np.shape(probe.kernel))}"
        )
    labels = np.asarray(labels)
    if labels.shape != (batch,) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{name} needs {batch} labels from 0 to {classes - 1}")
    for what, values in (("activations", activations), ("probe's kernel", probe.kernel)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {what} of {name} has values that are NaN or infinite")
