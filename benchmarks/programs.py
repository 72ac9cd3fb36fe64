"""The programs of critical neurons: seconds and memory of each, in a process of its own.

Networks are trained first, untimed, always from the same keys, several of each kind: how long a
program takes differs much between networks that differ in nothing but their first weights. The row
of a case is that of the slowest network. Images lie in [0, 1], and a batch is the first training
images of each class. Each program is solved in a fresh process that has imported NumPy and the
solver, but not JAX. "in all" is what a caller waits for: checking the network, "build", "solve",
and recomputing the answer's violation. "MiB before" is the process's peak once its imports and the
network are in memory, "MiB peak" the one at the end, of the largest process where there are
workers. On Linux the kernel is asked for VmHWM, since there ru_maxrss starts a new process at the
peak of the one that started it.

Wanted, of solving: digits MLPs in mode "paper" within 3 s, 784-300-100 and LeNet-5 within 15 s, and
784-300-100 within 30 s for 100 images; one hidden layer of 64 in mode "exact" within 30 s; 512
channels in mode "decoupled" within 2 s for 10 images, 60 s for 100. "512 channels" is the widest
layer of a Conv-6 on digits, behind its ReLU, and a probe of it fitted to all training images, which
is its "build". That program is easy, since such a probe needs nearly all channels; "512 random
channels" puts out random numbers that a random probe tells apart, by some channels better than by
others. Mode "per_class" compares one process with two, which start anew and import what the first
one has imported already: that pays where a class takes tenths of a second, not where it takes
hundredths.
"""

import json
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from solvers import critical_neurons
from solvers.layers import Conv, Dense, Layer, Relu
from solvers.modes import decoupled
from solvers.network import probes
from solvers.settings import Settings

BATCH_SIZE = 64
"""Of training."""


class Network(NamedTuple):
    """What is trained.

    Attributes:
      dataset: a name in ``prunejax.data.DATASETS``.
      model: a name in ``prunejax.models.MODELS``.
      fields: of the model.
      epochs: of training.
      limit: train on so many images; None: on all.
      networks: how many such networks are trained.
    """

    dataset: str
    model: str
    fields: dict[str, Any]
    epochs: int
    limit: int | None = None
    networks: int = 5


NETWORKS = {
    "64-32-16": Network("digits", "mlp", {"hidden_widths": (32, 16)}, 30),
    "64-64-32": Network("digits", "mlp", {"hidden_widths": (64, 32)}, 30),
    "64-64": Network("digits", "mlp", {"hidden_widths": (64,)}, 30),
    "512 channels": Network(
        "digits", "conv6", {"conv_widths": (16, 16, 32, 32, 64, 512)}, 5, networks=1
    ),
    "784-300-100": Network("mnist", "lenet_300_100", {}, 3, 10_000),
    "LeNet-5, average pools": Network("mnist", "lenet5", {"pool": "avg"}, 3, 10_000),
    "LeNet-5, max pools": Network("mnist", "lenet5", {"pool": "max"}, 3, 10_000),
}

RANDOM = "512 random channels"


class Case(NamedTuple):
    """A program.

    Attributes:
      network: a name in ``NETWORKS``, or ``RANDOM``.
      batch: how many images, the same number of each class.
      mode: see ``solvers.critical_neurons.solve``.
      wanted: seconds that solving may take, or None.
      loss_weight: lambda.
      time_limit: seconds after which it ends in any case.
      workers: processes.
    """

    network: str
    batch: int
    mode: critical_neurons.Mode
    wanted: float | None = None
    loss_weight: float = 5.0
    time_limit: float | None = None
    workers: int = 1

    @property
    def name(self) -> str:
        """What it is called."""
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return f"{self.network}, {self.mode}, batch {self.batch}{workers}"


CASES = {
    case.name: case
    for case in (
        *(
            Case(network, batch, "paper", 3)
            for network in ("64-32-16", "64-64-32")
            for batch in (10, 20, 50)
        ),
        *(Case(network, 10, "full", time_limit=60) for network in ("64-32-16", "64-64-32")),
        *(Case("64-64-32", 50, "per_class", workers=workers) for workers in (1, 2)),
        Case("64-64", 10, "exact", 30, time_limit=120),
        Case("512 channels", 10, "decoupled", 2),
        Case("512 channels", 100, "decoupled", 60, loss_weight=30),
        Case("784-300-100", 10, "paper", 15),
        Case("784-300-100", 100, "paper", 30),
        *(Case("784-300-100", 50, "per_class", workers=workers) for workers in (1, 2)),
        Case("LeNet-5, average pools", 10, "paper", 15),
        *(Case("LeNet-5, max pools", batch, "paper", 15, time_limit=30) for batch in (10, 30)),
        Case(RANDOM, 10, "decoupled", 2),
        Case(RANDOM, 100, "decoupled", 60, loss_weight=30),
    )
}


class Images(NamedTuple):
    """Images, [images, height, width, channels], and their labels, [images]."""

    inputs: np.ndarray
    labels: np.ndarray


class Given(NamedTuple):
    """What a program is made of.

    Attributes:
      layers: of the network.
      batch: what its loss is on.
      examples: what a probe is fitted to, in mode "decoupled", where only the widest layer is
        wanted; None: all layers are.
    """

    layers: Sequence[Layer]
    batch: Images
    examples: Images | None = None


class Outcome(NamedTuple):
    """What a program took, and how it ended."""

    build: float
    solve: float
    status: str
    gap: float
    rows: int
    columns: int


def find(name: str) -> Case:
    """The case of a name.

    Raises:
      ValueError: there is none.
    """
    if name not in CASES:
        raise ValueError(f"no case is named {name!r}; there are: {'; '.join(CASES)}")
    return CASES[name]


def trained(network: Network, place: int = 0) -> tuple[Sequence[Layer], Images]:
    """A trained network's layers, and what it was trained on.

    Args:
      network: what is trained.
      place: which of the networks of this kind, from 0 on.

    Raises:
      FileNotFoundError: the data set is not on this machine.
      ValueError: the network did not learn, so that its programs would be other ones.
    """
    # here, so that the processes that solve do without JAX
    import jax
    import jax.numpy as jnp

    from prunejax import data, models, training
    from prunejax import network as networks
    from prunejax.channels import describe

    info = data.DATASETS[network.dataset]
    raw = data.load(network.dataset, normalize=False, limit=network.limit)
    images = Images((raw.images / info.maximum).astype(np.float32), raw.labels)
    model = models.build(network.model, num_classes=info.classes, **network.fields)
    shape = jax.ShapeDtypeStruct((1, *info.shape), jnp.float32)
    params, stats = training.init_variables(model, jax.random.key(2 * place), shape)
    steps = network.epochs * data.batches_per_epoch(len(images.labels), BATCH_SIZE)
    rate = training.learning_rate("cosine", 0.05, steps)
    tx = training.masked(training.optimizer("sgd", rate, momentum=0.9, weight_decay=5e-4))
    state, history = training.fit(
        training.init_state(params, stats, tx, key=jax.random.key(2 * place + 1)),
        training.make_train_step(model, tx),
        data.Split(*images),
        epochs=network.epochs,
        batch_size=BATCH_SIZE,
    )
    if history[-1]["accuracy"] < 0.9:
        raise ValueError(f"{network} has learnt {history[-1]['accuracy']:.0%} of its images only")
    variables = {"params": state.params, **training.stats_collection(state.batch_stats)}
    traced = networks.trace(model.apply, variables, shape)
    return [layer for _, layer in describe(traced, variables)], images


def balanced(images: Images, size: int) -> Images:
    """The first images of each class, so many in all.

    Raises:
      ValueError: the classes cannot have the same number.
    """
    classes = np.unique(images.labels)
    chosen = [np.flatnonzero(images.labels == each)[: size // len(classes)] for each in classes]
    indices = np.sort(np.concatenate(chosen))
    if len(indices) != size:
        raise ValueError(f"{size} images cannot be drawn evenly from {len(classes)} classes")
    return Images(images.inputs[indices], images.labels[indices])


def random_channels(size: int) -> Given:
    """A layer that puts out random numbers, and a read-out that tells the classes apart by them.

    Args:
      size: how many images.

    Returns:
      A network that does nothing to its inputs, [2, 2, 512], before it reads them.
    """
    channels, classes = 512, 10
    random = np.random.default_rng(0)
    kernel = random.normal(size=(4, channels, classes)) / np.sqrt(4 * channels)
    labels = np.arange(size) % classes
    inputs = random.normal(size=(size, 4, channels)) + 2 * kernel.transpose(2, 0, 1)[labels]
    bias = 0.1 * random.normal(size=classes)
    return Given(
        [
            Conv(np.ones((1, 1, 1, channels)), groups=channels, name="channels"),
            Relu(),
            Dense(2 * kernel.reshape(-1, classes), bias),
        ],
        Images(inputs.reshape(size, 2, 2, channels), labels),
    )


def measured(name: str, given: Given) -> dict[str, Any]:
    """The row of a case, solved in this process.

    Args:
      name: a name in ``CASES``.
      given: what the program is made of.

    Returns:
      See ``run``.

    Raises:
      ValueError: there is no such case.
    """
    case = find(name)
    settings = Settings(time_limit=case.time_limit, workers=case.workers)
    settings.solver().package()  # its import is neither building nor solving
    before = peak_mib()
    started = time.perf_counter()
    problem = critical_neurons.Problem(given.layers, *given.batch, loss_weight=case.loss_weight)
    if given.examples is not None:
        outcome = _widest_layer(problem, given.examples, settings)
    else:
        outcome = _whole_network(problem, case.mode, settings)
    seconds = time.perf_counter() - started
    return {
        "case": case.network + (f", {case.workers} workers" if case.workers > 1 else ""),
        "batch": case.batch,
        "mode": case.mode,
        "build s": outcome.build,
        "solve s": outcome.solve,
        "in all s": seconds,
        "wanted s": "-" if case.wanted is None else case.wanted,
        "status": outcome.status,
        "gap": outcome.gap,
        "rows": outcome.rows,
        "columns": outcome.columns,
        "MiB before": before,
        "MiB peak": max(peak_mib(), workers_peak_mib() if case.workers > 1 else 0.0),
    }


def _whole_network(
    problem: critical_neurons.Problem, mode: critical_neurons.Mode, settings: Settings
) -> Outcome:
    solution = critical_neurons.MODES[mode](problem, settings)
    return Outcome(
        solution.seconds["probes" if mode == "decoupled" else "build"],
        solution.seconds["solve"],
        solution.status,
        solution.gap,
        solution.rows,
        solution.columns,
    )


def _widest_layer(
    problem: critical_neurons.Problem, examples: Images, settings: Settings
) -> Outcome:
    started = time.perf_counter()
    gates = problem.chain.gates
    widest = max(range(len(gates)), key=lambda place: gates[place].neurons)
    seen = probes.representations(problem.chain, examples.inputs)[widest]
    probe = probes.fit_probe(seen, examples.labels, problem.chain.classes)
    values = probes.representations(problem.chain, problem.inputs)[widest]
    fitted = time.perf_counter()
    solution = decoupled.decouple(
        values,
        problem.labels,
        probe,
        gates[widest].size,
        problem.loss_weight,
        settings,
        gates[widest].name,
    )
    gap = (solution.objective - solution.bound) / max(1.0, abs(solution.objective))
    solved = sum(solution.seconds)
    return Outcome(fitted - started, solved, solution.status, gap, solution.rows, solution.columns)


def peak_mib() -> float:
    """The most memory that this process has had resident, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return _mib(resource.RUSAGE_SELF)


def workers_peak_mib() -> float:
    """The same for the largest of the processes that this one has started, and that have ended.

    It is at least what this process had when it started them.
    """
    return _mib(resource.RUSAGE_CHILDREN)


def _mib(who: int) -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(who).ru_maxrss / unit


def measured_apart(name: str, given: Given) -> dict[str, Any]:
    """``measured`` in a fresh process.

    Raises:
      CalledProcessError: it failed; what it says is on standard error.
    """
    find(name)
    # not of `multiprocessing`, which would import the main module, and with it JAX
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.programs", name],
        input=pickle.dumps(tuple(given)),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(ended.stdout)


def slowest(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the rows of one case that of the network that took longest, and how many there are."""
    longest = max(rows, key=lambda row: row["solve s"])
    quickest = min(row["solve s"] for row in rows)
    return {**longest, "networks": len(rows), "quickest solve s": quickest}


def run() -> list[dict[str, Any]]:
    """Rows: a case, its seconds and those wanted, how it ended, its size, the process's memory."""
    rows = []
    for name, network in NETWORKS.items():
        try:
            learnt = [trained(network, place) for place in range(network.networks)]
        except FileNotFoundError as error:
            print(f"{name} is left out: {error}\n")
            continue
        for case in CASES.values():
            if case.network != name:
                continue
            measurements = []
            for layers, images in learnt:
                examples = images if case.mode == "decoupled" else None
                given = Given(layers, balanced(images, case.batch), examples)
                measurements.append(measured_apart(case.name, given))
            rows.append(slowest(measurements))
    rows += [
        slowest([measured_apart(case.name, random_channels(case.batch))])
        for case in CASES.values()
        if case.network == RANDOM
    ]
    return rows


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], Given(*pickle.load(sys.stdin.buffer)))))
