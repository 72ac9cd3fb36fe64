"""Figures: accuracy by sparsity, what neurons do, how critical and how informative they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.common import chart
from experiments.common.desk import Desk
from experiments.common.figures import (
    COLOURS,
    DASHES,
    canvas,
    growth_styles,
    legend,
    look,
    plain_log,
    save_figure,
)
from experiments.common.outputs import Place
from experiments.common.records import Record
from experiments.spiking.run import DENSE, Loaded, SpikingNetwork
from prunejax.network.recording import evaluate
from prunejax.spiking import GROWTH
from prunejax.spiking.reading import channels_last, inputs_of, read

NAMES = {"none": "none (magnitude)"}
SHOWN = 60
"""Neurons in a raster."""
TESTED = 200
"""Images whose potentials are drawn."""


def accuracies(
    rows: Sequence[Mapping[str, Any]], place: Place, title: str, *, what: str = "weights"
) -> None:
    """Draws accuracy against what is kept, a line per rule, one standard deviation as a band."""
    figure, (axes,) = canvas(1)
    looks, lines = growth_styles(GROWTH), []
    pruned = [row for row in rows if row["rule"] != DENSE]
    for rule in GROWTH:
        part = sorted((row for row in rows if row["rule"] == rule), key=lambda row: row["sparsity"])
        if part:
            kept, mean, spread = (
                [share * number(row) for row in part] for share, number in _READINGS
            )
            lines.append(chart.line(NAMES.get(rule, rule), kept, mean, spread, looks[rule]))
    dense = [100 * row["accuracy"] for row in rows if row["rule"] == DENSE]
    references = [(f"{DENSE} ({level:.1f})", level) for level in dense]
    settings = title
    if lines:
        seeds = [row["seeds"] for row in pruned]
        settings += f"; {chart.band_words(min(seeds), max(seeds))}"
        chart.density_axis(axes, [row["sparsity"] for row in pruned], what)
        if chart.draw(axes, lines, references=references):
            settings += f". {chart.BELOW}"
    axes.set_ylabel("test accuracy (%)")
    save_figure(
        figure, place, f"Test accuracy by rule of growth, as more {what} are pruned", settings
    )


_READINGS = (
    (1, lambda row: 1 - row["sparsity"]),
    (100, lambda row: row["accuracy"]),
    (100, lambda row: np.nan if row["spread"] is None else row["spread"]),
)
"""Factor and number of a row: what is kept, mean accuracy in %, its standard deviation."""


def entropies(records: Sequence[Record], place: Place, title: str) -> None:
    """Draws the entropy of firing against criticality, a point per channel of dense networks."""
    dense = [record for record in records if record["config"]["rule"] == DENSE]
    if not dense:
        return
    figure, panels = canvas(2, height=3.8, sharey=True)
    for axes, reading in zip(panels, ("derivative", "primitive"), strict=True):
        for position, layer in enumerate(dense[0]["metrics"]["neurons"]["entropy"]):
            both = [
                np.concatenate([record["metrics"]["neurons"][name][layer] for record in dense])
                for name in (reading, "entropy")
            ]
            dots = look(position) | {"linestyle": "", "markersize": 3, "fillstyle": "none"}
            axes.plot(*both, alpha=0.5, markeredgewidth=0.7, label=layer, **dots)
        axes.set(xlabel=f"criticality, read from the surrogate's {reading}")
    panels[0].set(ylabel="entropy of firing (bits)")
    legend(figure, panels, title="layer")
    settings = f"{title}; a point per neuron of {len(dense)} dense networks (one per seed)"
    save_figure(figure, place, "How critical and how informative neurons are", settings)


def layers(records: Sequence[Record], place: Place, title: str) -> None:
    """Draws what each layer keeps at the highest sparsity, by rule, mean over seeds.

    A row per layer; the rules stand below each other in it, so that none hides another.
    """
    sparsest = max((record["config"]["sparsity"] or 0 for record in records), default=0)
    chosen: dict[str, list[Mapping[str, float]]] = {}
    for record in records:
        if record["config"]["sparsity"] == sparsest and sparsest:
            rule = record["config"]["rule"]
            chosen.setdefault(rule, []).append(record["metrics"]["layer_sparsity"])
    if not chosen:
        return
    rules = [rule for rule in GROWTH if rule in chosen]
    names = list(next(iter(chosen.values()))[0])
    figure, (axes,) = canvas(1, height=1.6 + 0.55 * len(names))
    looks = growth_styles(GROWTH)
    for number, rule in enumerate(rules):
        density = np.array([[100 * (1 - of[name]) for name in names] for of in chosen[rule]])
        rows = np.arange(len(names)) + 0.16 * (number - (len(rules) - 1) / 2)
        axes.plot(
            density.mean(axis=0),
            rows,
            **looks[rule] | {"linestyle": ""},
            label=NAMES.get(rule, rule),
        )
    axes.set_xscale("log")
    axes.axvline(
        100 * (1 - sparsest), color="black", linestyle=":", linewidth=1, label="all layers"
    )
    for edge in range(1, len(names)):
        axes.axhline(edge - 0.5, color="0.7", linewidth=0.5)
    plain_log(axes.xaxis)
    axes.set_yticks(range(len(names)), [name.removesuffix("/kernel") for name in names])
    axes.set(xlabel="weights kept of the layer (%, log axis)", ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    legend(figure, [axes], title="growth")
    settings = f"{title}; sparsity {sparsest:g} in all, mean over seeds"
    save_figure(figure, place, "In which layers weights stay", settings)


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
    figure, panels = canvas(2 * len(networks), columns=len(networks), height=6.2, sharey="row")
    above, below = panels[: len(networks)], panels[len(networks) :]
    for top, bottom, (name, (run, loaded)) in zip(above, below, networks.items(), strict=True):
        bench = run.setup.bench(desk)
        images = jnp.asarray(bench.test.images[:TESTED])
        circuit = read(bench.traced, images)
        wanted = [value for one in circuit.neurons.values() for value in (one.spikes, one.membrane)]
        found = evaluate(circuit.program, inputs_of(circuit, loaded.variables, images), wanted)
        last = list(circuit.neurons.values())[-1]
        spikes = np.asarray(channels_last(found[-2], last))[:, :10, 0, :SHOWN]
        steps, shown, width = spikes.shape
        raster = spikes.transpose(1, 0, 2).reshape(steps * shown, width)
        top.eventplot(
            [np.flatnonzero(raster[:, neuron]) for neuron in range(width)],
            linelengths=0.8,
            colors="black",
        )
        for edge in range(1, shown):
            top.axvline(edge * steps - 0.5, color=COLOURS[0], linewidth=0.6)
        top.grid(visible=False)
        top.set(xlabel=f"time step ({shown} images, {steps} steps each)", title=name)
        for position, (layer, potentials) in enumerate(
            zip(circuit.neurons, found[1::2], strict=True)
        ):
            looks = look(position)
            bottom.hist(
                np.asarray(potentials).ravel(),
                bins=np.linspace(-1.5, 2.5, 81),
                density=True,
                histtype="step",
                color=looks["color"],
                linestyle=DASHES[position % len(DASHES)],
                label=layer,
            )
        bottom.axvline(
            last.kind.threshold, color="black", linewidth=1, linestyle=":", label="threshold"
        )
        bottom.set(xlabel="membrane potential before the reset", yscale="log")
    above[0].set_ylabel(f"neuron of the last layer (first {SHOWN})")
    below[0].set_ylabel("probability density (log axis)")
    legend(figure, below)
    title = f"{title}; above: a stroke is a spike; below: {TESTED} test images, all steps"
    save_figure(figure, place, "Spikes and potentials, dense and pruned", title)
