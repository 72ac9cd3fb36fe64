"""The options that all command lines share; ``changed`` sets one wherever it stands."""

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from experiments.common.bench import Setup
from experiments.common.outputs import DEFAULT, Format
from experiments.common.protocol import PROTOCOLS, Protocol, check_protocol, protocol_for
from experiments.common.records import config_hash
from prunejax import data, models, training

if TYPE_CHECKING:
    from typing import TypeAlias

    DatasetName: TypeAlias = str
    ModelName: TypeAlias = str
    OptimizerName: TypeAlias = str
    ScheduleName: TypeAlias = str
else:
    DatasetName = tyro.extras.literal_type_from_choices(data.DATASETS)
    ModelName = tyro.extras.literal_type_from_choices(models.MODELS)
    OptimizerName = tyro.extras.literal_type_from_choices(training.OPTIMIZERS)
    ScheduleName = tyro.extras.literal_type_from_choices(training.SCHEDULES)

Flat = tyro.conf.OmitArgPrefixes
"""Options that are named on the command line as if they were not nested."""

ADDRESS = r"(tcp|tls|ws|wss|ucx|ucxx|inproc)://.+"
"""What an address of a Dask scheduler looks like."""

ASIDE = {
    "results", "quick", "redo", "formats", "workers", "scheduler", "checkpoint_epochs", "together",
    "profile",
    "solver_workers", "save_masks", "save_models", "save_networks",
}  # fmt: skip
"""Settings that change no table."""

TOGETHER = 8
"""Networks that are trained as one program on an accelerator."""

ALL = "all"
"""What ``--redo`` takes beside the names of methods."""


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The network and its data.

    Attributes:
      dataset: the data; "digits" and "digits28" (the same at 28 x 28) need no download, the others
        are read from TFDS_DATA_DIR.
      model: the network.
      shortcut: how a CIFAR ResNet's blocks change width (resnet20 .. resnet110).
      dtype: of activations; parameters are float32 always.
    """

    dataset: DatasetName = "digits"
    model: ModelName = "mlp"
    shortcut: Annotated[
        Literal["conv3x3", "conv1x1", "pad"] | None,
        tyro.conf.arg(help_behavior_hint="(default: the model's own)"),
    ] = None
    dtype: Literal["float32", "bfloat16"] = "float32"

    def setup(self, protocol: Protocol) -> Setup:
        """The same, trained under a protocol."""
        options = () if self.shortcut is None else (("shortcut", self.shortcut),)
        return Setup(self.dataset, self.model, protocol, options, self.dtype)


SHOWN = ("digits", "mnist", "cifar10")
"""Data sets that stand for those of their kind in what ``--help`` says of defaults."""


def default_of(name: str) -> Any:
    """What ``--help`` says of an option whose default is the data set's own."""
    values = {dataset: getattr(PROTOCOLS[dataset], name) for dataset in SHOWN}
    said = {dataset: "none" if value is None else value for dataset, value in values.items()}
    if len(set(said.values())) == 1:
        text = f"{said[SHOWN[0]]}"
    else:
        text = ", ".join(f"{value} for {dataset}" for dataset, value in said.items())
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How networks are trained; what is left out is the data set's default.

    Attributes:
      epochs: passes over the training data.
      batch_size: examples per step.
      optimizer: the optimiser.
      learning_rate: the initial learning rate.
      schedule: how the learning rate falls.
      momentum: momentum, or the first decay rate of adamw and lion.
      weight_decay: off biases and normalisation.
      label_smoothing: in [0, 1).
      augment: random crops and flips of the training images.
      score_examples: how many training examples a criterion of weights sees.
      limit: train on so many examples, drawn evenly from the classes.
      checkpoint_epochs: save a run's state every so many epochs, to go on from; 0: never.
    """

    epochs: Annotated[int | None, default_of("epochs")] = None
    batch_size: Annotated[int | None, default_of("batch_size")] = None
    optimizer: Annotated[OptimizerName | None, default_of("optimizer")] = None
    learning_rate: Annotated[float | None, default_of("learning_rate")] = None
    schedule: Annotated[ScheduleName | None, default_of("schedule")] = None
    momentum: Annotated[float | None, default_of("momentum")] = None
    weight_decay: Annotated[float | None, default_of("weight_decay")] = None
    label_smoothing: Annotated[float | None, default_of("label_smoothing")] = None
    augment: Annotated[bool | None, default_of("augment")] = None
    score_examples: Annotated[int | None, default_of("score_examples")] = None
    limit: Annotated[int | None, default_of("limit")] = None
    checkpoint_epochs: Annotated[int | None, default_of("checkpoint_epochs")] = None

    def given(self) -> dict[str, Any]:
        """What was given, by the names of ``Protocol``'s fields."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class RunningOptions:
    """How much is run, where, and where results go.

    Attributes:
      seeds: how many seeds: 0, 1, ...
      quick: less of everything, to see that it works.
      redo: do runs again though they are recorded: "all", or those of these methods.
      workers: do runs in so many processes of this machine.
      scheduler: do runs on the Dask cluster at this address, "tcp://host:8786" say.
      together: train so many networks as one program.
      profile: write a trace of one epoch of the first training, for TensorBoard or Perfetto, to
        the folder "profile" of the results.
      formats: of tables (csv, md, tex) and figures (png, pdf).
      results: where records, tables and figures go.
    """

    seeds: int = 3
    quick: bool = False
    redo: tuple[str, ...] = ()
    workers: int = 1
    scheduler: str | None = None
    together: Annotated[
        int | None,
        tyro.conf.arg(
            help_behavior_hint=f"(default: {TOGETHER} on a GPU or TPU with one worker, else 1)"
        ),
    ] = None
    profile: bool = False
    formats: tuple[Format, ...] = DEFAULT
    results: Path = Path("results")

    def networks_together(self) -> int:
        """How many networks are trained as one program."""
        if self.together is not None:
            return self.together
        # Not asked where processes of their own have the device: asking takes its memory.
        here = self.workers == 1 and self.scheduler is None
        return TOGETHER if here and training.on_accelerator() else 1

    def check(self) -> None:
        """Refuses numbers that are out of range.

        Raises:
          ValueError: which setting is wrong, what was given and what is allowed.
        """
        for name in ("seeds", "workers", "together"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.profile and (self.scheduler is not None or self.workers > 1):
            raise ValueError("--profile goes with one worker: it traces this process")
        if self.scheduler is not None and self.workers > 1:
            raise ValueError("give --workers or --scheduler: a cluster has workers of its own")
        if self.scheduler is not None and not re.fullmatch(ADDRESS, self.scheduler):
            raise ValueError(
                f'scheduler must be an address like "tcp://host:8786", got {self.scheduler!r}'
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a study's command takes; its own settings are fields of a subclass.

    Attributes:
      network: the network and its data.
      training: how networks are trained.
      running: how much is run, and where.
    """

    network: Flat[NetworkOptions] = dataclasses.field(default_factory=NetworkOptions)
    training: Flat[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    running: Flat[RunningOptions] = dataclasses.field(default_factory=RunningOptions)


def setup_of(config: Options, *, trained: bool = False) -> Setup:
    """The network that a configuration names, with the protocol that it asks for.

    Args:
      config: the configuration.
      trained: whether the network is pruned after training.

    Raises:
      ValueError: a setting of the protocol is out of its range.
    """
    network = config.network
    quick, given = config.running.quick, config.training.given()
    protocol = protocol_for(network.dataset, network.model, quick=quick, trained=trained, **given)
    check_protocol(protocol)
    return network.setup(protocol)


Config = TypeVar("Config")


def changed(config: Config, **fields: Any) -> Config:
    """A configuration with other values of some fields, wherever they stand in it.

    Args:
      config: a dataclass whose fields may be dataclasses.
      **fields: a field's name, at any depth, and its new value.

    Raises:
      ValueError: there is no field of this name.
    """
    config, left = _changed(config, fields)
    if left:
        raise ValueError(f"there is no setting {', '.join(sorted(left))}")
    return config


def _changed(config: Any, fields: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    own = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    here = {name: value for name, value in fields.items() if name in own}
    left = {name: value for name, value in fields.items() if name not in own}
    for name, value in own.items():
        if left and name not in here and dataclasses.is_dataclass(value):
            here[name], left = _changed(value, left)
    return dataclasses.replace(config, **here), left


def flat(config: Any) -> dict[str, Any]:
    """All settings of a configuration by name, those of nested options too."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        settings |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return settings


def folder_of(config: Options, study: str, *more: Any) -> Path:
    """Where a command's tables and figures go: a folder of its own, so that it replaces no other's.

    Args:
      config: its configuration.
      study: the study's name.
      *more: what else tells the command from others, as JSON holds it.
    """
    asked = {name: value for name, value in flat(config).items() if name not in ASIDE}
    network, settings = config.network, config_hash({"asked": asked, "more": more})[:6]
    name = f"{network.dataset}-{network.model}-{settings}"
    return config.running.results / study / name
