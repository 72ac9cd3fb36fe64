"""Figures like the paper's 2 to 6, and the degrees of neurons as they evolve."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.adaptive_topology.claims import Measured
from experiments.common.figures import canvas, save_figure
from experiments.common.outputs import Place

PRUNINGS = ("reverse_weight_order", "random", "weight_order")
COLOURS = {
    "reverse_weight_order": "tab:red",
    "random": "tab:green",
    "weight_order": "tab:gray",
    "shuffling": "tab:purple",
    "noise": "tab:cyan",
}
NAMES = {
    "reverse_weight_order": "reverse weight order pruning",
    "random": "random pruning",
    "weight_order": "weight order pruning",
    "shuffling": "shuffling",
    "noise": "noise",
}
LINES = ("--", "-", ":", "-.")

History = Sequence[Mapping[str, float]]


def rule_colour(position: int) -> str:
    """The colour of the rule in this place: of random regrowth red, of CH3-L3 blue (Fig. 3)."""
    return ("tab:red", "tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown")[
        position % 6
    ]


def update_times(measured: Mapping[str, Measured], place: Place, title: str) -> None:
    """Draws how long an update of the topology takes (Fig. 2)."""
    figure, (axes,) = canvas(1)
    names = list(measured)
    bars = [1000 * measured[name].update for name in names]
    axes.bar(names, bars, color=[rule_colour(position) for position in range(len(names))])
    axes.set_ylabel("update of the topology (ms)")
    save_figure(figure, place, title)


def accuracies(histories: Mapping[str, Sequence[History]], place: Place, title: str) -> None:
    """Draws the median accuracy against epochs, with the 40 to 60 percentile band (Fig. 3)."""
    figure, (axes,) = canvas(1)
    for position, (name, of_seeds) in enumerate(histories.items()):
        table = np.array([[row["test_accuracy"] for row in history] for history in of_seeds])
        epochs = np.arange(1, table.shape[1] + 1)
        low, middle, high = np.percentile(100 * table, (40, 50, 60), axis=0)
        axes.plot(epochs, middle, color=rule_colour(position), label=name)
        axes.fill_between(epochs, low, high, color=rule_colour(position), alpha=0.25, linewidth=0)
    axes.set_xscale("log")
    axes.set(xlabel="epoch", ylabel="test accuracy (%), median and 40-60 percentiles")
    axes.legend()
    save_figure(figure, place, title)


def curves(
    measured: Mapping[str, Measured], perturbations: Sequence[str], place: Place, title: str
) -> None:
    """Draws accuracy against the strength of perturbations, a line per rule (Figs. 4 and 5)."""
    figure, (axes,) = canvas(1)
    for position, (name, one) in enumerate(measured.items()):
        for perturbation in perturbations:
            axes.plot(
                one.strengths[perturbation],
                100 * one.mean(perturbation),
                color=COLOURS[perturbation],
                linestyle=LINES[position % len(LINES)],
                label=f"{NAMES[perturbation]}, grown by {name}",
            )
    axes.set(xlabel="strength", ylabel="test accuracy (%)")
    axes.legend(fontsize="x-small")
    save_figure(figure, place, title)


def magnitudes(measured: Mapping[str, Measured], place: Place, title: str) -> None:
    """Draws the density of |w| (Fig. 6)."""
    figure, (axes,) = canvas(1)
    largest = max(np.quantile(np.concatenate(one.magnitudes), 0.999) for one in measured.values())
    bins = np.linspace(0, float(largest), 80)
    for position, (name, one) in enumerate(measured.items()):
        density, edges = np.histogram(np.concatenate(one.magnitudes), bins=bins, density=True)
        axes.stairs(density, edges, color=rule_colour(position), label=name)
    axes.set_yscale("log")
    axes.set(xlabel="|w|", ylabel="density")
    axes.legend()
    save_figure(figure, place, title)


def degrees(
    histories: Mapping[str, Sequence[History]],
    final: Mapping[str, Mapping[str, Sequence[int]]],
    place: Place,
    title: str,
) -> None:
    """Draws neurons with links in, and the largest hub, by epoch, and the degrees at the end.

    Means over seeds; the degrees at the end are those of the first seed, all layers together.
    """
    figure, panels = canvas(3)
    layers = [key.removeprefix("hub_") for key in _first(histories) if key.startswith("hub_")]
    for position, (name, of_seeds) in enumerate(histories.items()):
        for line, layer in zip(LINES, layers, strict=False):
            look: dict[str, Any] = {"color": rule_colour(position), "linestyle": line}
            epochs = [row["epoch"] for row in of_seeds[0]]
            for axes, what in zip(panels[:2], ("active", "hub"), strict=True):
                values = np.mean(
                    [[row[f"{what}_{layer}"] for row in history] for history in of_seeds], axis=0
                )
                axes.plot(epochs, values, label=f"{name}, {layer}", **look)
            counts = np.asarray(final[name][layer], float)
            present = np.flatnonzero(counts)
            panels[2].plot(present, counts[present], ".", color=rule_colour(position), alpha=0.5)
    panels[0].set(xlabel="epoch", ylabel="neurons with links in")
    panels[1].set(xlabel="epoch", ylabel="most links into one neuron")
    panels[2].set(
        xlabel="links into a neuron", ylabel="neurons (first seed)", xscale="symlog", yscale="log"
    )
    panels[0].legend(fontsize="x-small")
    save_figure(figure, place, title)


def _first(histories: Mapping[str, Sequence[History]]) -> Mapping[str, float]:
    return next(iter(histories.values()))[0][0]
