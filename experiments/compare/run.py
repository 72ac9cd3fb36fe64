"""One run of the comparison: a network is pruned, trained and tested, in one order or the other."""

from collections.abc import Hashable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import PyTree

from experiments.common import networks, trained
from experiments.common.bench import Setup
from experiments.common.desk import Desk
from experiments.common.during import DURING
from experiments.common.methods import settings
from experiments.common.networks import MASKS, TrainedNetwork
from experiments.common.protocol import DENSE, Protocol, decisive
from experiments.common.run import Outcome, Run, need
from experiments.common.shape import EVERYTHING, Shape
from experiments.common.together import TrainingRun, Work
from experiments.common.trained import Pruning
from prunejax import masks

NEEDS = ("accuracy", "kept_weights", "kept_parameters", "empty_layers")
"""The metrics that a record must have to be reported."""


@dataclass(frozen=True)
class Compared(TrainingRun):
    """A network that is pruned by a method and trained, or trained, pruned and trained on.

    Attributes:
      setup: the network, its data and its protocol.
      method: a name in ``NAMES``, or "dense".
      sparsity: the fraction of prunable weights removed; 0 for "dense".
      seed: the seed.
      shape: what of the network is pruned, in what shape.
      tuning: the protocol of fine-tuning, of networks that are pruned after training; None: they
        are pruned at initialisation.
      save_masks: whether the masks are kept beside the record.
      save_network: whether the network is kept under ``results/networks``.
    """

    setup: Setup
    method: str
    sparsity: float
    seed: int
    shape: Shape = EVERYTHING
    tuning: Protocol | None = None
    save_masks: bool = field(default=False, compare=False)
    save_network: bool = field(default=False, compare=False)

    study: ClassVar[str] = "compare"
    metrics: ClassVar[tuple[str, ...]] = NEEDS

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        protocol = asdict(self.setup.protocol)
        del protocol["checkpoint_epochs"]  # how often a run is saved changes nothing in it
        after = {} if self.tuning is None else {"tuning": decisive(self.tuning)}
        return {
            **self.setup.config(),
            **self.shape.config(),
            **after,
            "protocol": protocol,
            "method": self.method,
            "method_settings": {} if self.method == DENSE else settings(self.method),
            "sparsity": self.sparsity,
            "seed": self.seed,
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.method} at {self.sparsity}, seed {self.seed}"

    @property
    def pruning(self) -> Pruning | None:
        """How the network is pruned."""
        if self.method == DENSE:
            return None
        examples = self.setup.protocol.score_examples
        return Pruning(self.method, self.sparsity, examples, self.shape)

    @property
    def network(self) -> TrainedNetwork:
        """The network as all studies know it: pruned and trained, or trained and not pruned yet."""
        pruned_first = self.pruning if self.tuning is None else None
        return TrainedNetwork(self.setup, self.seed, pruned_first)

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network, where it is kept or is pruned after training."""
        return (self.network,) if self.save_network or self.tuning is not None else ()

    @property
    def keeps(self) -> tuple[Run, ...]:
        """The network, where it is kept."""
        return (self.network,) if self.save_network else ()

    @property
    def files(self) -> tuple[str, ...]:
        """The masks, where they are kept."""
        return (MASKS,) if self.save_masks else ()

    @property
    def kind(self) -> Hashable:
        """Of the same setup and fine-tuning, by the same optimiser where that prunes."""
        during = (self.method, self.sparsity) if self.method in DURING else None
        return self.study, self.setup, self.tuning, during

    def work(self, desk: Desk) -> Work[Outcome]:
        """Prunes, trains and tests, or reads what was kept."""
        bench = self.setup.bench(desk)
        if self.tuning is not None and self.pruning is not None:
            made = yield from trained.retraining_of(
                bench,
                self.seed,
                self.pruning,
                self.tuning,
                networks.load(self.network, desk).variables,
                show=networks.titled(desk.show, self.title),
                checkpoints=networks.checkpoints_of(self, bench, desk),
            )
            outcome, kept = made.outcome, made.masks
        elif self.needs:
            record = need(self.network, desk.results)
            outcome = Outcome(record["metrics"], record["history"], record["seconds"])
            kept = networks.masks_of(self.network, bench, desk) if self.save_masks else None
        else:
            made = yield from trained.training_of(
                bench,
                self.seed,
                self.pruning,
                show=networks.titled(desk.show, self.title),
                checkpoints=networks.checkpoints_of(self, bench, desk),
            )
            outcome, kept = made.outcome, made.masks
        if self.save_masks:
            return outcome._replace(files={MASKS: partial(_save, kept)})
        return outcome


def _save(kept: PyTree, path: Path) -> None:
    masks.save(path, kept)
