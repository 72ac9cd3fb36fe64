"""Critical neurons (ElAraby et al. 2023): solve a program on a batch, prune by its scores, compare.

    python -m experiments.critical_neurons          an MLP on digits, under 2 minutes
    python -m experiments.critical_neurons --quick  less of it, to see that everything works
    python -m experiments.critical_neurons --dataset mnist --model lenet_300_100
    python -m experiments.critical_neurons --study batches loss_weight

Each trained network is kept, each solved program is one JSON record, and none is done twice: stop
with Ctrl-C, start again with the same command, and it goes on.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console

from experiments import neuron_report, neuron_runs, results, shell
from experiments.dense import Dense, initial, keys, obtain
from experiments.neuron_runs import RIVALS, Setting
from experiments.protocol import recorded
from experiments.workbench import Workbench, workbench
from prunejax import data, models
from prunejax.criteria.critical_neurons import describe
from solvers.critical_neurons import MODES

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
Study = Literal["table", "batches", "loss_weight"]
WEIGHTS = (1.0, 2.0, 5.0, 8.0, 12.0, 16.0, 20.0, 24.0)
BATCHES = 25
NEEDS = ("reference", "rivals", "certificate")


@dataclass(frozen=True)
class CriticalNeurons:
    """What to solve; settings left out are the data set's defaults.

    Attributes:
      dataset: the data; "digits" needs no download, the others are read from TFDS_DATA_DIR.
      model: the network, a chain of dense layers, convolutions, ReLUs and pools.
      study: "table": the rivals, over seeds and batches; "batches": 25 batches of one network;
        "loss_weight": lambda from 1 to 24.
      mode: how the program is solved, see ``solvers.critical_neurons``.
      seeds: how many seeds: 0, 1, ...
      batches: how many batches of each seed's network.
      per_class: images of each class in a batch.
      loss_weight: lambda.
      threshold: neurons whose score is below it are pruned; by default the paper's for the model.
      time_limit: seconds a program may take; None: as long as it needs.
      gap: the relative gap that counts as solved.
      quick: three epochs of training, one seed, one batch.
      results: where records, tables and figures go.
    """

    dataset: DatasetName = "digits"
    model: ModelName = "mlp"
    study: tuple[Study, ...] = ("table",)
    mode: ModeName = "paper"
    seeds: int = 3
    batches: int = 3
    per_class: int = 1
    loss_weight: float = 5.0
    threshold: float | None = None
    time_limit: float | None = None
    gap: float = 1e-4
    quick: bool = False
    results: Path = Path("results")

    def setting(self) -> Setting:
        """The program of the first batch."""
        threshold = self.threshold
        if threshold is None:
            threshold = neuron_runs.THRESHOLDS.get(self.model, 0.1)
        return Setting(0, self.per_class, self.loss_weight, self.mode, threshold)


def check(config: CriticalNeurons) -> None:
    """Refuses what no run could do, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for name in ("seeds", "batches", "per_class"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if not config.study:
        raise ValueError("name at least one study")
    for name in ("loss_weight", "gap"):
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")
    if config.time_limit is not None and config.time_limit < 0:
        raise ValueError(f"time_limit must not be negative, got {config.time_limit}")


def programs(config: CriticalNeurons) -> dict[Study, list[tuple[int, Setting]]]:
    """What each study solves: pairs of a seed and a program."""
    one = config.setting()
    return {
        "table": [
            (seed, one._replace(batch=batch))
            for seed in range(config.seeds)
            for batch in range(config.batches)
        ],
        "batches": [(0, one._replace(batch=batch)) for batch in range(BATCHES)],
        "loss_weight": [(0, one._replace(loss_weight=weight)) for weight in WEIGHTS],
    }


def dense_run(config: CriticalNeurons, seed: int) -> dict[str, Any]:
    """The configuration of a seed's dense network."""
    dense, _ = neuron_runs.protocols(config.dataset, config.model, quick=config.quick)
    return {
        "version": neuron_runs.VERSION,
        "kind": "dense",
        "dataset": config.dataset,
        "model": config.model,
        "protocol": recorded(dense),
        "seed": seed,
    }


def solved_run(config: CriticalNeurons, seed: int, setting: Setting) -> dict[str, Any]:
    """The configuration of a solved program."""
    _, tuning = neuron_runs.protocols(config.dataset, config.model, quick=config.quick)
    return {
        **dense_run(config, seed),
        "kind": "solved",
        **setting._asdict(),
        "time_limit": config.time_limit,
        "gap": config.gap,
        "fine_tuning": recorded(tuning),
    }


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
        self._tuning = neuron_runs.protocols(config.dataset, config.model, quick=config.quick)[1]
        self._tools = bench.tools_for(bench.model, self._tuning)
        self._dense: dict[int, Dense] = {}

    def dense(self, seed: int) -> Dense:
        """The trained network of a seed: kept, or trained now."""
        if seed not in self._dense:
            run = dense_run(self._config, seed)
            path = results.path_of(self._config.results, EXPERIMENT, run)
            self._dense[seed] = obtain(self._bench, seed, run, path, self._show)
        return self._dense[seed]

    def solve(self, seed: int, setting: Setting, path: Path) -> results.Record:
        """Solves a program, prunes by it and by its rivals, and records it."""
        title = f"seed {seed}, batch {setting.batch}, lambda {setting.loss_weight:g}"
        dense = self.dense(seed)
        batch = neuron_runs.balanced_batch(self._bench, seed, setting)

        def told(seconds: float, objective: float, bound: float) -> None:
            del seconds
            self._show(f"{title}: {objective:.4f}, bound {bound:.4f}", 0, 1)

        found, seconds = neuron_runs.timed_score(
            self._bench,
            dense,
            batch,
            setting,
            seed,
            gap=self._config.gap,
            time_limit=self._config.time_limit,
            on_incumbent=told,
        )
        if found.solution.status == "interrupted":
            raise KeyboardInterrupt
        draw = keys(seed).method
        rivals = {}
        for done, name in enumerate(RIVALS):
            self._show(f"{title}: {name}", done, len(RIVALS))
            keep = neuron_runs.rival(name, found, setting, batch[0], dense, draw)
            plan = found.network.plan(keep)
            rivals[name] = neuron_runs.measure(
                self._bench, self._tools, self._tuning, dense, plan, seed
            )._asdict()
        metrics = {
            "reference": dense.accuracy,
            "rivals": rivals,
            "certificate": neuron_runs.certificate(found, setting.threshold),
        }
        if seed == 0 and setting.batch == 0:
            metrics["curve"] = neuron_runs.curve(self._bench, found, dense, draw)
        return results.save(
            path,
            config=solved_run(self._config, seed, setting),
            metrics=metrics,
            history=[],
            seconds={"scoring": seconds},
        )


def execute(config: CriticalNeurons, console: Console) -> list[results.Record]:
    """Does the runs that are not recorded yet.

    Returns:
      The records of all programs, in the order of the studies.
    """
    wanted = dict.fromkeys(run for study in config.study for run in programs(config)[study])
    configs = [solved_run(config, *run) for run in wanted]
    paths = [results.path_of(config.results, EXPERIMENT, one) for one in configs]
    found = [results.load(path, one, needs=NEEDS) for path, one in zip(paths, configs, strict=True)]
    missing = sum(record is None for record in found)
    if missing < len(found):
        console.print(f"{len(found) - missing} of {len(found)} runs are recorded already")
    if not missing:
        return [record for record in found if record is not None]
    shell.refuse_unwritable(config.results / EXPERIMENT)
    dense, _ = neuron_runs.protocols(config.dataset, config.model, quick=config.quick)
    bench = workbench(config.dataset, config.model, dense)
    describe(bench.traced, initial(bench, 0))  # refuses what is no chain
    with shell.progress(console) as bars:
        overall = bars.add_task("programs", total=len(found), completed=len(found) - missing)
        current = bars.add_task("", total=1)
        runner = Runner(
            config,
            bench,
            lambda what, done, of: bars.update(current, description=what, completed=done, total=of),
        )
        for index, (run, path) in enumerate(zip(wanted, paths, strict=True)):
            if found[index] is None:
                found[index] = runner.solve(*run, path)
                bars.advance(overall)
    return [record for record in found if record is not None]


def main(config: CriticalNeurons, console: Console | None = None) -> int:
    """Runs the experiment and reports it; returns the process's exit status."""
    console = Console() if console is None else console
    if config.quick:
        config = replace(config, seeds=1, batches=1)
    return shell.guarded(
        console,
        lambda: _experiment(config, console),
        stopped="Every solved program is recorded; the same command goes on from there.",
    )


def _experiment(config: CriticalNeurons, console: Console) -> int:
    started = time.perf_counter()
    check(config)
    records = execute(config, console)
    asked = {k: v for k, v in asdict(config).items() if k not in ("results", "quick")}
    shared = {"asked": asked, "run": solved_run(config, 0, config.setting())}
    name = f"{config.dataset}-{config.model}-{results.config_hash(shared)[:6]}"
    console.print()
    files = neuron_report.write(
        records,
        {study: programs(config)[study] for study in config.study},
        folder=config.results / EXPERIMENT / name,
        title=f"{config.model} on {config.dataset}, mode {config.mode}",
        console=console,
    )
    console.print(f"{len(records)} programs, {shell.seconds_since(started)}. Written:")
    for file in files:
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
