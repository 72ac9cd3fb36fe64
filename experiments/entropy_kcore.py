"""Entropy-guided k-core filter pruning (Yang et al. 2025): train, prune, cut out, fine-tune.

    python -m experiments.entropy_kcore          a small residual net on digits, under 3 minutes
    python -m experiments.entropy_kcore --quick  less of it, to see that everything works
    python -m experiments.entropy_kcore --dataset cifar10 --model vgg16 --tau 0.8 0.75 0.7
    python -m experiments.entropy_kcore --study sample_size learning_rate

Each trained network is kept, each pruned one is one JSON record beside its plan, and none is done
twice: stop with Ctrl-C, start again with the same command, and it goes on.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console

from experiments import filter_report, filter_runs, results, shell
from experiments.dense import DenseNetworks
from experiments.engine import Engine, Show, Stopped, check_redo, is_asked_again
from experiments.filter_runs import OURS, Job
from experiments.outputs import DEFAULT, Format, Outputs
from experiments.protocol import Protocol, check_protocol, recorded
from experiments.workbench import Workbench, workbench
from prunejax import channels, data, models, network
from prunejax.channels import GroupSource

if TYPE_CHECKING:
    from typing import TypeAlias

    DatasetName: TypeAlias = str
    MethodName: TypeAlias = str
    ModelName: TypeAlias = str
else:
    DatasetName = tyro.extras.literal_type_from_choices(data.DATASETS)
    MethodName = tyro.extras.literal_type_from_choices(filter_runs.METHODS)
    ModelName = tyro.extras.literal_type_from_choices(models.MODELS)

EXPERIMENT = "entropy_kcore"
Study = Literal["tau", "criteria", "sample_size", "learning_rate"]
SAMPLE_SIZES = tuple(range(25, 201, 25))
RATES = (0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True)
class EntropyKCore:
    """What to prune; settings left out are the data set's defaults.

    Attributes:
      dataset: the data; "digits" needs no download, the others are read from TFDS_DATA_DIR.
      model: the network.
      tau: the thresholds on similarity.
      at: the threshold of the other studies and of the layer table; by default 0.7, or the middle
        one of tau.
      study: "tau": the thresholds, and 1, at which nothing goes, to see what fine-tuning alone
        does; "criteria": other ways to choose as many filters of each layer (Fig. 5);
        "sample_size": 25 to 200 images (Table 8); "learning_rate": of fine-tuning (Fig. 6).
      criteria: the methods of the study "criteria".
      seeds: how many seeds: 0, 1, ...
      images: of how many training images feature maps are taken.
      group_source: which layer stands for channels that a residual sum ties: "shortcut" or "main".
      delta: by how much the threshold rises from the first layer to the last.
      round_to: raise numbers of channels to multiples of it.
      layer: the layer that the redundancy graph is drawn of; by default the one with most edges.
      quick: two epochs each on at most 2,000 examples; one seed, the first and the last of tau,
        three criteria, whatever else is asked for.
      epochs: of training the dense network.
      learning_rate: its initial one.
      fine_tune_epochs: of training the pruned network on.
      fine_tune_rate: its initial learning rate.
      batch_size: examples a step.
      weight_decay: off biases and normalisation.
      augment: random crops and flips of the training images.
      limit: train on so many examples, drawn evenly from the classes.
      shortcut: how a CIFAR ResNet's blocks change width.
      dtype: of activations; parameters are float32 always.
      checkpoint_epochs: save the dense training every so many epochs, to go on from; 0: never.
      save_models: keep every pruned network, to be restored without this program, as a folder with
        its plan, its variables and a jax.export artifact.
      redo: prune again though it is recorded: "all", or by these methods.
      formats: of tables (csv, md, tex) and figures (png, pdf).
      results: where records, tables and figures go.
    """

    dataset: DatasetName = "digits"
    model: ModelName = "resnet8"
    tau: tuple[float, ...] = (0.75, 0.7, 0.65, 0.6)
    at: float | None = None
    study: tuple[Study, ...] = ("tau", "criteria")
    criteria: tuple[MethodName, ...] = (
        "entropy_kcore",
        "kcore_l1",
        "kcore_random",
        "entropy",
        "l1",
        "random",
    )
    seeds: int = 3
    images: int = 100
    group_source: GroupSource = "shortcut"
    delta: float = 0.0
    round_to: int | None = None
    layer: str | None = None
    quick: bool = False
    epochs: int | None = None
    learning_rate: float | None = None
    fine_tune_epochs: int | None = None
    fine_tune_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    augment: bool | None = None
    limit: int | None = None
    shortcut: Literal["conv3x3", "conv1x1", "pad"] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint_epochs: int | None = None
    save_models: bool = False
    redo: tuple[str, ...] = ()
    formats: tuple[Format, ...] = DEFAULT
    results: Path = Path("results")

    def protocols(self) -> tuple[Protocol, Protocol]:
        """Of training and of fine-tuning."""
        return filter_runs.protocols(
            self.dataset,
            quick=self.quick,
            fine_tuning={"epochs": self.fine_tune_epochs, "learning_rate": self.fine_tune_rate},
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            augment=self.augment,
            limit=self.limit,
            checkpoint_epochs=self.checkpoint_epochs,
        )

    def model_options(self) -> dict[str, Any]:
        """Fields of the model that were given."""
        return {} if self.shortcut is None else {"shortcut": self.shortcut}


def shortened(config: EntropyKCore) -> EntropyKCore:
    """What ``--quick`` leaves of a configuration."""
    if not config.quick:
        return config
    return replace(
        config,
        seeds=1,
        tau=config.tau[:: max(len(config.tau) - 1, 1)],
        criteria=config.criteria[:3],
    )


def chosen_tau(config: EntropyKCore) -> float:
    """The threshold of all studies but "tau"."""
    if config.at is not None:
        return config.at
    return 0.7 if 0.7 in config.tau else sorted(config.tau)[len(config.tau) // 2]


def jobs(config: EntropyKCore) -> dict[Study, list[Job]]:
    """What each study prunes."""
    at, (_, tuning) = chosen_tau(config), config.protocols()
    ours = Job(OURS, at, config.images, tuning.learning_rate)
    return {
        "tau": [ours._replace(tau=tau) for tau in dict.fromkeys((1.0, *config.tau))],
        "criteria": [ours._replace(method=name) for name in dict.fromkeys(config.criteria)],
        "sample_size": [ours._replace(images=images) for images in SAMPLE_SIZES],
        "learning_rate": [ours._replace(rate=rate, curve=True) for rate in RATES],
    }


def check(config: EntropyKCore) -> None:
    """Refuses what no run could do, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for name in ("tau", "study", "criteria"):
        if not getattr(config, name):
            raise ValueError(f"name at least one {name}")
    for tau in (*config.tau, chosen_tau(config)):
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau}")
    if not 0 <= config.delta <= 1:
        raise ValueError(f"delta must be in [0, 1], got {config.delta}")
    for name in ("seeds", "images", "round_to"):
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    for protocol in config.protocols():
        if not 0 < protocol.learning_rate < float("inf"):
            raise ValueError(f"learning rates must be positive, got {protocol.learning_rate}")
        check_protocol(protocol)
    check_redo(config.redo, (OURS, *config.criteria))


def dense_run(config: EntropyKCore, seed: int) -> dict[str, Any]:
    """The configuration of a seed's dense network."""
    return {
        "version": filter_runs.VERSION,
        "kind": "dense",
        "dataset": config.dataset,
        "model": config.model,
        "model_options": config.model_options(),
        "dtype": config.dtype,
        "protocol": recorded(config.protocols()[0]),
        "seed": seed,
    }


def pruned_run(config: EntropyKCore, job: Job, seed: int, kind: str = "pruned") -> dict[str, Any]:
    """The configuration of a pruned network, or of its latency."""
    tuning = replace(config.protocols()[1], learning_rate=job.rate)
    return {
        **dense_run(config, seed),
        "kind": kind,
        "method": job.method,
        "source": filter_runs.source(job.method),
        "tau": job.tau,
        "images": job.images,
        "group_source": config.group_source,
        "delta": config.delta,
        "round_to": config.round_to,
        "fine_tuning": recorded(tuning),
        "curve": job.curve,
    }


class Runner:
    """Does the runs of one configuration that are not recorded yet.

    Args:
      config: what to prune.
      bench: data, model and steps.
      show: told (what goes on, done, of).
    """

    def __init__(
        self, config: EntropyKCore, bench: Workbench, show: Callable[[str, int, int], None]
    ) -> None:
        self._config, self._bench, self._show = config, bench, show
        self.dense = DenseNetworks(
            bench, config.results, EXPERIMENT, lambda seed: dense_run(config, seed), show
        )
        self._selections: dict[tuple[int, int], filter_runs.Selection] = {}

    def selection(self, seed: int, images: int) -> filter_runs.Selection:
        """What a seed's network shows on so many images."""
        if (seed, images) not in self._selections:
            self._selections[seed, images] = filter_runs.Selection(
                self._bench,
                self.dense.of(seed),
                seed,
                images=images,
                group_source=self._config.group_source,
                delta=self._config.delta,
                round_to=self._config.round_to,
            )
        return self._selections[seed, images]

    def prune(self, job: Job, seed: int, path: Path) -> results.Record:
        """Prunes and fine-tunes one network, and records it."""
        title = f"{job.method}, tau {job.tau}, seed {seed}"
        self._show(f"{title}: selecting", 0, 1)
        dense, selection = self.dense.of(seed), self.selection(seed, job.images)
        measuring = selection.measure()
        started = time.perf_counter()
        plan = selection.plan(job.method, job.tau)
        selecting = time.perf_counter() - started
        pruned = filter_runs.fine_tune(
            self._bench,
            dense,
            plan,
            replace(self._config.protocols()[1], learning_rate=job.rate),
            seed,
            curve=job.curve,
            on_epoch=lambda now: self._show(f"{title}: fine-tuning", now.epoch, now.epochs),
        )
        plan.save(path.with_suffix(".plan.json"))
        if self._config.save_models:
            self.save_model(path, pruned)
        return results.save(
            path,
            config=pruned_run(self._config, job, seed),
            metrics=pruned.metrics,
            history=pruned.history,
            seconds={"measuring": measuring, "selecting": selecting, **pruned.seconds},
        )

    def save_model(self, path: Path, pruned: filter_runs.Pruned) -> None:
        """Keeps a pruned network as a folder that needs nothing of this program."""
        model = models.resized(self._bench.precise, pruned.plan.by_leaf())
        network.save_sliced(
            path.with_suffix(".sliced"),
            pruned.plan,
            pruned.variables,
            self._bench.test.images[:1],
            description={"model": models.describe(model), "metrics": pruned.metrics},
        )

    def time(self, job: Job, seed: int, path: Path) -> results.Record:
        """Measures one pruned network's latency, and records it."""
        self._show(f"tau {job.tau}: latency", 0, 1)
        plan = self.selection(seed, job.images).plan(job.method, job.tau)
        return results.save(
            path,
            config=pruned_run(self._config, job, seed, "latency"),
            metrics=filter_runs.latency(self._bench, self.dense.of(seed), plan),
            history=[],
            seconds={},
        )


def plan_of_runs(config: EntropyKCore) -> Iterator[tuple[str, Job, int]]:
    """Every run as (kind, job, seed), seed by seed, none twice."""
    studies = jobs(config)
    wanted = dict.fromkeys(job for study in config.study for job in studies[study])
    for seed in range(config.seeds):
        for job in wanted:
            yield "pruned", job, seed
    if "tau" in config.study:
        for job in studies["tau"]:
            yield "latency", job, 0


def execute(config: EntropyKCore, bench: Workbench, console: Console) -> tuple[Runner, list[Any]]:
    """Does the runs that are not recorded yet.

    Args:
      config: what to prune.
      bench: the workbench.
      console: where progress is shown.

    Returns:
      The runner and the records, in the order of ``plan_of_runs``; a method that failed has none.
    """
    runs = {}
    for kind, job, seed in plan_of_runs(config):
        one = pruned_run(config, job, seed, kind)
        runs[results.path_of(config.results, EXPERIMENT, one)] = (kind, job, seed, one)

    def recorded(path: Path) -> results.Record | None:
        kind, *_, one = runs[path]
        beside = [".plan.json", *([".sliced"] if config.save_models else [])]
        if kind == "pruned" and not all(path.with_suffix(end).exists() for end in beside):
            return None
        return results.load(path, one, needs=filter_report.NEEDS if kind == "pruned" else ())

    engine = Engine(
        config.results / EXPERIMENT,
        {path: one for path, (*_, one) in runs.items()},
        recorded,
        lambda one: is_asked_again(config.redo, one["method"]),
        console,
    )
    runners = []

    def make(show: Show) -> Callable[[Path], results.Record]:
        runner = Runner(config, bench, show)
        runners.append(runner)

        def do(path: Path) -> results.Record:
            kind, job, seed, _ = runs[path]
            try:
                return (runner.prune if kind == "pruned" else runner.time)(job, seed, path)
            except ValueError as error:
                # What stops the method itself stops all; what stops a peer stops only it.
                if job.method == OURS:
                    raise Stopped(str(error)) from error
                raise

        return do

    engine.do(make, lambda one: f"seed {one['seed']}, tau {one['tau']}: {one['method']}")
    return runners[0], engine.records


def main(config: EntropyKCore, console: Console | None = None) -> int:
    """Runs the experiment and reports it; returns the process's exit status."""
    console = Console() if console is None else console
    return shell.guarded(
        console,
        lambda: _experiment(shortened(config), console),
        stopped="Every finished run is recorded; the same command goes on from there.",
    )


def _experiment(config: EntropyKCore, console: Console) -> int:
    started = time.perf_counter()
    check(config)
    bench = workbench(
        config.dataset,
        config.model,
        config.protocols()[0],
        dtype=config.dtype,
        **config.model_options(),
    )
    groups = channels.deciding_layers(bench.traced, group_source=config.group_source)
    if config.layer is not None and config.layer not in groups:
        raise ValueError(
            f"the redundancy graph can be drawn of {', '.join(groups)}, not of {config.layer!r}"
        )
    for job in {job for study in config.study for job in jobs(config)[study]}:
        filter_runs.check_images(bench, job.images)
    runner, records = execute(config, bench, console)
    console.print()
    outputs = Outputs(_folder(config), config.formats)
    filter_report.write(
        records,
        {study: jobs(config)[study] for study in config.study},
        runner.selection(0, config.images),
        tau=chosen_tau(config),
        layer=config.layer,
        outputs=outputs,
        title=f"{config.model} on {config.dataset}",
        settings=_described(config),
        console=console,
    )
    console.print(f"{len(records)} runs, {shell.seconds_since(started)}. Written:")
    for file in outputs.files:
        console.print(f"  {file}", soft_wrap=True)
    failed = sum(1 for _ in plan_of_runs(config)) - len(records)
    if failed:
        console.print(f"[bold red]{failed} runs failed[/], see above; they are left out.")
    return 1 if failed else 0


def _folder(config: EntropyKCore) -> Path:
    """A folder of tables and figures for each command: nothing of another one is replaced."""
    aside = ("results", "save_models", "checkpoint_epochs", "quick", "redo", "formats")
    asked = {name: value for name, value in asdict(config).items() if name not in aside}
    shared = {"asked": asked, "run": pruned_run(config, jobs(config)["tau"][0], 0)}
    name = f"{config.dataset}-{config.model}-{results.config_hash(shared)[:6]}"
    return config.results / EXPERIMENT / name


def _described(config: EntropyKCore) -> str:
    """What all runs share, in words."""
    dense, tuning = config.protocols()
    parts = [
        f"{what}: " + ", ".join(f"{name} {value}" for name, value in recorded(protocol).items())
        for what, protocol in (("Training", dense), ("Fine-tuning", tuning))
    ]
    parts.append(
        f"Feature maps of {config.images} images, group source {config.group_source}, delta "
        f"{config.delta}, round to {config.round_to}, {config.dtype}."
    )
    return ". ".join(parts)


if __name__ == "__main__":
    shell.leave(
        main(
            tyro.cli(EntropyKCore, prog="python -m experiments.entropy_kcore", description=__doc__)
        )
    )
