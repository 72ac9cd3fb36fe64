"""The runs: a spiking network that is pruned while it trains; one that loses whole channels."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.common.bench import Setup, Workbench
from experiments.common.desk import Desk
from experiments.common.networks import MASKS, VARIABLES, checkpoints_of, restored, titled
from experiments.common.run import Outcome, Run, need, path_of
from experiments.common.sources import digest
from experiments.common.together import Training, fitted
from experiments.common.trained import initial, keys
from experiments.spiking.course import Course, Method, Scoring, scoring
from prunejax import channels, checkpoint, models, network, spiking, training
from prunejax import masks as masks_lib

MEASURED = 1000
"""Test images on which spikes are counted."""

DENSE = "dense"


@dataclasses.dataclass(frozen=True)
class SpikingNetwork(Run):
    """A spiking network that is trained, pruned and regrown between its epochs, and measured.

    Attributes:
      setup: the network, its data and its protocol.
      seed: determines all that is random.
      method: how it is pruned; None: it stays dense.
      l1: the strength of the penalty on scales of normalisations.
    """

    setup: Setup
    seed: int
    method: Method | None = None
    l1: float = 0.0

    study: ClassVar[str] = "spiking"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "sops", "kept_weights")

    def config(self) -> dict[str, Any]:
        """Everything that determines it."""
        rule = {} if self.method is None else self.method._asdict()
        return {
            "run": type(self).__name__,
            "kind": "unstructured",
            **self.setup.config(),
            "rule": DENSE if self.method is None else self.method.growth,
            **{name: rule.get(name) for name in ("sparsity", "share", "decayed", "reading")},
            "l1": self.l1,
            "score_examples": self.setup.protocol.score_examples,
            "source": digest(spiking.lif, spiking.regenerate, spiking.criticality, Course),
            "seed": self.seed,
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        if self.method is None:
            return f"{DENSE}, seed {self.seed}"
        return f"{self.method.growth} at {self.method.sparsity:g}, seed {self.seed}"

    @property
    def files(self) -> tuple[str, ...]:
        """Variables and masks."""
        return (VARIABLES, MASKS)

    def do(self, desk: Desk) -> Outcome:
        """Trains, prunes, tests and measures."""
        bench, drawn = self.setup.bench(desk), keys(self.seed)
        start = initial(bench, self.seed)
        tools = desk.kept(
            "spiking tools", (self.setup, self.l1), lambda: _tools(bench, self.l1, start)
        )
        scored_by: Scoring = desk.kept("scoring", self.setup, lambda: scoring(bench))
        course = Course(bench, self.method, scored_by, drawn.images, drawn.method, tools.tx)
        state = training.init_state(
            start["params"],
            start.get("batch_stats", {}),
            tools.tx,
            key=drawn.training,
            masks=masks_lib.make(start["params"]),
        )
        show = titled(desk.show, self.title)
        # alone: what pruning costs is measured
        asked = Training(
            bench,
            state,
            tools,
            bench.protocol,
            lambda progress: show("training", progress.epoch, progress.epochs),
            checkpoints_of(self, bench, desk),
            between=course,
        )
        state, history, _ = fitted(asked)
        variables = {"params": state.params, **training.stats_collection(state.batch_stats)}
        masks = state.masks
        tested = training.evaluate(tools.eval_step, state.params, state.batch_stats, bench.test)
        weights = sum(int(mask.size) for mask in jax.tree.leaves(masks))
        cost = course.cost()
        return Outcome(
            metrics={
                "accuracy": tested["accuracy"],
                "loss": tested["loss"],
                "weights": weights,
                "kept_weights": masks_lib.count(masks),
                "layer_sparsity": _by_depth(bench.traced, masks_lib.sparsities(masks)),
                **measured(bench, bench.traced, variables, masks),
                "cost_seconds": cost["seconds"],
                "cost_multiply_adds": cost["multiply_adds"],
                "diverged": not training.is_finite(state, history, tested),
            },
            history=history,
            seconds={
                "epochs": float(np.sum(course.seconds["epochs"])),
                "updates": float(np.sum(course.seconds["updates"])),
            },
            files={
                VARIABLES: lambda path: checkpoint.save(path, 0, variables),
                MASKS: lambda path: masks_lib.save(path, masks),
            },
        )


def _by_depth(traced: network.Network, sparsities: Mapping[str, Any]) -> dict[str, float]:
    """Sparsities of layers in the order in which the network has them."""
    order = {path: place for place, path in enumerate(
        path for layer in traced.layers.values() for path in layer.parameters
    )}  # fmt: skip
    paths = sorted(sparsities, key=lambda path: order.get(traced.endings[path], 0))
    return {path: float(sparsities[path]) for path in paths}


def _tools(bench: Workbench, l1: float, variables: Mapping[str, Any]) -> Any:
    if not l1:
        return bench.tools
    paths = spiking.scale_paths(bench.traced, variables["params"])
    penalty = spiking.l1_of_scales(paths, l1)
    return bench.tools_for(
        bench.model, bench.protocol, lambda tx: training.masked(optax.chain(penalty, tx))
    )


def measured(
    bench: Workbench, traced: network.Network, variables: PyTree, masks: PyTree | None
) -> dict[str, Any]:
    """What spikes, what that costs, and how classes separate, on test images."""
    images, labels = bench.test.images[:MEASURED], bench.test.labels[:MEASURED]
    found = spiking.measure(traced, variables, images, masks)
    seen = {
        "derivative": spiking.criticality(traced, variables, images),
        "primitive": spiking.criticality(traced, variables, images, reading="primitive"),
        "entropy": spiking.feature_entropy(traced, variables, images),
    }
    train = bench.prepare(bench.train.images[:MEASURED])
    separated = spiking.separation(
        spiking.firing_counts(traced, variables, train),
        np.asarray(bench.train.labels[:MEASURED]),
        spiking.firing_counts(traced, variables, images),
        np.asarray(labels),
    )
    return {
        "firing_rate": found.firing_rate,
        "firing_rates": found.firing_rates,
        "sops": found.sops,
        "macs": found.macs,
        "energy": found.energy,
        "dense_energy": found.dense_energy,
        "class_variance": separated.class_variance,
        "cosine": separated.cosine,
        "neurons": {
            what: {layer: np.asarray(values).round(5).tolist() for layer, values in of.items()}
            for what, of in seen.items()
        },
    }


class Loaded(NamedTuple):
    """A recorded network.

    Attributes:
      variables: its parameters and statistics.
      masks: its masks.
    """

    variables: dict[str, Any]
    masks: PyTree


def load(run: SpikingNetwork, desk: Desk) -> Loaded:
    """The variables and masks of a recorded network.

    Raises:
      ValueError: it is not recorded, or its files are damaged.
    """
    need(run, desk.results)
    folder = path_of(run, desk.results).parent
    tree = restored(folder / VARIABLES, run.setup.bench(desk))
    variables = jax.tree.map(jnp.asarray, tree)
    return Loaded(variables, masks_lib.load(folder / MASKS, variables["params"]))


@dataclasses.dataclass(frozen=True)
class CutNetwork(Run):
    """A dense network that was trained under a penalty, without some of its channels, fine-tuned.

    Attributes:
      network: the network.
      growth: which channels come back: "criticality", "random", "gradient" or "none".
      kept: the fraction of channels that stays.
      share: r, of these that come back.
      reading: what criticality is.
      epochs: of fine-tuning.
    """

    network: SpikingNetwork
    growth: str
    kept: float
    share: float
    reading: spiking.Reading
    epochs: int

    study: ClassVar[str] = "spiking"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "sops", "parameters")

    def config(self) -> dict[str, Any]:
        """Everything that determines it."""
        of_network = self.network.config()
        return {
            **of_network,
            "run": type(self).__name__,
            "kind": "channels",
            "rule": self.growth,
            "network_source": of_network["source"],
            "kept": self.kept,
            "share": self.share,
            "reading": self.reading,
            "tuned": self.epochs,
            "source": digest(spiking.keep_and_regrow, type(self)),
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.kept:.0%} of the channels, {self.growth}, seed {self.network.seed}"

    @property
    def needs(self) -> tuple[Run, ...]:
        """The network."""
        return (self.network,)

    def do(self, desk: Desk) -> Outcome:
        """Chooses channels, cuts the others out, fine-tunes, tests and measures."""
        setup = self.network.setup
        bench, drawn = setup.bench(desk), keys(self.network.seed)
        variables = load(self.network, desk).variables
        plan = bench.traced.plan(self._stay(bench, variables, drawn.method))
        sliced, model = plan.slice(variables), models.resized(bench.model, plan.by_leaf())
        protocol = dataclasses.replace(
            bench.protocol, epochs=self.epochs, learning_rate=bench.protocol.learning_rate / 10
        )
        tools = bench.tools_for(model, protocol)
        before = training.evaluate(
            tools.eval_step, sliced["params"], sliced.get("batch_stats", {}), bench.test
        )
        state = training.init_state(
            sliced["params"], sliced.get("batch_stats", {}), tools.tx, key=drawn.tuning
        )
        show = titled(desk.show, self.title)
        asked = Training(
            bench,
            state,
            tools,
            protocol,
            lambda progress: show("fine-tuning", progress.epoch, progress.epochs),
            checkpoints=None,
        )
        state, history, _ = fitted(asked)
        tuned = {"params": state.params, **training.stats_collection(state.batch_stats)}
        tested = training.evaluate(tools.eval_step, state.params, state.batch_stats, bench.test)
        traced = network.trace(model.apply, tuned, bench.test.images[:1])
        return Outcome(
            metrics={
                "accuracy": tested["accuracy"],
                "before": before["accuracy"],
                "parameters": plan.cost().parameters,
                "parameters_before": bench.traced.cost().parameters,
                "widths": {group: int(np.sum(stay)) for group, stay in plan.keep.items()},
                **measured(bench, traced, tuned, None),
                "diverged": not training.is_finite(state, history, tested),
            },
            history=history,
        )

    def _stay(self, bench: Workbench, variables: PyTree, key: Any) -> dict[str, np.ndarray]:
        scales = spiking.scales(bench.traced, variables)
        images = jnp.asarray(bench.prepare(bench.train.images[: bench.protocol.score_examples]))
        if self.growth == "criticality":
            found = spiking.criticality(bench.traced, variables, images, reading=self.reading)
            grown_by = spiking.of_channels(bench.traced, found)
        elif self.growth == "gradient":
            labels = jnp.asarray(bench.train.labels[: len(images)])
            of_weights = scoring(bench).gradients(
                variables["params"], variables.get("batch_stats", {}), images, labels
            )
            masks = masks_lib.make(variables["params"])
            kernels = jax.tree.map(
                lambda mask, gradient: None if mask is None else jnp.abs(gradient),
                masks,
                of_weights,
                is_leaf=lambda leaf: leaf is None,
            )
            grown_by = channels.sum_weights(bench.traced, kernels)
        else:
            rank = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
            grown_by = channels.ChannelScores(
                bench.traced, {group: rank.random(len(of)) for group, of in scales.scores.items()}
            )
        share = 0.0 if self.growth == "none" else self.share
        return spiking.keep_and_regrow(scales, grown_by, self.kept, share=share)
