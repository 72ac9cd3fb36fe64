"""Mode "decoupled": one convex program per layer, with a linear probe in the place of the rest.

A neuron's score s multiplies its output ``a``. So the logits of a linear probe, ``probe(s a)``, are
linear in the scores, and the objective of a layer is convex:

``loss_weight mean_b loss_b(probe(s a_b)) + sum_i (s_i - 2) / N_l``

A few neurons can explain a batch of one sample per class. Larger batches need a larger
``loss_weight``, about 20 to 50 for 100 samples.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from solvers import checks
from solvers.network.probes import Probe, fit_probe, linear_rest, representations
from solvers.programs import probed
from solvers.programs.problem import PruningProblem
from solvers.search import cutting_planes, independent
from solvers.settings import Settings
from solvers.solution import Solution


class Decoupled(NamedTuple):
    """The answer of one layer's program.

    Attributes:
      scores: in [0, 1], [neurons].
      objective: of the scores.
      bound: no scores have a smaller objective with this probe.
      status: as in ``Solution``.
      loss: the probe's mean cross-entropy with these scores, in nats.
      rows: how many rows the last linear program had.
      columns: how many columns it had.
      seconds: the time for building and the time for solving.
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
    """What a layer puts out for a batch, and the probe that reads it.

    Attributes:
      name: of the layer.
      activations: behind its ReLU, [batch, positions, neurons].
      size: N_l, units of a dense layer, filters x height x width of a convolution's kernel.
      probe: reads the layer.
    """

    name: str
    activations: np.ndarray
    size: int
    probe: Probe


class NetworkOnBatch(Protocol):
    """A network and a batch, such as a ``PruningProblem``."""

    @property
    def labels(self) -> np.ndarray:
        """Integers, [batch]."""
        ...

    @property
    def loss_weight(self) -> float:
        """Lambda."""
        ...

    def loss(self, kept: np.ndarray | None = None) -> float:
        """The mean cross-entropy of the batch, in nats.

        Args:
          kept: 1 for neurons that stay, 0 for others, [neurons of all layers]; None: all stay.
        """
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
    """Scores the neurons of one layer.

    Args:
      activations: behind the layer's ReLU, [batch, positions, neurons]; a dense layer has one
        position.
      labels: [batch].
      probe: reads the layer.
      size: N_l, units of a dense layer, filters x height x width of a convolution's kernel.
      loss_weight: lambda; it must grow with the batch.
      settings: limits and the solver.
      name: of the layer, in messages.

    Returns:
      The scores, and how far they are certain.

    Raises:
      ValueError: shapes do not fit each other, labels are out of range, or there is NaN.
      ImportError: the solver is not installed.
    """
    started = time.perf_counter()
    program, objective = probed.build(activations, labels, probe, size, loss_weight, name)
    built = time.perf_counter()
    minimum = cutting_planes.minimise(
        program,
        objective,
        np.array(program.columns.start),
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
        len(program.columns.lower) + len(labels) + 1,
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

    The probe of the last layer is the rest of the network, if that is linear. Other probes are
    fitted.

    Args:
      problem: the network, the batch, and ``loss_weight``, which must grow with the batch.
      settings: limits, which the probes and the layers share, the solver, and how many processes.
      probes: one per gated layer; None: they are fitted.
      examples: inputs and labels to fit probes to; more are better. None: the batch itself.

    Returns:
      The solution. Objective and bound are sums over the layers; the loss is the mean over the
      probes.

    Raises:
      ValueError: a probe does not fit its layer, or an example is not valid.
      ImportError: the solver is not installed.
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
        raise ValueError(f"there must be {len(gates)} probes, one per layer, got {len(probes)}")
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
    layers: Sequence[Representation],
    problem: NetworkOnBatch,
    settings: Settings,
    prepared: float = 0.0,
) -> Solution:
    """Scores every layer by a program of its own, whatever the network around it.

    ``settings.on_incumbent`` is called with the sums over the layers that are solved so far.

    Args:
      layers: their outputs and the probes that read them.
      problem: the network that they are layers of, and the batch.
      settings: limits, which the layers share, the solver, and how many processes.
      prepared: how many seconds it took to make the layers.

    Returns:
      The solution. Objective and bound are sums over the layers; the loss is the mean over the
      probes.

    Raises:
      ValueError: a probe does not fit its layer.
      ImportError: the solver is not installed.
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
    solved = answers.results
    objective, bound = _sums(solved)
    seconds = time.perf_counter() - started
    scores = [each.scores for each in solved]
    return Solution(
        layers=tuple(layer.name for layer in layers),
        scores=tuple(scores),
        status=answers.status,
        objective=objective,
        bound=bound,
        bound_scope="probe",
        loss=float(np.mean([each.loss for each in solved])),
        problem=problem,
        violation=max(float(np.maximum(-each, each - 1).max()) for each in scores),
        seconds={"probes": prepared, "solve": seconds},
        rows=sum(each.rows for each in solved),
        columns=sum(each.columns for each in solved),
        binaries=0,
        open=0,
        programs=len(solved),
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
