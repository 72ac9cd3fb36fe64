"""Entropy-guided k-core filter pruning (Yang et al. 2025): train, prune, cut out, fine-tune.

    prunejax entropy_kcore          a small residual net on digits, under 3 minutes
    prunejax entropy_kcore --quick  less of it, to see that everything works
    prunejax entropy_kcore --dataset cifar10 --model vgg16 --tau 0.8 0.75 0.7
    prunejax entropy_kcore --study sample_size learning_rate

Expect on digits: dense 98 %; at tau 0.7 about 41 % of the multiply-adds go for half a point. Each
network is trained once, for all studies, and no run is done twice: stop with Ctrl-C, start again
with the same command, and it goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from experiments.common import command
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.options import Flat, NetworkOptions, Options, changed, folder_of
from experiments.common.outputs import Outputs
from experiments.common.protocol import Protocol, check_protocol, decisive
from experiments.common.study import Done
from experiments.entropy_kcore import report
from experiments.entropy_kcore.run import Cut, Latency, PrunedNetwork
from experiments.entropy_kcore.selection import METHODS, OURS, check_images
from experiments.entropy_kcore.tuning import protocols
from prunejax import channels
from prunejax.channels import GroupSource

if TYPE_CHECKING:
    from typing import TypeAlias

    MethodName: TypeAlias = str
else:
    MethodName = tyro.extras.literal_type_from_choices(METHODS)

StudyName = Literal["tau", "criteria", "sample_size", "learning_rate"]
SAMPLE_SIZES = tuple(range(25, 201, 25))
RATES = (0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True, kw_only=True)
class EntropyKCore(Options):
    """What to prune; settings left out are the data set's defaults.

    Attributes:
      tau: the thresholds on similarity.
      at: the threshold of the other studies and of the layer table; by default 0.7, or the middle
        one of tau.
      study: "tau": the thresholds, and 1, at which nothing goes, to see what fine-tuning alone
        does; "criteria": other ways to choose as many filters of each layer (Fig. 5);
        "sample_size": 25 to 200 images (Table 8); "learning_rate": of fine-tuning (Fig. 6).
      criteria: the methods of the study "criteria".
      images: of how many training images feature maps are taken.
      group_source: which layer stands for channels that a residual sum ties: "shortcut" or "main".
      delta: by how much the threshold rises from the first layer to the last.
      round_to: raise numbers of channels to multiples of it.
      layer: the layer that the redundancy graph is drawn of; by default the one with most edges.
      fine_tune_epochs: of training the pruned network on.
      fine_tune_rate: its initial learning rate.
      save_models: keep every pruned network, to be restored without this program, as a folder with
        its plan, its variables and a jax.export artifact.
      network: the network and its data.
      training: how the dense network is trained.
      running: how much is run, and where; --quick: one seed, three epochs and two of fine-tuning,
        the first and the last of tau, three criteria, whatever else is asked for.
    """

    tau: tuple[float, ...] = (0.75, 0.7, 0.65, 0.6)
    at: float | None = None
    study: tuple[StudyName, ...] = ("tau", "criteria")
    criteria: tuple[MethodName, ...] = (
        "entropy_kcore",
        "kcore_l1",
        "kcore_random",
        "entropy",
        "l1",
        "random",
    )
    images: int = 100
    group_source: GroupSource = "shortcut"
    delta: float = 0.0
    round_to: int | None = None
    layer: str | None = None
    fine_tune_epochs: int | None = None
    fine_tune_rate: float | None = None
    save_models: bool = False
    network: Flat[NetworkOptions] = field(default_factory=lambda: NetworkOptions(model="resnet8"))

    def protocols(self) -> tuple[Protocol, Protocol]:
        """Of training and of fine-tuning."""
        return protocols(
            self.network.dataset,
            self.network.model,
            quick=self.running.quick,
            fine_tuning={"epochs": self.fine_tune_epochs, "learning_rate": self.fine_tune_rate},
            **self.training.given(),
        )


def shortened(config: EntropyKCore) -> EntropyKCore:
    """What ``--quick`` leaves of a configuration."""
    if not config.running.quick:
        return config
    return changed(
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


def cuts(config: EntropyKCore) -> dict[StudyName, list[Cut]]:
    """What each study that is asked for prunes."""
    at, (_, tuning) = chosen_tau(config), config.protocols()
    ours = Cut(OURS, at, config.images, tuning.learning_rate)
    studies: dict[StudyName, list[Cut]] = {
        "tau": [ours._replace(tau=tau) for tau in dict.fromkeys((1.0, *config.tau))],
        "criteria": [ours._replace(method=name) for name in dict.fromkeys(config.criteria)],
        "sample_size": [ours._replace(images=images) for images in SAMPLE_SIZES],
        "learning_rate": [ours._replace(rate=rate, curve=True) for rate in RATES],
    }
    return {name: studies[name] for name in config.study}


def check(config: EntropyKCore) -> None:
    """Refuses settings that no run could follow, before the first one starts.

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
    for name in ("images", "round_to"):
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    for protocol in config.protocols():
        if not 0 < protocol.learning_rate < float("inf"):
            raise ValueError(f"learning rates must be positive, got {protocol.learning_rate}")
        check_protocol(protocol)


def pruned(config: EntropyKCore, cut: Cut, seed: int) -> PrunedNetwork:
    """The run of one cut."""
    dense, tuning = config.protocols()
    return PrunedNetwork(
        config.network.setup(dense),
        tuning,
        cut,
        seed,
        config.group_source,
        config.delta,
        config.round_to,
        config.save_models,
    )


def runs(config: EntropyKCore) -> list[PrunedNetwork]:
    """Every run, seed by seed, and how fast the networks of the study "tau" are."""
    studies = cuts(config)
    asked = dict.fromkeys(cut for of_study in studies.values() for cut in of_study)
    every = [pruned(config, cut, seed) for seed in range(config.running.seeds) for cut in asked]
    timed = [pruned(config, cut, 0) for cut in studies.get("tau", [])]
    return every + [Latency(**{**vars(one), "save_model": False}) for one in timed]


def prepare(config: EntropyKCore, desk: Desk) -> None:
    """Refuses what the data or the network cannot do."""
    bench = config.network.setup(config.protocols()[0]).bench(desk)
    groups = channels.deciding_layers(bench.traced, group_source=config.group_source)
    if config.layer is not None and config.layer not in groups:
        raise ValueError(
            f"the redundancy graph can be drawn of {', '.join(groups)}, not of {config.layer!r}"
        )
    for run in runs(config):
        check_images(bench, run.cut.images)


def write(config: EntropyKCore, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes a table per study, the layers, and figures."""
    first = pruned(config, Cut(OURS, chosen_tau(config), config.images, 0.0), 0)
    # of a network that failed there is nothing to show
    is_there = any(record["config"]["seed"] == 0 for record in done.records.values())
    dense, tuning = (decisive(protocol) for protocol in config.protocols())
    folder = folder_of(config, "entropy_kcore", dense, tuning)
    outputs = Outputs(folder, config.running.formats)
    report.write(
        list(done.records.values()),
        cuts(config),
        first.selection(desk) if is_there else None,
        tau=chosen_tau(config),
        layer=config.layer,
        outputs=outputs,
        title=first.setup.title,
        settings=_described(config),
        console=console,
    )
    return outputs.files


def _described(config: EntropyKCore) -> str:
    """What all runs share, in words."""
    dense, tuning = config.protocols()
    parts = [
        f"{what}: " + ", ".join(f"{name} {value}" for name, value in decisive(protocol).items())
        for what, protocol in (("Training", dense), ("Fine-tuning", tuning))
    ]
    parts.append(
        f"Feature maps of {config.images} images, group source {config.group_source}, delta "
        f"{config.delta}, round to {config.round_to}, {config.network.dtype}."
    )
    return ". ".join(parts)


STUDY = Study("entropy_kcore", runs, write, lambda run: run.cut.method, check, prepare, shortened)


def main(config: EntropyKCore, console: Console | None = None) -> int:
    """Runs the experiment and reports it; returns the process's exit status."""
    return command.main(STUDY, config, console)


def start() -> None:
    """Reads the command line and does the study."""
    command.start(STUDY, EntropyKCore, __doc__)


if __name__ == "__main__":
    start()
