"""Figures of critical neurons: scores, accuracy against shares, the solver, lambda, batches."""

from collections.abc import Callable

import numpy as np
import polars as pl

from experiments.common import chart
from experiments.common.figures import canvas, legend, look, save_figure
from experiments.common.outputs import Place
from experiments.common.records import Record
from experiments.critical_neurons.rivals import RIVALS

NAMES = {
    "method": "method: lowest",
    "random": "random",
    "critical": "critical: highest",
    "inactive": "inactive on batch",
}

LOOKS = {name: look(position) for position, name in enumerate(RIVALS)}

STARTS = {"new": "other initial weights", "same": "its own initial weights"}

SUBNETWORK_NAMES = {
    "whole": "whole network",
    "method": "method's neurons",
    "random": "random neurons",
    "snip_neurons": "SNIP, neurons",
    "snip_weights": "SNIP, single weights",
}


def _scores(first: Record, place: Place, title: str) -> bool:
    """Draws each layer's scores in falling order."""
    drawn, (axes,) = canvas(1)
    lines = []
    for position, (group, scores) in enumerate(first["metrics"]["certificate"]["scores"].items()):
        ordered = np.sort(np.array(scores))[::-1]
        share = 100 * np.linspace(0, 1, len(ordered))
        name = f"{group} ({len(ordered)} neurons)"
        lines.append(chart.Line(name, share, ordered, look(position)))
    threshold = first["config"]["threshold"]
    levels = [] if threshold == "mean" else [(f"threshold {threshold:g}", threshold)]
    chart.draw(axes, lines, references=levels, names=False, whole=True)
    axes.set_xlabel("neurons of the layer, highest score first (%)")
    axes.set_ylabel("score (1: critical)")
    legend(drawn, [axes])
    settings = f"{title}; neurons below the threshold are pruned"
    save_figure(drawn, place, "Scores of the neurons of each layer", settings)
    return True


def _curve(first: Record, place: Place, title: str) -> bool:
    """Draws accuracy against the pruned share of each layer."""
    curve = first["metrics"].get("curve")
    if curve is None:
        return False
    drawn, (axes,) = canvas(1)
    share = 100 * np.array(curve["share"])
    lines = [
        chart.line(NAMES[name], share, 100 * np.array(curve[name]), None, LOOKS[name])
        for name in ("method", "random", "critical")
    ]
    chart.draw(axes, lines, whole=True)
    images = f"{curve['images']} " if "images" in curve else ""
    axes.set_xlabel("neurons pruned of each layer (%)")
    axes.set_ylabel(f"accuracy on {images}test images (%)")
    title = f"{title}; lines: which scores go first; not fine-tuned; {chart.band_words(1)}"
    save_figure(drawn, place, "Accuracy as more neurons of each layer are pruned", title)
    return True


def _trajectory(first: Record, place: Place, title: str) -> bool:
    """Draws incumbent and bound over time."""
    moved = np.array(
        [
            [np.nan if value is None else value for value in row]
            for row in first["metrics"]["certificate"]["trajectory"]
        ]
    )
    drawn, (axes,) = canvas(1)
    for column, label in ((1, "best solution so far"), (2, "bound: no solution is lower")):
        looks = look(column - 1) | {"marker": ""}
        axes.step(moved[:, 0], moved[:, column], where="post", label=label, **looks)
    axes.set_xlabel("time of the solver (s)")
    axes.set_ylabel("objective of the program (minimised)")
    finite = moved[:, 1][np.isfinite(moved[:, 1])]
    if len(finite):
        spread = max(float(np.ptp(finite)), 0.1)
        shown = moved[:, 1:][np.isfinite(moved[:, 1:])]
        lowest = max(finite.min() - 2 * spread, shown.min() - 0.1 * spread)
        axes.set_ylim(lowest, finite.max() + 0.2 * spread)
    legend(drawn, [axes])
    save_figure(drawn, place, "How the solver closes the gap", title)
    return True


def _sweep(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws what is pruned, and accuracy, against lambda."""
    frame = frame.sort("loss_weight")
    drawn, (left, right) = canvas(2, height=3.6)
    chart.draw(left, _means(frame, RIVALS[:1], "neurons"), names=False, whole=True)
    reference = [("whole network", float(frame["reference"].to_numpy().mean()))]
    lines = _means(frame, RIVALS[:3], "accuracy")
    if chart.draw(right, lines, references=reference, names=False):
        title += f"; {chart.BELOW}"
    left.set_ylabel("neurons pruned by the method (%)")
    right.set_ylabel("test accuracy, not fine-tuned (%)")
    for axes in (left, right):
        axes.set_xlabel("lambda, the weight of the loss")
    legend(drawn, [right])
    seeds = frame["seed"].n_unique()
    title = f"{title}; {chart.band_words(seeds)}"
    save_figure(drawn, place, "What the weight of the loss changes", title)


def _means(frame: pl.DataFrame, names: tuple[str, ...], column: str) -> list[chart.Line]:
    """A line per rival: the mean of a column over seeds, against lambda."""
    lines = []
    for name in names:
        part = (
            frame.filter(pl.col("rival") == name)
            .group_by("loss_weight", maintain_order=True)
            .agg(pl.col(column).mean().alias("mean"), pl.col(column).std().alias("spread"))
        )
        spread = part["spread"].cast(pl.Float64).fill_null(np.nan)
        lines.append(
            chart.line(NAMES[name], part["loss_weight"], part["mean"], spread, LOOKS[name])
        )
    return lines


def _batches(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws accuracy against the pruned share, a mark per batch."""
    drawn, panels = canvas(2, height=3.8)
    for axes, column, words in zip(
        panels, ("accuracy", "fine_tuned"), ("not fine-tuned", "fine-tuned"), strict=True
    ):
        for name in RIVALS:
            part = frame.filter(pl.col("rival") == name)
            dots = LOOKS[name] | {"linestyle": "", "fillstyle": "none"}
            axes.plot(
                part["neurons"].to_numpy(), part[column].to_numpy(), label=NAMES[name], **dots
            )
        axes.axhline(frame["reference"][0], color="black", linestyle=":", label="whole network")
        axes.set_xlabel("neurons pruned (%)")
        axes.set_title(words)
    panels[0].set_ylabel("test accuracy (%)")
    legend(drawn, panels)
    batches = frame["batch"].n_unique()
    title = f"{title}; a mark per batch, {batches} of one network. Each panel has its own y axis"
    save_figure(drawn, place, "Which neurons go depends on the batch of images", title)


def _subnetworks(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws a mark for each seed's sub-network, a row per kind, and a stroke for their mean."""
    kinds = frame["subnetwork"].unique(maintain_order=True).to_list()
    starts = frame["start"].unique(maintain_order=True).to_list()
    drawn, (axes,) = canvas(1, height=1.6 + 0.45 * len(kinds))
    for number, start in enumerate(starts):
        part = frame.filter(pl.col("start") == start)
        shift = 0.3 * (number - (len(starts) - 1) / 2)
        rows = np.array([kinds.index(name) + shift for name in part["subnetwork"]])
        accuracy, looks = part["accuracy"].to_numpy(), look(number)
        dots = looks | {"linestyle": "", "fillstyle": "none"}
        axes.plot(accuracy, rows, label=STARTS[start], **dots)
        for row in np.unique(rows):
            mean = accuracy[rows == row].mean()
            axes.vlines(mean, row - 0.12, row + 0.12, color=looks["color"], linewidth=2)
    axes.set_yticks(range(len(kinds)), [SUBNETWORK_NAMES[name] for name in kinds])
    axes.set(xlabel="test accuracy (%)", ylim=(len(kinds) - 0.5, -0.5))
    if len(starts) > 1:
        legend(drawn, [axes], title="trained from")
    title = f"{title}; a mark per seed, a stroke: their mean"
    save_figure(drawn, place, "Sub-networks trained from the beginning", title)


OF_PROGRAM: dict[str, Callable[[Record, Place, str], bool]] = {
    "scores": _scores,
    "curve": _curve,
    "trajectory": _trajectory,
}
"""Name of a file -> a figure of one program; False where there is nothing to draw."""

OF_STUDY: dict[str, Callable[[pl.DataFrame, Place, str], None]] = {
    "lambda": _sweep,
    "batch-robustness": _batches,
    "transfer": _subnetworks,
    "initialisation": _subnetworks,
}
"""Study -> a figure of its table's numbers."""
