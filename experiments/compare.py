"""Compares pruning methods: one network, one protocol, several methods, sparsities and seeds.

    python -m experiments.compare            digits, six methods, about a minute on two cores
    python -m experiments.compare --quick    the same in seconds, to see that everything works
    python -m experiments.compare --dataset mnist --model lenet_300_100 \\
        --methods snip synflow magnitude --sparsities 0.9 0.98 --seeds 3

Networks are pruned at initialisation and then trained. Each run is recorded as one JSON file and
never done twice: stop with Ctrl-C, start again with the same command, and it goes on.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console

from experiments import comparison, results, shell
from experiments.comparison import EXPERIMENT
from experiments.engine import Engine, Show, Stopped, check_redo, is_asked_again
from experiments.methods import METHODS, settings
from experiments.outputs import DEFAULT, Format
from experiments.protocol import DENSE, VERSION, Protocol, check_protocol, protocol_for
from experiments.runs import run
from experiments.workbench import Workbench, workbench
from prunejax import allocation, data, training
from prunejax import masks as masks_lib
from prunejax.models import MODELS

if TYPE_CHECKING:
    from typing import TypeAlias

    DatasetName: TypeAlias = str
    MethodName: TypeAlias = str
    ModelName: TypeAlias = str
    OptimizerName: TypeAlias = str
    ScheduleName: TypeAlias = str
else:
    DatasetName = tyro.extras.literal_type_from_choices(data.DATASETS)
    MethodName = tyro.extras.literal_type_from_choices(METHODS)
    ModelName = tyro.extras.literal_type_from_choices(MODELS)
    OptimizerName = tyro.extras.literal_type_from_choices(training.OPTIMIZERS)
    ScheduleName = tyro.extras.literal_type_from_choices(training.SCHEDULES)

METHODS_DEFAULT = ("random", "magnitude", "snip", "grasp", "synflow", "prospr")


@dataclass(frozen=True)
class Compare:
    """What to compare; settings left out are the data set's defaults.

    Attributes:
      dataset: the data; "digits" needs no download, the others are read from TFDS_DATA_DIR.
      model: the network.
      methods: the pruning methods.
      sparsities: the fractions of prunable weights removed, each in [0, 1).
      seeds: how many seeds: 0, 1, ...
      quick: three epochs on at most 2,000 examples.
      epochs: passes over the training data.
      batch_size: examples a step.
      optimizer: the optimiser.
      learning_rate: the initial learning rate.
      schedule: how the learning rate falls.
      momentum: momentum, or the first decay rate of adamw and lion.
      weight_decay: off biases and normalisation.
      label_smoothing: in [0, 1).
      augment: random crops and flips of the training images.
      score_examples: how many training examples a criterion sees.
      limit: train on so many examples, drawn evenly from the classes.
      shortcut: how a CIFAR ResNet's blocks change width (resnet20 .. resnet110).
      dtype: of activations; parameters are float32 always.
      checkpoint_epochs: save a run's state every so many epochs, to go on from; 0: never.
      save_masks: keep each run's masks beside its record.
      redo: do runs again though they are recorded: "all", or those of these methods ("dense" too).
      formats: of tables (csv, md, tex) and figures (png, pdf).
      results: where records, tables and figures go.
    """

    dataset: DatasetName = "digits"
    model: ModelName = "mlp"
    methods: tuple[MethodName, ...] = METHODS_DEFAULT
    sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    seeds: int = 3
    quick: bool = False
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: OptimizerName | None = None
    learning_rate: float | None = None
    schedule: ScheduleName | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    augment: bool | None = None
    score_examples: int | None = None
    limit: int | None = None
    shortcut: Literal["conv3x3", "conv1x1", "pad"] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint_epochs: int | None = None
    save_masks: bool = False
    redo: tuple[str, ...] = ()
    formats: tuple[Format, ...] = DEFAULT
    results: Path = Path("results")

    def protocol(self) -> Protocol:
        """The settings of the runs."""
        return protocol_for(
            self.dataset,
            self.model,
            quick=self.quick,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            augment=self.augment,
            score_examples=self.score_examples,
            limit=self.limit,
            checkpoint_epochs=self.checkpoint_epochs,
        )

    def model_options(self) -> dict[str, Any]:
        """Fields of the model that were given."""
        return {} if self.shortcut is None else {"shortcut": self.shortcut}


def check(config: Compare) -> None:
    """Refuses what no run could do, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for sparsity in config.sparsities:
        allocation.check_sparsity(sparsity)
    if config.seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {config.seeds}")
    if not config.methods:
        raise ValueError("name at least one method")
    protocol = config.protocol()
    if not config.sparsities:
        raise ValueError("name at least one sparsity")
    check_protocol(protocol)
    check_redo(config.redo, (DENSE, *config.methods))


def plan(config: Compare) -> Iterator[dict[str, Any]]:
    """The configuration of every run: seed by seed, the dense network first."""
    shared = {
        "version": VERSION,
        "dataset": config.dataset,
        "model": config.model,
        "model_options": config.model_options(),
        "dtype": config.dtype,
        # How often a run is saved changes nothing in it.
        "protocol": {
            key: value
            for key, value in asdict(config.protocol()).items()
            if key != "checkpoint_epochs"
        },
    }
    for seed in range(config.seeds):
        yield {**shared, "method": DENSE, "method_settings": {}, "sparsity": 0.0, "seed": seed}
        for method in dict.fromkeys(config.methods):
            for sparsity in dict.fromkeys(config.sparsities):
                yield {
                    **shared,
                    "method": method,
                    "method_settings": settings(method),
                    "sparsity": sparsity,
                    "seed": seed,
                }


def execute(config: Compare, console: Console) -> Engine:
    """Does the runs that are not recorded yet.

    Args:
      config: what to compare.
      console: where progress is shown.

    Returns:
      The engine, with the records of all runs but those whose method failed, in the order of the
      plan.

    Raises:
      KeyboardInterrupt: it was stopped; what is finished is recorded.
    """
    configs = {results.path_of(config.results, EXPERIMENT, one): one for one in plan(config)}

    def recorded(path: Path) -> results.Record | None:
        if config.save_masks and not _masks_path(path).exists():
            return None
        return results.load(path, configs[path], needs=comparison.NEEDS)

    engine = Engine(
        config.results / EXPERIMENT,
        configs,
        recorded,
        lambda one: is_asked_again(config.redo, one["method"]),
        console,
    )
    engine.clear(_checkpoints_path)
    if not engine.missing:
        return engine
    bench = workbench(
        config.dataset,
        config.model,
        config.protocol(),
        dtype=config.dtype,
        **config.model_options(),
    )
    engine.do(
        lambda show: lambda path: _run_and_record(bench, configs[path], path, config, show), _title
    )
    return engine


def _title(one: Mapping[str, Any]) -> str:
    return f"{one['method']} at {one['sparsity']}, seed {one['seed']}"


def _run_and_record(
    bench: Workbench, one: dict[str, Any], path: Path, config: Compare, show: Show
) -> results.Record:
    checkpoints = _checkpoints_path(path) if bench.protocol.checkpoint_epochs else None
    if path.exists():
        # it is done again, and from the beginning
        shutil.rmtree(_checkpoints_path(path), ignore_errors=True)
    title = _title(one)
    try:
        outcome = run(
            bench,
            one["method"],
            one["sparsity"],
            one["seed"],
            on_stage=lambda stage, done, of: show(f"{title}: {stage}", done, of),
            checkpoints=checkpoints,
        )
    except ValueError as error:
        if one["method"] == DENSE:
            raise Stopped(f"{title} failed: {error}") from error
        raise
    if config.save_masks:
        masks_lib.save(_masks_path(path), outcome.masks)
    record = results.save(
        path,
        config=one,
        metrics=outcome.metrics,
        history=outcome.history,
        seconds=outcome.seconds,
    )
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return record


def _checkpoints_path(path: Path) -> Path:
    return path.with_suffix(".checkpoints")


def _masks_path(path: Path) -> Path:
    return path.with_suffix(".masks.npz")


def main(config: Compare, console: Console | None = None) -> int:
    """Runs the comparison and reports it; returns the process's exit status."""
    console = Console() if console is None else console
    return shell.guarded(
        console,
        lambda: _compare(config, console),
        stopped="Every finished run is recorded; the same command goes on from there, and "
        "[bold]python -m experiments.report[/] shows what there is.",
    )


def _compare(config: Compare, console: Console) -> int:
    started = time.perf_counter()
    check(config)
    engine = execute(config, console)
    records = engine.records
    frame = comparison.ordered(comparison.rows(records))
    asked = results.config_hash(
        {name: getattr(config, name) for name in ("methods", "sparsities", "seeds")}
    )
    folder = comparison.folder_of(frame, config.results, EXPERIMENT, asked[:6])
    console.print()
    title = f"{config.model} on {config.dataset}"
    about = comparison.details(records[-1])
    files = comparison.write(frame, folder, title, console, about, config.formats)
    console.print(
        f"{len(records)} runs, {engine.done} of them now, {shell.seconds_since(started)}. Written:"
    )
    for file in files:
        console.print(f"  {file}", soft_wrap=True)
    if failed := sum(1 for _ in plan(config)) - len(records):
        console.print(f"[bold red]{failed} runs failed[/], see above; the table is without them.")
        return 1
    return 0


if __name__ == "__main__":
    shell.leave(main(tyro.cli(Compare, prog="python -m experiments.compare", description=__doc__)))
