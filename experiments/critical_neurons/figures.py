"""Figures of critical neurons: scores, accuracy against shares, the solver, lambda, batches."""

from collections.abc import Callable

import numpy as np
import polars as pl

from experiments.common.figures import canvas, save_figure
from experiments.common.outputs import Place
from experiments.common.records import Record
from experiments.critical_neurons.rivals import CURVE_IMAGES, RIVALS

NAMES = {
    "method": "method: lowest",
    "random": "random",
    "critical": "critical: highest",
    "inactive": "inactive on batch",
}

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
    for group, scores in first["metrics"]["certificate"]["scores"].items():
        ordered = np.sort(np.array(scores))[::-1]
        axes.plot(np.linspace(0, 1, len(ordered)), ordered, label=f"{group} ({len(ordered)})")
    threshold = first["config"]["threshold"]
    if threshold != "mean":
        axes.axhline(threshold, color="black", linestyle="--", label="threshold")
    axes.set_xlabel("neurons of the layer, best first (fraction)")
    axes.set_ylabel("score")
    axes.legend(fontsize="small")
    save_figure(drawn, place, title)
    return True


def _curve(first: Record, place: Place, title: str) -> bool:
    """Draws accuracy against the pruned share of each layer."""
    curve = first["metrics"].get("curve")
    if curve is None:
        return False
    drawn, (axes,) = canvas(1)
    for name in ("method", "random", "critical"):
        axes.plot(curve["share"], 100 * np.array(curve[name]), marker="o", label=NAMES[name])
    axes.set_xlabel("share of each layer's neurons pruned")
    axes.set_ylabel(f"accuracy on {CURVE_IMAGES} test images, not fine-tuned (%)")
    axes.legend()
    save_figure(drawn, place, title)
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
    for column, label in ((1, "objective"), (2, "bound")):
        axes.step(moved[:, 0], moved[:, column], where="post", label=label)
    axes.set_xlabel("seconds")
    axes.set_ylabel("objective")
    finite = moved[:, 1][np.isfinite(moved[:, 1])]
    if len(finite):
        spread = max(float(np.ptp(finite)), 0.1)
        axes.set_ylim(finite.min() - 2 * spread, finite.max() + 0.2 * spread)
    axes.legend()
    save_figure(drawn, place, title)
    return True


def _sweep(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws what is pruned, and accuracy, against lambda."""
    frame = frame.sort("loss_weight")
    drawn, (left, right) = canvas(2)
    ours = frame.filter(pl.col("rival") == "method")
    left.plot(ours["loss_weight"].to_numpy(), ours["neurons"].to_numpy(), marker="o")
    left.set_ylabel("neurons pruned (%)")
    for name in RIVALS[:3]:
        part = frame.filter(pl.col("rival") == name)
        right.plot(
            part["loss_weight"].to_numpy(),
            part["accuracy"].to_numpy(),
            marker="o",
            label=NAMES[name],
        )
    right.set_ylabel("test accuracy, not fine-tuned (%)")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.set_xlabel("lambda")
    save_figure(drawn, place, title)


def _batches(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws accuracy against the pruned share, a dot per batch."""
    drawn, panels = canvas(2)
    for axes, column, words in zip(
        panels, ("accuracy", "fine_tuned"), ("not fine-tuned", "fine-tuned"), strict=True
    ):
        for name in RIVALS:
            part = frame.filter(pl.col("rival") == name)
            axes.scatter(part["neurons"].to_numpy(), part[column].to_numpy(), label=NAMES[name])
        axes.axhline(frame["reference"][0], color="black", linestyle="--", label="whole network")
        axes.set_xlabel("neurons pruned (%)")
        axes.set_ylabel(f"test accuracy, {words} (%)")
    panels[0].legend(fontsize="small")
    save_figure(drawn, place, title)


def _subnetworks(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws a dot for each seed's sub-network."""
    drawn, (axes,) = canvas(1)
    kinds = frame["subnetwork"].unique(maintain_order=True).to_list()
    for shift, start in enumerate(frame["start"].unique(maintain_order=True)):
        part = frame.filter(pl.col("start") == start)
        places = [kinds.index(name) + 0.15 * shift for name in part["subnetwork"]]
        axes.scatter(places, part["accuracy"].to_numpy(), label=STARTS[start])
    axes.set_xticks(range(len(kinds)), [SUBNETWORK_NAMES[name] for name in kinds], rotation=15)
    axes.set_ylabel("test accuracy (%)")
    if frame["start"].n_unique() > 1:
        axes.legend(fontsize="small")
    save_figure(drawn, place, title)


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
