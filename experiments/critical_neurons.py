"""Critical neurons (ElAraby et al. 2023): solve a program on a batch, prune by its scores, compare.

    python -m experiments.critical_neurons          an MLP on digits, about a minute
    python -m experiments.critical_neurons --quick  less of it, to see that everything works
    python -m experiments.critical_neurons --dataset mnist --model lenet_300_100
    python -m experiments.critical_neurons --study lambda per-class balance initialisation
    python -m experiments.critical_neurons --dataset mnist --model lenet5 --study transfer
    python -m experiments.critical_neurons --dataset cifar10 --model conv6 --mode decoupled

Each trained network is kept, each solved program is one JSON record, and none is done twice: stop
with Ctrl-C, start again with the same command, and it goes on.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro
from rich.console import Console

from experiments import (
    claims,
    neuron_report,
    neuron_retraining,
    neuron_runs,
    neuron_studies,
    results,
    shell,
)
from experiments.dense import DenseNetworks, initial, keys
from experiments.engine import Engine, Show, Stopped, check_redo, is_asked_again
from experiments.neuron_runs import RIVALS, Setting
from experiments.neuron_studies import Retraining, Run, Solving, Study
from experiments.outputs import DEFAULT, Format, Outputs
from experiments.protocol import Protocol, check_protocol, recorded
from experiments.workbench import Workbench, workbench
from prunejax import data, models
from prunejax.channels import describe
from solvers import checks
from solvers.critical_neurons import MODES
from solvers.settings import Settings

if TYPE_CHECKING:
    from typing import TypeAlias

    DatasetName: TypeAlias = str
    ModelName: TypeAlias = str
    ModeName: TypeAlias = str
else:
    DatasetName = tyro.extras.literal_type_from_choices(data.DATASETS)
    ModelName = tyro.extras.literal_type_from_choices(models.MODELS)
    ModeName = tyro.extras.literal_type_from_choices(MODES)

EXPERIMENT = "critical_neurons"
OF_SOLVER = ("time_limit", "gap", "memory_mb", "max_prune", "workers", "backend")
"""Settings that go to the solver as they are."""

ASIDE = ("results", "quick", "workers", "redo", "formats")
"""Settings that change no table."""

NEEDS = {"solved": neuron_report.NEEDS, "retrained": ("accuracy", "parameters")}


@dataclass(frozen=True)
class CriticalNeurons:
    """What to solve; settings left out are the data set's defaults.

    Attributes:
      dataset: the data; "digits" needs no download, the others are read from TFDS_DATA_DIR.
      model: the network, a chain of dense layers, convolutions, ReLUs and pools; any in mode
        "decoupled".
      study: "table": the rivals, over seeds and batches; "batch-robustness": 25 batches of one
        network; "lambda": the loss's weight from 1 to 24; "per-class": a program a class against
        one of all classes; "balance": batches of any classes against balanced ones; "transfer":
        the sub-network trained from the beginning on other data; "initialisation": the same on its
        own data, from other initial weights and from its own.
      mode: how the program is solved: "paper" in seconds; "full" the same with all variables, for
        small networks; "per_class"; "exact" all masks, with --time-limit beyond some 64 neurons;
        "decoupled" a program a layer, for networks that one program cannot hold.
      target: the data of "transfer"; by default Fashion-MNIST for MNIST and the other way round,
        and its own data for others.
      seeds: how many seeds: 0, 1, ...
      batches: how many batches of each seed's network.
      per_class: images of each class in a batch.
      loss_weight: lambda; it must grow with the batch.
      threshold: neurons whose score is below it are pruned, or "mean", each layer's own; by default
        the paper's for the model.
      time_limit: seconds a program may take, after which its best answer counts; None: as long as
        it needs.
      max_prune: for "exact": the largest share of a layer's neurons that may be pruned.
      gap: the relative gap that counts as solved.
      backend: the solver.
      memory_mb: a limit for the solver's memory.
      workers: processes for programs that are independent of each other ("per_class", "decoupled").
      epochs: of training; None: the data set's own number.
      limit: train on so many images only.
      quick: three epochs of training, one seed, one batch, three batches for their robustness.
      redo: solve again though it is recorded: "all", or programs of these modes.
      formats: of tables (csv, md, tex) and figures (png, pdf).
      results: where records, tables and figures go.
    """

    dataset: DatasetName = "digits"
    model: ModelName = "mlp"
    study: tuple[Study, ...] = ("table",)
    mode: ModeName = "paper"
    target: DatasetName | None = None
    seeds: int = 3
    batches: int = 3
    per_class: int = 1
    loss_weight: float = 5.0
    threshold: float | Literal["mean"] | None = None
    time_limit: float | None = None
    max_prune: float | None = None
    gap: float = 1e-4
    backend: Literal["scip", "highs"] = "scip"
    memory_mb: float | None = None
    workers: int = 1
    epochs: int | None = None
    limit: int | None = None
    quick: bool = False
    redo: tuple[str, ...] = ()
    formats: tuple[Format, ...] = DEFAULT
    results: Path = Path("results")

    def setting(self) -> Setting:
        """The program of the first batch."""
        threshold = self.threshold
        if threshold is None:
            threshold = neuron_runs.THRESHOLDS.get(self.model, 0.3)
        return Setting(0, self.per_class, self.loss_weight, self.mode, threshold)

    def protocols(self, dataset: str | None = None) -> tuple[Protocol, Protocol]:
        """The protocols of training and of fine-tuning, on this data set or another."""
        return neuron_runs.protocols(
            self.dataset if dataset is None else dataset,
            self.model,
            quick=self.quick,
            epochs=self.epochs,
            limit=self.limit,
        )

    def runs(self) -> dict[Study, list[Run]]:
        """The runs of the studies asked for."""
        of_all = neuron_studies.runs(
            self.dataset,
            self.target,
            self.setting(),
            seeds=self.seeds,
            batches=self.batches,
            many=3 if self.quick else neuron_studies.BATCHES,
        )
        return {study: of_all[study] for study in self.study}


def check(config: CriticalNeurons) -> None:
    """Refuses what no run could do, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for name in ("seeds", "batches", "per_class", "epochs", "limit"):
        given = getattr(config, name)
        if given is not None and given < 1:
            raise ValueError(f"{name} must be at least 1, got {given}")
    if not config.study:
        raise ValueError("name at least one study")
    checks.positive(config.loss_weight, "loss_weight")
    Settings(**{name: getattr(config, name) for name in OF_SOLVER})
    for protocol in config.protocols():
        check_protocol(protocol)
    check_redo(config.redo, sorted({one.setting.mode for one in solved_by(config)}))
    if isinstance(config.threshold, float) and not 0 <= config.threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1], where scores are, got {config.threshold}")
    modes = {one.setting.mode for one in solved_by(config)}
    if config.max_prune is not None and modes != {"exact"}:
        raise ValueError(f"max_prune is for mode 'exact' alone, not {', '.join(sorted(modes))}")


def solved_by(config: CriticalNeurons) -> list[Solving]:
    """The programs that the studies are or need."""
    return neuron_studies.solvings([run for runs in config.runs().values() for run in runs])


def dense_run(config: CriticalNeurons, seed: int) -> dict[str, Any]:
    """The configuration of a seed's dense network."""
    return {
        "version": neuron_runs.VERSION,
        "kind": "dense",
        "dataset": config.dataset,
        "model": config.model,
        "protocol": recorded(config.protocols()[0]),
        "seed": seed,
    }


def solved_run(config: CriticalNeurons, run: Solving) -> dict[str, Any]:
    """The configuration of a solved program."""
    # what is at its default is not in a record's name
    plain = CriticalNeurons()
    others = {
        name: getattr(config, name)
        for name in ("max_prune", "backend", "memory_mb")
        if getattr(config, name) != getattr(plain, name)
    }
    return {
        **dense_run(config, run.seed),
        "kind": "solved",
        **run.setting._asdict(),
        "source": neuron_runs.source(run.setting.mode),
        **others,
        "time_limit": config.time_limit,
        "gap": config.gap,
        "fine_tuning": recorded(config.protocols()[1]),
    }


def retrained_run(config: CriticalNeurons, run: Retraining) -> dict[str, Any]:
    """The configuration of a sub-network that is trained again."""
    target = config.protocols(run.target)[0]
    return {
        **solved_run(config, run.solved),
        "kind": "retrained",
        "target": run.target,
        "target_protocol": recorded(target) | {"score_examples": target.score_examples},
        "subnetwork": run.subnetwork,
        "start": run.start,
    }


def record_of(config: CriticalNeurons, run: Run) -> dict[str, Any]:
    """The configuration of any run."""
    return retrained_run(config, run) if isinstance(run, Retraining) else solved_run(config, run)


class Runner:
    """Does the runs of one configuration that are not recorded yet.

    Args:
      config: what to solve.
      bench: data, model and steps.
      show: told (what goes on, done, of).
    """

    def __init__(
        self, config: CriticalNeurons, bench: Workbench, show: Callable[[str, int, int], None]
    ) -> None:
        self._config, self._bench, self._show = config, bench, show
        self._tuning = config.protocols()[1]
        self._tools = bench.tools_for(bench.model, self._tuning)
        self.dense = DenseNetworks(
            bench, config.results, EXPERIMENT, lambda seed: dense_run(config, seed), show
        )
        self._targets = {config.dataset: bench}

    def do(self, run: Run, path: Path) -> results.Record:
        """Does a run and records it."""
        return self.retrain(run, path) if isinstance(run, Retraining) else self.solve(run, path)

    def retrain(self, run: Retraining, path: Path) -> results.Record:
        """Trains a sub-network of a solved program from the beginning, and records it."""
        config = solved_run(self._config, run.solved)
        needed = results.path_of(self._config.results, EXPERIMENT, config)
        with claims.alone(
            needed, lambda: self._show("waiting for another process's program", 0, 1)
        ):
            solved = results.load(needed, config, needs=NEEDS["solved"])
            if solved is None:
                solved = self.solve(run.solved, needed)
        scores = {
            group: np.array(each)
            for group, each in solved["metrics"]["certificate"]["scores"].items()
        }
        if run.target not in self._targets:
            protocol = self._config.protocols(run.target)[0]
            self._targets[run.target] = workbench(run.target, self._config.model, protocol)
        title = f"{run.target}, seed {run.solved.seed}: {run.subnetwork} from a {run.start} start"
        started = time.perf_counter()
        found, diverged = neuron_retraining.retrain(
            self._targets[run.target],
            run,
            scores,
            lambda now: self._show(title, now.epoch, now.epochs),
        )
        return results.save(
            path,
            config=retrained_run(self._config, run),
            metrics={**found._asdict(), "diverged": diverged},
            history=[],
            seconds={"training": time.perf_counter() - started},
        )

    def solve(self, run: Solving, path: Path) -> results.Record:
        """Solves a program, prunes by it and by its rivals, and records it."""
        seed, setting = run
        title = f"seed {seed}, batch {setting.batch}, lambda {setting.loss_weight:g}"
        dense = self.dense.of(seed)
        batch = neuron_runs.draw(self._bench, seed, setting)

        def told(seconds: float, objective: float, bound: float) -> None:
            del seconds
            self._show(f"{title}: {objective:.4f}, bound {bound:.4f}", 0, 1)

        found, seconds = neuron_runs.timed_score(
            self._bench,
            dense,
            batch,
            setting,
            seed,
            **{name: getattr(self._config, name) for name in OF_SOLVER},
            on_incumbent=told,
        )
        if found.evidence.status == "interrupted":
            raise KeyboardInterrupt
        draw = keys(seed).method
        rivals, diverged = {}, False
        for done, name in enumerate(RIVALS):
            self._show(f"{title}: {name}", done, len(RIVALS))
            keep = neuron_runs.rival(name, found, setting, batch[0], dense, draw)
            plan = found.network.plan(keep)
            pruned, failed = neuron_runs.measure(
                self._bench, self._tools, self._tuning, dense, plan, seed
            )
            rivals[name], diverged = pruned._asdict(), diverged or failed
        metrics = {
            "reference": dense.accuracy,
            "rivals": rivals,
            "certificate": neuron_runs.certificate(found, setting.threshold),
            "diverged": diverged,
        }
        if seed == 0 and setting.batch == 0:
            metrics["curve"] = neuron_runs.curve(self._bench, found, dense, draw)
        return results.save(
            path,
            config=solved_run(self._config, run),
            metrics=metrics,
            history=[],
            seconds={"scoring": seconds},
        )


def execute(config: CriticalNeurons, console: Console) -> list[results.Record]:
    """Does the runs that are not recorded yet.

    Returns:
      The records of all runs, in the order of the studies, the programs first.
    """
    asked = [run for runs in config.runs().values() for run in runs]
    wanted = {}
    for run in dict.fromkeys([*solved_by(config), *asked]):
        wanted[results.path_of(config.results, EXPERIMENT, record_of(config, run))] = run
    configs = {path: record_of(config, run) for path, run in wanted.items()}
    engine = Engine(
        config.results / EXPERIMENT,
        configs,
        lambda path: results.load(path, configs[path], needs=NEEDS[configs[path]["kind"]]),
        lambda one: is_asked_again(config.redo, one["mode"]),
        console,
    )
    if not engine.missing:
        return engine.records
    bench = workbench(config.dataset, config.model, config.protocols()[0])
    if any(one.setting.mode != "decoupled" for one in solved_by(config)):
        describe(bench.traced, initial(bench, 0))  # refuses what is no chain

    def make(show: Show) -> Callable[[Path], results.Record]:
        runner = Runner(config, bench, show)

        def do(path: Path) -> results.Record:
            try:
                return runner.do(wanted[path], path)
            except ValueError as error:  # the tables need all of them
                raise Stopped(str(error)) from error

        return do

    engine.do(make, lambda one: f"{one['kind']}, seed {one['seed']}, batch {one['batch']}")
    return engine.records


def main(config: CriticalNeurons, console: Console | None = None) -> int:
    """Runs the experiment and reports it; returns the process's exit status."""
    console = Console() if console is None else console
    return shell.guarded(
        console,
        lambda: _experiment(config, console),
        stopped="Every finished run is recorded; the same command goes on from there.",
    )


def _experiment(config: CriticalNeurons, console: Console) -> int:
    started = time.perf_counter()
    check(config)
    if config.quick:
        config = replace(config, seeds=1, batches=1)
    records = execute(config, console)
    asked = {k: v for k, v in asdict(config).items() if k not in ASIDE}
    shared = {"asked": asked, "run": solved_run(config, Solving(0, config.setting()))}
    name = f"{config.dataset}-{config.model}-{results.config_hash(shared)[:6]}"
    console.print()
    outputs = Outputs(config.results / EXPERIMENT / name, config.formats)
    neuron_report.write(
        records,
        {study: [record_of(config, run) for run in runs] for study, runs in config.runs().items()},
        outputs=outputs,
        title=f"{config.model} on {config.dataset}, mode {config.mode}",
        console=console,
    )
    console.print(f"{len(records)} runs, {shell.seconds_since(started)}. Written:")
    for file in outputs.files:
        console.print(f"  {file}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    shell.leave(
        main(
            tyro.cli(
                CriticalNeurons, prog="python -m experiments.critical_neurons", description=__doc__
            )
        )
    )
