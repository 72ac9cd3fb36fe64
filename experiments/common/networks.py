"""Trained networks, which all studies share: each is a run, and is trained once.

``results/networks/<hash>/`` holds the record (how it was trained, how well it does), the variables
and, where the network was pruned, the masks.
"""

import dataclasses
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from experiments.common import claims
from experiments.common.attempts import CHECKPOINTS, perform
from experiments.common.bench import Setup, Workbench
from experiments.common.desk import Desk, Show
from experiments.common.during import DURING
from experiments.common.run import Outcome, Run, need, path_of
from experiments.common.together import TrainingRun, Work
from experiments.common.trained import Pruning, training_of
from prunejax import checkpoint
from prunejax import masks as masks_lib

VARIABLES, MASKS = "variables", "masks.npz"
"""What lies beside the record of a network."""


@dataclasses.dataclass(frozen=True)
class TrainedNetwork(TrainingRun):
    """A network that is trained, and kept.

    Attributes:
      setup: the network, its data and its protocol.
      seed: determines all that is random.
      pruning: how it is pruned before; None: it is dense.
    """

    setup: Setup
    seed: int
    pruning: Pruning | None = None

    study: ClassVar[str] = "networks"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def config(self) -> dict[str, Any]:
        """Everything that determines it."""
        pruned = None if self.pruning is None else self.pruning.config()
        return {**self.setup.config(), "seed": self.seed, "pruning": pruned}

    @property
    def title(self) -> str:
        """Its name for people."""
        if self.pruning is None:
            return f"the dense network of seed {self.seed}"
        return f"{self.pruning.method} at {self.pruning.sparsity}, seed {self.seed}"

    @property
    def files(self) -> tuple[str, ...]:
        """Variables, and masks where it has some."""
        return (VARIABLES,) if self.pruning is None else (VARIABLES, MASKS)

    @property
    def kind(self) -> Hashable:
        """Of the same setup, and pruned by the same optimiser where that prunes."""
        during = self.pruning if self.pruning and self.pruning.method in DURING else None
        return self.study, self.setup, during

    def work(self, desk: Desk) -> Work[Outcome]:
        """Prunes, trains, tests.

        Raises:
          ValueError: it is dense and diverged, or the method cannot prune it so far.
        """
        bench = self.setup.bench(desk)
        made = yield from training_of(
            bench,
            self.seed,
            self.pruning,
            checkpoints=checkpoints_of(self, bench, desk),
            show=titled(desk.show, self.title),
        )
        if made.outcome.metrics["diverged"] and self.pruning is None:
            raise ValueError(
                f"{self.title} diverged: its variables are NaN or infinite; lower the learning "
                f"rate ({bench.protocol.learning_rate})"
            )
        files: dict[str, Callable[[Path], Any]] = {
            VARIABLES: lambda path: checkpoint.save(path, 0, made.variables)
        }
        if self.pruning is not None:
            files[MASKS] = lambda path: masks_lib.save(path, made.masks)
        return made.outcome._replace(files=files)


class LoadedNetwork(NamedTuple):
    """A trained network as studies read it.

    Attributes:
      variables: ``params`` and running statistics.
      accuracy: on the test images, in [0, 1].
    """

    variables: dict[str, Any]
    accuracy: float


def load(run: TrainedNetwork, desk: Desk) -> LoadedNetwork:
    """A recorded network; one whose file cannot be read is trained again, with a warning.

    Raises:
      ValueError: it is not recorded.
    """
    return desk.kept("network", run, lambda: _load(run, desk), at_most=4)


def masks_of(run: TrainedNetwork, bench: Workbench, desk: Desk) -> Any:
    """The masks of a recorded network; of a dense one, all weights are there.

    Raises:
      ValueError: its file cannot be read.
    """
    params = bench.traced.variables["params"]
    if run.pruning is None:
        return masks_lib.make(params)
    return masks_lib.load(path_of(run, desk.results).parent / MASKS, params)


def _load(run: TrainedNetwork, desk: Desk) -> LoadedNetwork:
    record = need(run, desk.results)
    bench, path = run.setup.bench(desk), path_of(run, desk.results)
    try:
        variables = restored(path.parent / VARIABLES, bench)
    except ValueError:
        waiting = f"waiting for another process: {run.title}"
        with claims.alone(path, lambda: desk.show(waiting, 0, 1)):
            try:  # another process may have been faster
                record = need(run, desk.results)
                variables = restored(path.parent / VARIABLES, bench)
            except ValueError as error:
                warnings.warn(
                    f"{run.title} ({path.parent}) is trained again: {error}", stacklevel=2
                )
                record = perform(run, desk)
                variables = restored(path.parent / VARIABLES, bench)
    return LoadedNetwork(variables, record["metrics"]["accuracy"])


def restored(folder: Path, bench: Workbench) -> dict[str, Any]:
    """The variables in a folder.

    Raises:
      ValueError: they cannot be read, or are another network's.
    """
    template = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), bench.traced.variables)
    found = checkpoint.restore(folder, template)
    if found is None:
        raise ValueError(f"there are no variables in {folder}")
    return found.tree


def checkpoints_of(run: Run, bench: Workbench, desk: Desk) -> Path | None:
    """The folder of a run's checkpoints, or None where its protocol saves none."""
    if not bench.protocol.checkpoint_epochs:
        return None
    return path_of(run, desk.results).parent / CHECKPOINTS


def titled(show: Show, title: str) -> Show:
    """The same, told a run's title before each stage."""
    return lambda stage, done, of: show(f"{title}: {stage}", done, of)
