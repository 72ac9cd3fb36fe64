"""Sub-networks of critical neurons, trained from the beginning: on other data, or another start."""

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from experiments.common.bench import Setup, Workbench
from experiments.common.desk import Desk
from experiments.common.protocol import decisive
from experiments.common.run import Outcome, Run, need
from experiments.common.together import Training, TrainingRun, Work
from experiments.common.trained import initial, keys
from experiments.critical_neurons.program import sample
from experiments.critical_neurons.run import Solved
from prunejax import masks as masks_lib
from prunejax import pruning, training
from prunejax.channels import at_random, best_of_each, keep_above, sum_weights
from prunejax.criteria import snip

OTHER = 1000
"""The seed of other initial weights is the run's seed plus this."""


SUBNETWORKS = ("whole", "method", "random", "snip_neurons", "snip_weights")
"""What is trained again: everything; the neurons that the method keeps; as many of each layer at
random; as many of the highest summed SNIP scores on the target's data; and as many single weights
as the method's network has, by SNIP."""

STARTS = ("new", "same")
"""From where: other initial weights, or those that the network had started from."""


@dataclasses.dataclass(frozen=True)
class Retrained(TrainingRun):
    """A sub-network that is trained from the beginning.

    Attributes:
      solved: the program that says which neurons stay.
      target: the same network on the data to train on.
      subnetwork: one of ``SUBNETWORKS``.
      start: one of ``STARTS``.
    """

    solved: Solved
    target: Setup
    subnetwork: str
    start: str

    study: ClassVar[str] = "critical_neurons"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "parameters")

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        protocol = self.target.protocol
        return {
            **self.solved.config(),
            "kind": "retrained",
            "target": self.target.dataset,
            "target_protocol": decisive(protocol) | {"score_examples": protocol.score_examples},
            "subnetwork": self.subnetwork,
            "start": self.start,
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return (
            f"{self.target.dataset}, seed {self.solved.seed}: {self.subnetwork} from a "
            f"{self.start} start"
        )

    @property
    def needs(self) -> tuple[Run, ...]:
        """The program."""
        return (self.solved,)

    @property
    def kind(self) -> Hashable:
        """Of the same data and protocol."""
        return self.study, self.target

    def work(self, desk: Desk) -> Work[Outcome]:
        """Trains and tests it."""
        scored = need(self.solved, desk.results)["metrics"]["certificate"]["scores"]
        trained, diverged, seconds = yield from retraining_of(
            self.target.bench(desk),
            self,
            {group: np.array(each) for group, each in scored.items()},
            lambda now: desk.show(self.title, now.epoch, now.epochs),
        )
        return Outcome(
            {**trained._asdict(), "diverged": diverged},
            seconds={"training": seconds},
        )


class Subnetwork(NamedTuple):
    """A sub-network after training.

    Attributes:
      accuracy: on the target's test images, in [0, 1].
      neurons: the share removed.
      parameters: the share removed.
    """

    accuracy: float
    neurons: float
    parameters: float


def retraining_of(
    bench: Workbench, run: Retrained, scores: Mapping[str, np.ndarray], on_epoch: Any
) -> Work[tuple[Subnetwork, bool, float]]:
    """Trains a sub-network on a target's data from initial weights.

    Args:
      bench: the target's; its network has the groups that were scored.
      run: which sub-network, from where.
      scores: of the solved program, by group.
      on_epoch: told after each epoch, see ``training.fit``.

    Returns:
      How it does, whether training diverged, and the seconds that it took.

    Raises:
      ValueError: the target's network has other neurons.
    """
    widths = {group.name: group.width for group in bench.traced.groups.values()}
    if widths != {group: len(each) for group, each in scores.items()}:
        raise ValueError(
            f"the network has other neurons on {run.target.dataset}: {_shown(widths)}, not "
            f"{_shown({group: len(each) for group, each in scores.items()})}"
        )
    seed = run.solved.seed
    variables = initial(bench, seed + OTHER if run.start == "new" else seed)
    params, stats = variables["params"], variables.get("batch_stats", {})
    kept = keep_above(scores, run.solved.program.threshold)
    made = _masks(bench, run, variables, kept)
    state = training.init_state(params, stats, bench.tools.tx, key=keys(seed).training, masks=made)
    state, history, seconds = yield Training(
        bench, state, bench.tools, bench.protocol, on_epoch, checkpoints=None
    )
    tested = training.evaluate(bench.tools.eval_step, state.params, state.batch_stats, bench.test)
    by_neuron = run.subnetwork not in ("whole", "snip_weights")
    gone = sum(int((~stays).sum()) for stays in kept.values()) if by_neuron else 0
    trained = Subnetwork(tested["accuracy"], gone / sum(widths.values()), removed(params, made))
    return trained, not training.is_finite(state, history), seconds


def removed(params: PyTree, made: PyTree | None) -> float:
    """The share of all parameters that masks remove."""
    if made is None:
        return 0.0
    gone = sum(int((~np.asarray(mask)).sum()) for mask in jax.tree.leaves(made))
    return gone / sum(leaf.size for leaf in jax.tree.leaves(params))


def _masks(
    bench: Workbench, run: Retrained, variables: dict[str, Any], kept: dict[str, np.ndarray]
) -> PyTree | None:
    """The masks of a sub-network."""
    params = variables["params"]
    if run.subnetwork == "whole":
        return None
    by_method = bench.traced.plan(kept).masks(params)
    if run.subnetwork == "method":
        return by_method
    if run.subnetwork == "random":
        drawn = at_random(kept, keys(run.solved.seed).method)
        return bench.traced.plan(best_of_each(kept, drawn)).masks(params)
    images, labels = sample(bench, run.solved.seed, bench.protocol.score_examples)
    batch = images, jnp.asarray(labels)
    loss, prunable = bench.losses["training_loss"], masks_lib.make(params)
    if run.subnetwork == "snip_neurons":
        sensitivity = snip(params, prunable, batch, loss_fn=loss)
        worth = sum_weights(bench.traced, sensitivity, kept).scores
        return bench.traced.plan(best_of_each(kept, worth)).masks(params)
    of_weights = masks_lib.restrict(by_method, prunable)
    return pruning.prune(
        params,
        prunable,
        batch,
        criterion="snip",
        sparsity=float(masks_lib.sparsity(of_weights)),
        loss_fn=loss,
        key=keys(run.solved.seed).method,
    )


def _shown(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{group} {width}" for group, width in widths.items())
