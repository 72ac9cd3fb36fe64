"""Figures like the paper's 2 to 6, and the degrees of neurons as they evolve."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.adaptive_topology.claims import Measured
from experiments.common import chart
from experiments.common.figures import DASHES, canvas, growth_styles, legend, plain_log, save_figure
from experiments.common.outputs import Place

PRUNINGS = ("reverse_weight_order", "random", "weight_order")
NAMES = {
    "reverse_weight_order": "smallest weights first",
    "random": "links at random",
    "weight_order": "largest weights first",
    "shuffling": "shuffled weights",
    "noise": "noise",
}
STRENGTHS = {
    "shuffling": "width of the bins\n(share of the range of weights)",
    "noise": "standard deviation of the noise\n(times the mean of |w|)",
}
"""What the strength of a perturbation is; of the others it is the share of links removed."""

LOW = 1.0
"""So near to their lowest values, in points, curves have fallen."""

History = Sequence[Mapping[str, float]]


def update_times(measured: Mapping[str, Measured], place: Place, title: str) -> None:
    """Draws how long an update of the topology takes (Fig. 2)."""
    figure, (axes,) = canvas(1, height=1.3 + 0.35 * len(measured))
    times = [1000 * one.update for one in measured.values()]
    looks = growth_styles(measured)
    bars = axes.barh(list(measured), times, color=[looks[rule]["color"] for rule in measured])
    axes.bar_label(bars, [f"{time:.3g} ms" for time in times], padding=3)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="time of one update of the topology (ms)")
    axes.margins(x=0.12)
    save_figure(figure, place, "Time that rules of regrowth take", f"{title}; mean over seeds")


def accuracies(histories: Mapping[str, Sequence[History]], place: Place, title: str) -> None:
    """Draws the median accuracy against epochs, with the 40 to 60 percentile band (Fig. 3).

    Left all epochs, right the second half of them, close up.
    """
    figure, (whole, close) = canvas(2, height=3.6)
    looks, lines, late = growth_styles(histories), [], []
    for name, of_seeds in histories.items():
        table = np.array([[100 * row["test_accuracy"] for row in history] for history in of_seeds])
        epochs = np.arange(1, table.shape[1] + 1)
        low, middle, high = np.percentile(table, (40, 50, 60), axis=0)
        band = (low, high) if len(table) > 1 else (None, None)
        lines.append(chart.Line(name, epochs, middle, looks[name], *band))
        half = slice(len(epochs) // 2, None)
        bands = [None if edge is None else edge[half] for edge in band]
        late.append(chart.Line(name, epochs[half], middle[half], looks[name], *bands))
    whole.set_xscale("log")
    plain_log(whole.xaxis)
    chart.draw(whole, lines, names=False)
    chart.draw(close, late, whole=True)
    whole.set(xlabel="epoch (log axis)", ylabel="test accuracy (%)", title="all epochs")
    close.set(xlabel="epoch", title="the second half, close up")
    seeds = max(map(len, histories.values()))
    bands = f"median of {seeds} seeds, band: 40th to 60th percentile" if seeds > 1 else "one seed"
    title = f"{title}; line: {bands}"
    save_figure(figure, place, "Test accuracy in training, by rule of regrowth", title)


def curves(
    measured: Mapping[str, Measured], perturbations: Sequence[str], place: Place, title: str
) -> None:
    """Draws accuracy against the strength of perturbations, a line per rule (Figs. 4 and 5).

    A panel per perturbation, up to the strength at which all lines have fallen. Without links every
    network guesses, so that strength is left out.
    """
    figure, panels = canvas(len(perturbations), height=3.6)
    looks = growth_styles(measured)
    for axes, perturbation in zip(panels, perturbations, strict=True):
        shown = {
            name: one.strengths[perturbation] < (1 if perturbation in PRUNINGS else np.inf)
            for name, one in measured.items()
        }
        lines = [
            chart.of_seeds(
                *(name, one.strengths[perturbation][shown[name]]),
                *(100 * one.curves[perturbation][:, shown[name]], looks[name]),
            )
            for name, one in measured.items()
        ]
        chart.draw(axes, lines, names=False, whole=True)
        end = max(_fallen(one) for one in lines)
        axes.set_xlim(-0.04 * end, 1.04 * end)
        axes.set(xlabel=STRENGTHS.get(perturbation, "share of links removed"))
        axes.set_title(NAMES[perturbation])
    panels[0].set_ylabel("test accuracy (%)")
    legend(figure, panels, title="links grown by")
    removed = perturbations[0] in PRUNINGS
    what = "links are removed" if removed else "weights are changed"
    seeds = {len(of) for one in measured.values() for of in one.curves.values()}
    title = f"{title}; {chart.band_words(min(seeds), max(seeds))}. Each panel has its own axes"
    save_figure(figure, place, f"Test accuracy as {what} after training", title)


def _fallen(one: chart.Line) -> float:
    """A little beyond the first strength from which a line stays at its lowest."""
    above = np.flatnonzero(one.y > np.nanmin(one.y) + LOW)
    last = min(2 * (above[-1] + 1) if len(above) else 1, len(one.x) - 1)
    return float(one.x[last]) or 1.0


def magnitudes(measured: Mapping[str, Measured], place: Place, title: str) -> None:
    """Draws the density of |w| (Fig. 6)."""
    figure, (axes,) = canvas(1)
    largest = max(np.quantile(np.concatenate(one.magnitudes), 0.999) for one in measured.values())
    bins = np.linspace(0, float(largest), 50)
    looks = growth_styles(measured)
    for name, one in measured.items():
        density, edges = np.histogram(np.concatenate(one.magnitudes), bins=bins, density=True)
        axes.stairs(
            density,
            edges,
            **{key: looks[name][key] for key in ("color", "linestyle")},
            linewidth=1.5,
            label=name,
        )
    axes.set_yscale("log")
    axes.set(xlabel="|w|, the size of a link's weight", ylabel="probability density (log axis)")
    axes.legend(title="links grown by", frameon=False, handlelength=3.2)
    title = f"{title}; all seeds together, without the largest 0.1 % of weights"
    save_figure(figure, place, "How large the weights of links are after training", title)


def degrees(
    histories: Mapping[str, Sequence[History]],
    final: Mapping[str, Mapping[str, Sequence[int]]],
    place: Place,
    title: str,
) -> None:
    """Draws neurons with links in, and the largest hub, by epoch, and the degrees at the end.

    Means over seeds; the degrees at the end are those of the first seed.

    Args:
      histories: rule -> the rows of each seed, an epoch each.
      final: rule -> layer -> how many neurons have 0, 1, 2 ... links in.
      place: where the figure goes.
      title: what the networks are.
    """
    figure, panels = canvas(3, columns=2, height=5.6)
    layers = [key.removeprefix("hub_") for key in _first(histories) if key.startswith("hub_")]
    looks = growth_styles(histories)
    for name, of_seeds in histories.items():
        for position, layer in enumerate(layers):
            dash: dict[str, Any] = {
                "color": looks[name]["color"],
                "linestyle": DASHES[position % len(DASHES)],
            }
            epochs = [row["epoch"] for row in of_seeds[0]]
            dash |= {"marker": looks[name]["marker"], "markevery": chart.every(len(epochs))}
            for axes, what in zip(panels[:2], ("active", "hub"), strict=True):
                values = np.mean(
                    [[row[f"{what}_{layer}"] for row in history] for history in of_seeds], axis=0
                )
                axes.plot(epochs, values, label=f"{name}, {layer}", **dash)
            counts = np.asarray(final[name][layer], float)
            share = 100 * counts[::-1].cumsum()[::-1] / max(counts.sum(), 1)
            there = np.flatnonzero(share[1:]) + 1
            panels[2].plot(there, share[there], **dash | {"markevery": 0.12})
    panels[0].set(xlabel="epoch", ylabel="neurons", ylim=(0, None))
    panels[0].set_title("neurons with links in")
    panels[1].set(
        xlabel="epoch", ylabel="links", ylim=(0, None), title="most links into one neuron"
    )
    panels[2].set(xlabel="links in, at least (log axis)", ylabel="neurons of the layer (%)")
    panels[2].set(xscale="log", title="at the end, in the first seed", ylim=(0, None))
    plain_log(panels[2].xaxis)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        **{"loc": "center", "bbox_to_anchor": (0.77, 0.24), "handlelength": 3.6, "frameon": False},
        title="links grown by, layer",
    )
    title = f"{title}; above: mean over seeds"
    save_figure(figure, place, "Links of neurons as the network rewires itself", title)


def _first(histories: Mapping[str, Sequence[History]]) -> Mapping[str, float]:
    return next(iter(histories.values()))[0][0]
