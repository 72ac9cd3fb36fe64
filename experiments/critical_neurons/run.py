"""A run of critical neurons: solve the program on a batch, prune by its scores and by rivals."""

import dataclasses
from typing import Any, ClassVar, Literal

from experiments.common import networks
from experiments.common.bench import Setup
from experiments.common.desk import Desk
from experiments.common.networks import TrainedNetwork
from experiments.common.protocol import Protocol, decisive
from experiments.common.run import Outcome, Run
from experiments.common.sources import digest
from experiments.common.trained import keys
from experiments.critical_neurons.program import Program, certificate, draw, source, timed_score
from experiments.critical_neurons.rivals import RIVALS, curve, measure, rival

NEEDS = ("reference", "rivals", "certificate")
"""The metrics that the record of a solved program must have."""


@dataclasses.dataclass(frozen=True)
class Solver:
    """How far and by what programs are solved, see ``solvers.settings``.

    Attributes:
      time_limit: seconds a program may take, after which its best answer counts; None: as long as
        it needs.
      gap: the relative gap that counts as solved.
      memory_mb: a limit for the solver's memory.
      max_prune: for mode "exact": the largest share of a layer's neurons that may be pruned.
      backend: the solver.
    """

    time_limit: float | None = None
    gap: float = 1e-4
    memory_mb: float | None = None
    max_prune: float | None = None
    backend: Literal["scip", "highs"] = "scip"


@dataclasses.dataclass(frozen=True)
class Solved(Run):
    """A program that is solved, and the networks pruned by it.

    Attributes:
      setup: the network, its data and its protocol.
      tuning: the protocol of fine-tuning.
      seed: the network's seed.
      program: what the program is made of.
      solver: how far and by what it is solved.
      workers: processes for programs that are independent of each other.
    """

    setup: Setup
    tuning: Protocol
    seed: int
    program: Program
    solver: Solver
    workers: int = dataclasses.field(default=1, compare=False)

    study: ClassVar[str] = "critical_neurons"
    metrics: ClassVar[tuple[str, ...]] = NEEDS

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        # what is at its default is not in a record's name
        others = {
            name: getattr(self.solver, name)
            for name in ("max_prune", "backend", "memory_mb")
            if getattr(self.solver, name) != getattr(Solver(), name)
        }
        return {
            **self.setup.config(),
            "kind": "solved",
            "seed": self.seed,
            **self.program._asdict(),
            "source": source(self.program.mode),
            "rivals": digest(rival),
            **others,
            "time_limit": self.solver.time_limit,
            "gap": self.solver.gap,
            "fine_tuning": decisive(self.tuning),
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        program = self.program
        return f"seed {self.seed}, batch {program.batch}, lambda {program.loss_weight:g}"

    @property
    def network(self) -> TrainedNetwork:
        """The network that is scored."""
        return TrainedNetwork(self.setup, self.seed)

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network that is scored."""
        return (self.network,)

    def do(self, desk: Desk) -> Outcome:
        """Solves, prunes by the scores and by rivals, tests, fine-tunes.

        Raises:
          ValueError: the program cannot hold the network.
          KeyboardInterrupt: the solver was stopped.
        """
        bench, dense = self.setup.bench(desk), networks.load(self.network, desk)
        batch = draw(bench, self.seed, self.program)

        def told(seconds: float, objective: float, bound: float) -> None:
            del seconds
            desk.show(f"{self.title}: {objective:.4f}, bound {bound:.4f}", 0, 1)

        solved, seconds = timed_score(
            bench,
            dense,
            batch,
            self.program,
            self.seed,
            **vars(self.solver),
            workers=self.workers,
            on_incumbent=told,
        )
        if solved.evidence.status == "interrupted":
            raise KeyboardInterrupt
        key, tools = keys(self.seed).method, bench.tools_for(bench.model, self.tuning)
        rivals, diverged = {}, False
        for done, name in enumerate(RIVALS):
            desk.show(f"{self.title}: {name}", done, len(RIVALS))
            keep = rival(name, solved, self.program, batch[0], dense, key)
            plan = solved.network.plan(keep)
            pruned, failed = measure(bench, tools, self.tuning, dense, plan, self.seed)
            rivals[name], diverged = pruned._asdict(), diverged or failed
        metrics = {
            "reference": dense.accuracy,
            "rivals": rivals,
            "certificate": certificate(solved, self.program.threshold),
            "diverged": diverged,
        }
        if self.seed == 0 and self.program.batch == 0:
            metrics["curve"] = curve(bench, solved, dense, key)
        return Outcome(metrics, seconds={"scoring": seconds})
