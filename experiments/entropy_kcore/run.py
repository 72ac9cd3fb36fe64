"""Runs of filter pruning: a trained network is pruned once, cut, fine-tuned; or timed."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from experiments.common import networks
from experiments.common.bench import Setup, Workbench
from experiments.common.desk import Desk
from experiments.common.networks import TrainedNetwork
from experiments.common.protocol import Protocol, decisive
from experiments.common.run import Outcome, Run
from experiments.entropy_kcore.selection import Selection, source
from experiments.entropy_kcore.tuning import FineTuned, fine_tune, latency
from prunejax import channels, models, network

NEEDS = ("accuracy", "accuracy_pruned", "accuracy_dense", "flops_reduction", "parameter_reduction")
"""The metrics that the record of a pruned network must have."""

PLAN, SLICED = "plan.json", "sliced"
"""What lies beside a record: the plan, and the network as a folder that needs no program."""


class Cut(NamedTuple):
    """How one network is pruned.

    Attributes:
      method: a name in ``METHODS``.
      tau: the threshold.
      images: of how many images feature maps are taken.
      rate: the learning rate of fine-tuning.
      curve: whether the network is tested after each epoch, not only after the last.
    """

    method: str
    tau: float
    images: int
    rate: float
    curve: bool = False


@dataclasses.dataclass(frozen=True)
class PrunedNetwork(Run):
    """A trained network that is pruned once, cut and fine-tuned.

    Attributes:
      setup: the network, its data and its protocol.
      tuning: the protocol of fine-tuning.
      cut: how it is pruned.
      seed: the network's seed.
      group_source: which layer stands for channels that several share.
      delta: by how much the threshold rises towards the last layer.
      round_to: numbers of channels are raised to multiples of it.
      save_model: whether the small network is kept.
    """

    setup: Setup
    tuning: Protocol
    cut: Cut
    seed: int
    group_source: channels.GroupSource
    delta: float
    round_to: int | None
    save_model: bool = dataclasses.field(default=False, compare=False)

    study: ClassVar[str] = "entropy_kcore"
    kind: ClassVar[str] = "pruned"
    metrics: ClassVar[tuple[str, ...]] = NEEDS

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        return {
            **self.setup.config(),
            "kind": self.kind,
            "seed": self.seed,
            "method": self.cut.method,
            "source": source(self.cut.method),
            "tau": self.cut.tau,
            "images": self.cut.images,
            "group_source": self.group_source,
            "delta": self.delta,
            "round_to": self.round_to,
            "fine_tuning": decisive(dataclasses.replace(self.tuning, learning_rate=self.cut.rate)),
            "curve": self.cut.curve,
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"seed {self.seed}, tau {self.cut.tau}: {self.cut.method}"

    @property
    def network(self) -> TrainedNetwork:
        """The network that is pruned."""
        return TrainedNetwork(self.setup, self.seed)

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network that is pruned."""
        return (self.network,)

    @property
    def files(self) -> tuple[str, ...]:
        """The plan, and the small network where it is kept."""
        return (PLAN, SLICED) if self.save_model else (PLAN,)

    def selection(self, desk: Desk) -> "Selection":
        """What the network shows; measured once for all runs on it."""
        key = (self.network, self.cut.images, self.group_source, self.delta, self.round_to)
        return desk.kept("selection", key, lambda: self._selection(desk), at_most=4)

    def _selection(self, desk: Desk) -> "Selection":
        return Selection(
            self.setup.bench(desk),
            networks.load(self.network, desk),
            self.seed,
            images=self.cut.images,
            group_source=self.group_source,
            delta=self.delta,
            round_to=self.round_to,
        )

    def do(self, desk: Desk) -> Outcome:
        """Prunes, cuts, fine-tunes and tests.

        Raises:
          ValueError: the method cannot score a layer, which is named.
        """
        desk.show(f"{self.title}: selecting", 0, 1)
        bench, selection = self.setup.bench(desk), self.selection(desk)
        measuring = selection.measure()
        started = time.perf_counter()
        plan = selection.plan(self.cut.method, self.cut.tau)
        selecting = time.perf_counter() - started
        tuned = fine_tune(
            bench,
            networks.load(self.network, desk),
            plan,
            dataclasses.replace(self.tuning, learning_rate=self.cut.rate),
            self.seed,
            curve=self.cut.curve,
            on_epoch=lambda now: desk.show(f"{self.title}: fine-tuning", now.epoch, now.epochs),
        )
        files: dict[str, Callable[[Path], Any]] = {PLAN: plan.save}
        if self.save_model:
            files[SLICED] = functools.partial(_save_model, bench, plan, tuned)
        seconds = {"measuring": measuring, "selecting": selecting, "fine_tuning": tuned.seconds}
        return Outcome(tuned.metrics, tuned.history, seconds, files)


class Latency(PrunedNetwork):
    """How fast a pruned network is beside the dense one; it is not fine-tuned for that."""

    kind: ClassVar[str] = "latency"
    alone: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"seed {self.seed}, tau {self.cut.tau}: latency"

    @property
    def files(self) -> tuple[str, ...]:
        """None."""
        return ()

    def do(self, desk: Desk) -> Outcome:
        """Times both, in turns."""
        desk.show(self.title, 0, 1)
        plan = self.selection(desk).plan(self.cut.method, self.cut.tau)
        bench = self.setup.bench(desk)
        return Outcome(latency(bench, networks.load(self.network, desk), plan))


def _save_model(bench: Workbench, plan: network.Plan, tuned: "FineTuned", path: Path) -> None:
    """Keeps a pruned network as a folder that needs nothing of this program."""
    model = models.resized(bench.precise, plan.by_leaf())
    network.save_sliced(
        path,
        plan,
        tuned.variables,
        bench.test.images[:1],
        description={"model": models.describe(model), "metrics": tuned.metrics},
    )
