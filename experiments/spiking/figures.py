"""Figures: accuracy by sparsity, what neurons do, how critical and how informative they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.common.desk import Desk
from experiments.common.figures import canvas, save_figure
from experiments.common.outputs import Place
from experiments.common.records import Record
from experiments.spiking.run import DENSE, Loaded, SpikingNetwork
from prunejax.network.recording import evaluate
from prunejax.spiking import GROWTH
from prunejax.spiking.reading import channels_last, inputs_of, read

STYLES = {
    "criticality": {"color": "tab:red", "marker": "o", "linestyle": "-"},
    "random": {"color": "tab:blue", "marker": "s", "linestyle": "--"},
    "gradient": {"color": "tab:green", "marker": "^", "linestyle": "-."},
    "none": {"color": "tab:gray", "marker": "D", "linestyle": ":"},
}
NAMES = {"none": "none (magnitude)"}
SHOWN = 60
"""Neurons in a raster."""


def accuracies(
    rows: Sequence[Mapping[str, Any]], place: Place, title: str, *, what: str = "weights"
) -> None:
    """Draws accuracy against what is kept, a line per rule, one standard deviation as a band."""
    figure, (axes,) = canvas(1)
    for rule in GROWTH:
        part = sorted((row for row in rows if row["rule"] == rule), key=lambda row: row["sparsity"])
        if not part:
            continue
        kept = np.array([100 * (1 - row["sparsity"]) for row in part])
        mean = np.array([100 * row["accuracy"] for row in part])
        spread = np.array([100 * (row["spread"] or 0) for row in part])
        axes.plot(kept, mean, label=NAMES.get(rule, rule), **STYLES[rule])
        axes.fill_between(
            kept, mean - spread, mean + spread, color=STYLES[rule]["color"], alpha=0.12, linewidth=0
        )
    for row in rows:
        if row["rule"] == DENSE:
            axes.axhline(100 * row["accuracy"], color="black", linewidth=0.8, label="dense")
    axes.set_xscale("log")
    ticks = sorted({round(100 * (1 - row["sparsity"]), 3) for row in rows if row["rule"] != DENSE})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set(xlabel=f"{what} kept (%)", ylabel="test accuracy (%)")
    axes.legend(title="growth")
    save_figure(figure, place, title)


def entropies(records: Sequence[Record], place: Place, title: str) -> None:
    """Draws the entropy of firing against criticality, a point per channel of dense networks."""
    dense = [record for record in records if record["config"]["rule"] == DENSE]
    if not dense:
        return
    figure, panels = canvas(2)
    for axes, reading in zip(panels, ("derivative", "primitive"), strict=True):
        layers = dense[0]["metrics"]["neurons"]["entropy"]
        for position, layer in enumerate(layers):
            both = [
                np.concatenate([record["metrics"]["neurons"][name][layer] for record in dense])
                for name in (reading, "entropy")
            ]
            axes.plot(*both, ".", color=f"C{position % 10}", alpha=0.4, markersize=4, label=layer)
        axes.set(xlabel=f"criticality ({reading})", ylabel="entropy of firing (bits)")
        axes.legend(fontsize="x-small", ncols=1 + len(layers) // 10)
    save_figure(figure, place, title)


def layers(records: Sequence[Record], place: Place, title: str) -> None:
    """Draws the density of each layer at the highest sparsity, by rule, mean over seeds."""
    sparsest = max((record["config"]["sparsity"] or 0 for record in records), default=0)
    chosen: dict[str, list[Mapping[str, float]]] = {}
    for record in records:
        if record["config"]["sparsity"] == sparsest and sparsest:
            rule = record["config"]["rule"]
            chosen.setdefault(rule, []).append(record["metrics"]["layer_sparsity"])
    if not chosen:
        return
    figure, (axes,) = canvas(1)
    names = list(next(iter(chosen.values()))[0])
    for rule in GROWTH:
        if rule in chosen:
            density = [100 * np.mean([1 - of[name] for of in chosen[rule]]) for name in names]
            axes.plot(range(len(names)), density, label=NAMES.get(rule, rule), **STYLES[rule])
    axes.set_yscale("log")
    axes.set_xticks(
        range(len(names)),
        [name.removesuffix("/kernel") for name in names],
        rotation=30 if len(names) > 5 else 0,
        ha="right" if len(names) > 5 else "center",
    )
    axes.set(ylabel=f"weights kept (%) at sparsity {sparsest:g}")
    axes.legend(title="growth")
    save_figure(figure, place, title)


def neurons(
    networks: Mapping[str, tuple[SpikingNetwork, Loaded]], desk: Desk, place: Place, title: str
) -> None:
    """Draws spikes of the last layer for some images, and potentials around the threshold.

    Above: a raster of the first neurons, test image by test image. Below: the distribution of the
    potentials of all layers before the reset, with the threshold.

    Args:
      networks: name -> a run and its network, the dense one first.
      desk: of this process.
      place: where the figure goes.
      title: of the figure.
    """
    from matplotlib import pyplot

    canvas(1)
    figure, panels = pyplot.subplots(
        2, len(networks), figsize=(5.5 * len(networks), 7), layout="constrained", squeeze=False
    )
    for column, (name, (run, loaded)) in enumerate(networks.items()):
        bench = run.setup.bench(desk)
        images = jnp.asarray(bench.test.images[:200])
        circuit = read(bench.traced, images)
        wanted = [value for one in circuit.neurons.values() for value in (one.spikes, one.membrane)]
        found = evaluate(circuit.program, inputs_of(circuit, loaded.variables, images), wanted)
        last = list(circuit.neurons.values())[-1]
        spikes = np.asarray(channels_last(found[-2], last))[:, :10, 0, :SHOWN]
        steps, shown, width = spikes.shape
        raster = spikes.transpose(1, 0, 2).reshape(steps * shown, width)
        top = panels[0, column]
        top.eventplot(
            [np.flatnonzero(raster[:, neuron]) for neuron in range(width)],
            linelengths=0.8,
            colors="black",
        )
        for edge in range(1, shown):
            top.axvline(edge * steps - 0.5, color="tab:blue", linewidth=0.5)
        top.set(
            xlabel=f"step ({shown} images, {steps} steps each)", ylabel="neuron of the last layer"
        )
        top.set_title(name)
        bottom = panels[1, column]
        for position, (layer, potentials) in enumerate(
            zip(circuit.neurons, found[1::2], strict=True)
        ):
            bottom.hist(
                np.asarray(potentials).ravel(),
                bins=np.linspace(-1.5, 2.5, 121),
                density=True,
                histtype="step",
                color=f"C{position % 10}",
                label=layer,
            )
        bottom.axvline(last.kind.threshold, color="black", linewidth=0.8, linestyle="--")
        bottom.set(xlabel="membrane potential (dashed: threshold)", ylabel="density")
        bottom.legend(fontsize="x-small", ncols=1 + len(circuit.neurons) // 10)
    save_figure(figure, place, title)
