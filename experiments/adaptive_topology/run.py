"""The runs: a network that is trained and rewired, and a trained network that is perturbed."""

import dataclasses
import functools
import time
from typing import Any, ClassVar

import jax
import numpy as np

from experiments.adaptive_topology.course import Course, Rules, initial, tools_of, variables_of
from experiments.common.bench import Setup
from experiments.common.desk import Desk
from experiments.common.networks import CHECKPOINTS, VARIABLES, titled
from experiments.common.run import Outcome, Run, need, path_of
from experiments.common.sources import digest
from experiments.common.trained import keys
from prunejax import checkpoint, rewiring, robustness
from prunejax.rewiring import REGROWTH, REMOVAL, State


@dataclasses.dataclass(frozen=True)
class RewiredNetwork(Run):
    """A network of sparse layers whose topology is updated after each epoch.

    Attributes:
      setup: the network, its data and its protocol.
      rules: how the topology is updated.
      seed: the seed.
      backend: of sparse layers; it changes speed and rounding alone.
    """

    setup: Setup
    rules: Rules
    seed: int
    backend: str = dataclasses.field(default="auto", compare=False)

    study: ClassVar[str] = "networks"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "in_degrees")

    def config(self) -> dict[str, Any]:
        """Everything that determines it."""
        of_rules = (
            rewiring.evolve,
            REMOVAL[self.rules.removal],
            REGROWTH[self.rules.regrowth].from_links,
        )
        return {
            "run": type(self).__name__,
            **self.setup.config(),
            "rules": self.rules._asdict(),
            "source": digest(*(one for one in of_rules if one is not None)),
            "seed": self.seed,
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.rules.regrowth}, seed {self.seed}"

    @property
    def files(self) -> tuple[str, ...]:
        """Parameters and links."""
        return (VARIABLES,)

    def do(self, desk: Desk) -> Outcome:
        """Trains and rewires, going on from a checkpoint where there is one."""
        tools, drawn = tools_of(self.setup, self.backend, desk), keys(self.seed)
        state = initial(self.setup, tools, drawn.weights)
        course = Course(self.setup, self.rules, tools, drawn.training, drawn.method)
        history: list[dict[str, float]] = []
        settled = {name: np.zeros((), bool) for name in _layers(state)}
        settled = settled if self.rules.settle_at is not None else None
        protocol = self.setup.protocol
        folder = path_of(self, desk.results).parent / CHECKPOINTS
        every = protocol.checkpoint_epochs
        if every and (last := checkpoint.restore(folder, (state, settled))) is not None:
            (state, settled), history = last.tree, last.extra["history"]
            course.seconds = last.extra["seconds"]
        show = titled(desk.show, self.title)
        for number in range(len(history), protocol.epochs):
            state, settled, row = course.epoch(state, number, settled)
            history.append(row)
            if every and (number + 1) % every == 0:
                extra = {"history": history, "seconds": course.seconds}
                checkpoint.save(folder, number + 1, (state, settled), extra)
            show("training", number + 1, protocol.epochs)
        variables = variables_of(state)
        return Outcome(
            metrics={
                "accuracy": history[-1]["test_accuracy"],
                "loss": history[-1]["test_loss"],
                "in_degrees": _degrees(state),
                "diverged": not all(
                    np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)
                ),
            },
            history=history,
            seconds={
                "epoch": _mean(course.seconds["training"]),
                "update": _mean(course.seconds["updates"]),
            },
            files={VARIABLES: lambda path: checkpoint.save(path, 0, variables)},
        )


@dataclasses.dataclass(frozen=True)
class Perturbed(Run):
    """A trained network under one perturbation.

    Attributes:
      network: the network.
      perturbation: a name in ``PERTURBATIONS``.
      strengths: how strong.
      repeats: perturbed networks per strength.
    """

    network: RewiredNetwork
    perturbation: str
    strengths: tuple[float, ...]
    repeats: int

    study: ClassVar[str] = "adaptive_topology"
    metrics: ClassVar[tuple[str, ...]] = ("curve",)

    def config(self) -> dict[str, Any]:
        """Everything that determines it."""
        network = self.network.config()
        rules = {name: value for name, value in network["rules"].items() if name != "regrowth"}
        return {
            **network,
            "run": type(self).__name__,
            "rules": rules,
            "rule": self.network.rules.regrowth,
            "network_source": network["source"],
            "perturbation": self.perturbation,
            "strengths": list(self.strengths),
            "repeats": self.repeats,
            "source": digest(robustness.PERTURBATIONS[self.perturbation].change, robustness.curve),
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.network.title}: {self.perturbation}"

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network."""
        return (self.network,)

    def do(self, desk: Desk) -> Outcome:
        """Perturbs the network and tests it, at each strength."""
        tools = tools_of(self.network.setup, self.network.backend, desk)
        state = load(self.network, desk)
        show = titled(desk.show, self.title)
        started = time.perf_counter()
        found = robustness.curve(
            keys(self.network.seed).tuning,
            _apply_of(tools.model),
            variables_of(state),
            masks_of(state),
            tools.test,
            self.perturbation,
            self.strengths,
            repeats=self.repeats if drawn_by_lot(self.perturbation) else 1,
            on_progress=lambda done, of: show("networks", done, of),
        )
        return Outcome(
            metrics={"curve": found.accuracy.tolist(), "loss": found.loss.tolist()},
            seconds={"curve": time.perf_counter() - started},
        )


def drawn_by_lot(perturbation: str) -> bool:
    """Whether a perturbation is another one each time."""
    return perturbation not in ("weight_order", "reverse_weight_order")


@functools.cache
def _apply_of(model: Any) -> Any:
    """The same function for the same module, so that it is compiled once."""
    return lambda variables, images: model.apply(variables, images)


def masks_of(state: State) -> Any:
    """Masks of the variables: every link of the sparse layers, and nothing else."""
    layers = _layers(state)
    nothing = jax.tree.map(lambda _: None, variables_of(state))
    params = {
        layer: {
            name: np.ones(np.shape(leaf), bool) if f"{layer}/{name}" in layers else None
            for name, leaf in leaves.items()
        }
        for layer, leaves in state.params.items()
    }
    return {**nothing, "params": params}


def load(network: RewiredNetwork, desk: Desk) -> State:
    """A recorded network.

    Raises:
      ValueError: it is not recorded, or cannot be read.
    """
    return desk.kept("rewired", network, lambda: _load(network, desk), at_most=8)


def _load(network: RewiredNetwork, desk: Desk) -> State:
    need(network, desk.results)
    tools = tools_of(network.setup, network.backend, desk)
    template = initial(network.setup, tools, keys(network.seed).weights)
    folder = path_of(network, desk.results).parent / VARIABLES
    restored = checkpoint.restore(folder, variables_of(template))
    if restored is None:
        raise ValueError(f"there are no variables in {folder}: train it again by --redo all")
    return State(restored.tree["params"], restored.tree["links"])


def _layers(state: State) -> list[str]:
    return [f"{layer}/kernel" for layer in state.topology]


def _degrees(state: State) -> dict[str, list[int]]:
    """By layer, how many neurons have 0, 1, 2, ... links in."""
    found = {}
    for layer, leaves in state.topology.items():
        links = leaves["kernel"]
        degrees = np.bincount(np.asarray(links.targets), minlength=links.shape[1])
        found[layer] = np.bincount(degrees).tolist()
    return found


def _mean(seconds: list[float]) -> float:
    return float(np.mean(seconds)) if seconds else 0.0
