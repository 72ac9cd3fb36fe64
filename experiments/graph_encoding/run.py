"""The runs: a pruned network as a graph, a training whose graph is watched, neurons compared."""

import dataclasses
import math
import time
from collections.abc import Hashable
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from experiments.common import networks, trained
from experiments.common.bench import Setup, Workbench
from experiments.common.desk import Desk
from experiments.common.during import DURING
from experiments.common.networks import TrainedNetwork, titled
from experiments.common.protocol import DENSE
from experiments.common.run import Outcome, Run, need
from experiments.common.sources import digest
from experiments.common.together import Training, TrainingRun, Work
from experiments.common.trained import keys
from prunejax import channels, masks, topology, training
from prunejax.rewiring import during_training
from prunejax.topology import edges, products, sums, unrolling

ENCODES = (topology.encode, unrolling.unroll, products.multiplied, sums.summed, edges.build)
"""The functions whose files say what a graph is."""

RAMANUJAN = ("difference_of_bound", "imdb", "imsg", "density")
"""What is measured of layers on their own, as the mean over layers."""


@dataclasses.dataclass(frozen=True)
class Encoded(Run):
    """A network that was pruned at initialisation, as a graph of its initial weights.

    Attributes:
      network: the network.
      compat: whether the graph and its metrics are those of the published code.
    """

    network: TrainedNetwork
    compat: bool = False

    study: ClassVar[str] = "graph_encoding"
    metrics: ClassVar[tuple[str, ...]] = ("topometrics", "layers")

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        network = self.network.config()
        pruned = network.pop("pruning") or {"method": DENSE, "sparsity": 0.0}
        return {
            **network,
            **pruned,
            "kind": "encoded",
            "compat": self.compat,
            "source": digest(*ENCODES, *(one.of for one in topology.METRICS.values())),
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"graph of {self.network.setup.model}, {self.network.title}"

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network, whose masks are read, and the dense one, which it is compared with."""
        return (self.network, dense_of(self.network))

    def do(self, desk: Desk) -> Outcome:
        """Encodes and measures."""
        record = need(self.network, desk.results)
        bench = self.network.setup.bench(desk)
        kept = networks.masks_of(self.network, bench, desk)
        params = trained.initial(bench, self.network.seed)["params"]
        started = time.perf_counter()
        graph = topology.encode(bench.traced, kept, params, compat=self.compat)
        encoded = time.perf_counter()
        show = titled(desk.show, self.title)
        measured = topology.measure(graph, on_metric=show)
        layers = topology.ramanujan(bench.traced, kept, params, compat=self.compat).values()
        return Outcome(
            metrics={
                "topometrics": {name: float(value) for name, value in measured.items()},
                "layers": {
                    name: _mean([getattr(one, name) for one in layers]) for name in RAMANUJAN
                },
                "nodes": graph.nodes,
                "edges": graph.edges,
                "accuracy": record["metrics"]["accuracy"],
            },
            seconds={"encoding": encoded - started, "measuring": time.perf_counter() - encoded},
        )


def dense_of(network: TrainedNetwork) -> TrainedNetwork:
    """The same network, not pruned."""
    return dataclasses.replace(network, pruning=None)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


@dataclasses.dataclass(frozen=True)
class Tracked(TrainingRun):
    """A network that is pruned or rewired as it trains, its graph measured after each epoch.

    Attributes:
      setup: the network, its data and its protocol.
      method: a name in ``DURING``.
      sparsity: the fraction of prunable weights removed.
      seed: the seed.
    """

    setup: Setup
    method: str
    sparsity: float
    seed: int

    study: ClassVar[str] = "graph_encoding"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "out_degrees")

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        made = {"settings": DURING[self.method].settings(), "source": digest(topology.local)}
        return {**super().config(), "kind": "tracked", **made}

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.method} at {self.sparsity}, seed {self.seed}, watched"

    @property
    def kind(self) -> Hashable:
        """By one method at one sparsity: its optimiser prunes."""
        return self.study, self.setup, self.method, self.sparsity

    def work(self, desk: Desk) -> Work[Outcome]:
        """Trains and watches."""
        bench, drawn = self.setup.bench(desk), keys(self.seed)
        tools = bench.tools_during(DURING[self.method], self.sparsity, drawn.method)
        variables = trained.initial(bench, self.seed)
        state = training.init_state(
            variables["params"],
            variables.get("batch_stats", {}),
            tools.tx,
            key=drawn.training,
            masks=masks.make(variables["params"]),
        )
        tables = desk.kept("tables", self.setup, lambda: topology.tables(bench.traced))

        def watched(state: training.TrainState) -> dict[str, float]:
            tested = training.evaluate(tools.eval_step, state.params, state.batch_stats, bench.test)
            kept = during_training.masks_of(state.opt_state)
            return {"accuracy": tested["accuracy"], **summary(topology.local(tables, kept))}

        show = titled(desk.show, self.title)
        state, history, _ = yield Training(
            bench,
            state,
            tools,
            bench.protocol,
            lambda progress: show("training", progress.epoch, progress.epochs),
            checkpoints=None,
            evaluate_with=watched,
        )
        # `fit` calls all that it is given "test_..."
        history = [{_own(name): value for name, value in row.items()} for row in history]
        final = topology.local(tables, during_training.masks_of(state.opt_state))
        degrees = {
            layer.name: np.bincount(
                np.asarray(final.out_degree)[layer.offset : layer.offset + layer.size]
            ).tolist()
            for layer in tables.layers
            if layer.role != "output"
        }
        return Outcome(
            metrics={"accuracy": history[-1]["test_accuracy"], "out_degrees": degrees},
            history=history,
        )


OF_GRAPHS = (
    "edges",
    "sources",
    "sinks",
    "disconnected",
    "r_out",
    "r_in",
    "largest_out_degree",
    "out_degree_deviation",
)
"""What a row of a history says of a graph."""


def _own(name: str) -> str:
    """What a row calls a number of a graph."""
    bare = name.removeprefix("test_")
    return bare if bare in OF_GRAPHS else name


def summary(local: topology.Local) -> dict[str, float]:
    """What a row of a history says of a graph."""
    out = np.asarray(local.out_degree)
    flags = (local.sources, local.sinks, local.disconnected)
    numbers = [
        float(local.edges),
        *(float(np.sum(flag)) for flag in flags),
        float(local.r_out),
        float(local.r_in),
        float(out.max()),
        float(out.std()),
    ]
    return dict(zip(OF_GRAPHS, numbers, strict=True))


@dataclasses.dataclass(frozen=True)
class Neurons(Run):
    """Each neuron of a trained network by three papers' ideas of importance.

    The score of the critical neurons' program (ElAraby et al.), the entropy of its activation
    (Yang et al. 2025), its node's strength in the graph (Cunegatti et al. 2024); and what they all
    stand for, by how much the test loss is higher without it.

    Attributes:
      network: the network, a dense one.
      images: how many images per class the program sees; the entropy sees ten times as many.
    """

    network: TrainedNetwork
    images: int = 1

    study: ClassVar[str] = "graph_encoding"
    metrics: ClassVar[tuple[str, ...]] = ("neurons",)

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome."""
        used = (channels.critical_neurons, channels.rank, topology.local)
        return {**super().config(), "kind": "neurons", "source": digest(*used)}

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"neurons of {self.network.setup.model}, {self.network.title}"

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network."""
        return (self.network,)

    def do(self, desk: Desk) -> Outcome:
        """Scores every neuron of every group in four ways."""
        bench = self.network.setup.bench(desk)
        variables = networks.load(self.network, desk).variables
        network, show = bench.traced, titled(desk.show, self.title)
        images, labels = _balanced(bench, self.images, keys(self.network.seed).images)
        show("program", 0, 4)
        critical = channels.critical_neurons(network, variables, images, labels, time_limit=120)
        show("entropy", 1, 4)
        kinds = {layer.kind for layer in network.layers.values()}
        convolves = ("conv",) if "conv" in kinds else ("dense",)
        key = keys(self.network.seed).method
        more, _ = _balanced(bench, 10 * self.images, keys(self.network.seed).images)
        entropy = channels.rank(
            network, variables, more, criterion="entropy", key=key, kinds=convolves
        )
        show("strength", 2, 4)
        strength = _strengths(bench, variables)
        show("each without", 3, 4)
        gained = _losses(bench, variables, list(critical.scores))
        rows = [
            {
                "group": group,
                "channel": channel,
                "critical": float(critical.scores[group][channel]),
                "entropy": float(entropy.scores[group][channel])
                if group in entropy.scores
                else math.nan,
                "strength": float(strength[group][channel]),
                "loss_gained": float(gained[group][channel]),
            }
            for group in critical.scores
            for channel in range(len(critical.scores[group]))
        ]
        return Outcome(metrics={"neurons": rows})


def _balanced(bench: Workbench, per_class: int, key: PRNGKeyArray) -> tuple[Any, Any]:
    """So many training images of each class, in a random order."""
    labels = np.asarray(bench.train.labels)
    order = np.asarray(jax.random.permutation(key, len(labels)))
    chosen = np.concatenate(
        [order[labels[order] == each][:per_class] for each in np.unique(labels)]
    )
    return bench.prepare(bench.train.images[chosen]), labels[chosen]


def _strengths(bench: Workbench, variables: PyTree) -> dict[str, np.ndarray]:
    """The strength of each channel's nodes in the graph, summed over positions."""
    tables = topology.tables(bench.traced)
    params = variables["params"]
    found = np.asarray(topology.local(tables, masks.make(params), params).strength)
    return {
        layer.name: found[layer.offset : layer.offset + layer.size]
        .reshape(layer.shape[0], -1)
        .sum(axis=1)
        for layer in tables.layers
    }


def _losses(bench: Workbench, variables: PyTree, groups: list[str]) -> dict[str, np.ndarray]:
    """By how much the loss on the test images is higher without each channel alone, in nats."""
    params, stats = variables["params"], variables.get("batch_stats", {})

    def loss(params: PyTree) -> float:
        return training.evaluate(bench.tools.eval_step, params, stats, bench.test)["loss"]

    whole, gained = loss(params), {}
    for group in groups:
        width = bench.traced.groups[group].width
        gained[group] = np.zeros(width)
        for channel in range(width):
            keep = np.arange(width) != channel
            without = bench.traced.plan({group: keep}).masks(params)
            gained[group][channel] = loss(masks.apply(params, without)) - whole
    return gained
