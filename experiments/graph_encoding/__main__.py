"""Graph encoding (Cunegatti et al. 2024): pruned networks as graphs, and what ranks methods best.

    prunejax graph_encoding             digits, a small conv6 and an MLP
    prunejax graph_encoding --quick     less of it, to see that everything works
    prunejax graph_encoding --track     beside it, graphs of networks as they train
    prunejax graph_encoding --study published --reference FOLDER
    prunejax graph_encoding --study neurons --model mlp
    prunejax graph_encoding --study pool --datasets cifar10 --models conv6 resnet20

Seven methods prune networks at initialisation to five sparsities; each is encoded, measured and
trained: three minutes. Expect on digits that topometrics predict the drop in accuracy with an
adjusted R2 of .8 and .9 in the two models, and layer density with .3 and .2. "published" needs the
published data and 15 seconds. Nothing is done twice: stop with Ctrl-C, start again with the same
command, and it goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from experiments.common import command
from experiments.common.bench import Setup
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.during import DURING
from experiments.common.methods import METHODS
from experiments.common.networks import TrainedNetwork
from experiments.common.options import (
    DatasetName,
    Flat,
    ModelName,
    NetworkOptions,
    Options,
    changed,
    folder_of,
)
from experiments.common.outputs import Outputs
from experiments.common.page import Page
from experiments.common.protocol import check_protocol, protocol_for
from experiments.common.run import Run
from experiments.common.study import Done
from experiments.common.trained import Pruning
from experiments.graph_encoding import report, reproduction
from experiments.graph_encoding.run import Encoded, Neurons, Tracked
from prunejax.topology import REGRESSORS

if TYPE_CHECKING:
    from typing import TypeAlias

    MethodName: TypeAlias = str
    DuringName: TypeAlias = str
    RegressorName: TypeAlias = str
else:
    MethodName = tyro.extras.literal_type_from_choices(METHODS)
    DuringName = tyro.extras.literal_type_from_choices(DURING)
    RegressorName = tyro.extras.literal_type_from_choices(REGRESSORS)

PAPERS = ("snip", "grasp", "synflow", "prospr", "uniform", "er", "erk")

SMALL = {"conv6": (("conv_widths", (8, 8, 16, 16, 32, 32)), ("hidden_widths", (32, 32)))}
"""What models are like on digits: images of 8 x 8 need no more."""

EPOCHS = 15
"""Of each network of the study of digits."""


@dataclass(frozen=True, kw_only=True)
class GraphEncoding(Options):
    """What to encode; settings left out are the study's or the data set's defaults.

    Attributes:
      study: "digits", small networks; "pool", the paper's grid; "published", its tables from the
        published data; "neurons", three papers' ideas of what makes a neuron important.
      datasets: of "pool".
      models: of "digits" (mlp, conv6) and of "pool" (conv6, resnet20, resnet32, wide_resnet28_2).
      methods: what prunes networks at initialisation.
      sparsities: the fractions of prunable weights removed.
      regressor: what predicts the drop in accuracy; "published" is least squares always. A cell of
        digits has 42 networks for 16 metrics, too few for "ols".
      repeats: of each cross-validation of "published".
      compat: graphs and metrics as in the published code, where it differs from the paper.
      track: watch the graphs of networks as they are pruned or rewired in training.
      track_methods: how these are.
      track_sparsity: to which sparsity.
      reference: the folder of the published data.
      network: the network of "neurons" and of --track, and its data.
      training: how networks are trained.
      running: how much is run, and where; --quick: two sparsities, four methods, one seed.
    """

    study: Literal["digits", "pool", "published", "neurons"] = "digits"
    datasets: tuple[DatasetName, ...] = ("cifar10",)
    models: tuple[ModelName, ...] = ()
    methods: tuple[MethodName, ...] = PAPERS
    sparsities: tuple[float, ...] = (0.6, 0.8, 0.9, 0.95, 0.98)
    regressor: RegressorName = "ridge"
    repeats: int = 100
    compat: bool = False
    track: bool = False
    track_methods: tuple[DuringName, ...] = ("set", "ch3_l3", "rigl", "gmp")
    track_sparsity: float = 0.95
    reference: Path | None = None
    network: Flat[NetworkOptions] = field(default_factory=NetworkOptions)


def shortened(config: GraphEncoding) -> GraphEncoding:
    """What ``--quick`` leaves of a configuration."""
    if not config.running.quick:
        return config
    return changed(
        config,
        seeds=1,
        repeats=3,
        sparsities=config.sparsities[:: max(1, len(config.sparsities) - 1)],
        methods=config.methods[:4],
    )


def check(config: GraphEncoding) -> None:
    """Refuses settings that no run could follow, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    if config.study == "published":
        if config.reference is None:
            raise ValueError("--study published needs --reference, the folder of published data")
        if not config.reference.is_dir():
            raise ValueError(f"there is no folder {config.reference}")
        return
    if not config.methods or not config.sparsities:
        raise ValueError("name at least one method and one sparsity")
    for sparsity in (*config.sparsities, config.track_sparsity):
        if not 0 <= sparsity < 1:
            raise ValueError(f"sparsities must be in [0, 1), got {sparsity}")
    if config.repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {config.repeats}")
    for setup in (*_setups(config), _one(config)):
        check_protocol(setup.protocol)


def _setups(config: GraphEncoding) -> list[Setup]:
    """The networks that are pruned, each data set's models in turn."""
    if config.study == "digits":
        return [_small(config, model) for model in config.models or ("mlp", "conv6")]
    models = config.models or ("conv6", "resnet20", "resnet32", "wide_resnet28_2")
    return [_setup(config, dataset, model) for dataset in config.datasets for model in models]


def _small(config: GraphEncoding, model: str) -> Setup:
    given = {"epochs": EPOCHS, **config.training.given()}
    if config.running.quick:
        given.pop("epochs")
    protocol = protocol_for("digits", model, quick=config.running.quick, **given)
    return Setup("digits", model, protocol, SMALL.get(model, ()), config.network.dtype)


def _setup(config: GraphEncoding, dataset: str, model: str) -> Setup:
    quick, given = config.running.quick, config.training.given()
    protocol = protocol_for(dataset, model, quick=quick, **given)
    shortcut = config.network.shortcut or "conv1x1"  # as in the paper's table of architectures
    narrow = model.startswith("resnet") and model != "resnet50"
    options = (("shortcut", shortcut),) if narrow else ()
    return Setup(dataset, model, protocol, options, config.network.dtype)


def _one(config: GraphEncoding) -> Setup:
    """The network of the studies that look at one."""
    if config.network.dataset == "digits" and config.network.model in SMALL:
        return _small(config, config.network.model)
    return _setup(config, config.network.dataset, config.network.model)


def runs(config: GraphEncoding) -> list[Run]:
    """Every network, encoded; and what is watched."""
    seeds = range(config.running.seeds)
    if config.study == "neurons":
        return [Neurons(TrainedNetwork(_one(config), seed)) for seed in seeds]
    asked: list[Run] = []
    if config.study in ("digits", "pool"):
        asked += [
            Encoded(
                TrainedNetwork(
                    setup, seed, Pruning(method, sparsity, setup.protocol.score_examples)
                ),
                config.compat,
            )
            for setup in _setups(config)
            for seed in seeds
            for method in dict.fromkeys(config.methods)
            for sparsity in dict.fromkeys(config.sparsities)
        ]
    if config.track:
        asked += [
            Tracked(_one(config), method, config.track_sparsity, seed)
            for seed in seeds
            for method in dict.fromkeys(config.track_methods)
        ]
    return asked


def write(config: GraphEncoding, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes tables and figures."""
    folder = config.running.results / "graph_encoding" / _folder(config)
    outputs = Outputs(folder, config.running.formats)
    page = Page("Graph encoding", _title(config), outputs, console)
    if config.study == "published":
        assert config.reference is not None  # checked
        reproduction.write_published(config.reference, page, config.repeats, compat=config.compat)
    if config.study in ("digits", "pool"):
        report.write_pool(report.frame_of(done.records, desk), config.regressor, page)
        report.draw_one(done.records, page, desk)
    report.write_neurons(done.records, page)
    report.write_tracked(done.records, page)
    return page.close()


def _folder(config: GraphEncoding) -> str:
    if config.study == "published":
        return "published-compat" if config.compat else "published"
    return f"{config.study}-{folder_of(config, 'graph_encoding').name.rpartition('-')[2]}"


def _title(config: GraphEncoding) -> str:
    if config.study == "published":
        return "published results"
    if config.study == "neurons":
        return f"neurons of {_one(config).title}"
    return ", ".join(dict.fromkeys(setup.title for setup in _setups(config)))


def _method(run: Run) -> str:
    if isinstance(run, Encoded) and run.network.pruning is not None:
        return run.network.pruning.method
    return run.method if isinstance(run, Tracked) else run.study


STUDY = Study("graph_encoding", runs, write, _method, check, shorten=shortened)


def main(config: GraphEncoding, console: Console | None = None) -> int:
    """Trains, encodes and reports; returns the process's exit status."""
    return command.main(STUDY, config, console)


def start() -> None:
    """Reads the command line and does the study."""
    command.start(STUDY, GraphEncoding, __doc__)


if __name__ == "__main__":
    start()
