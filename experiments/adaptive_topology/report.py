"""Tables and figures of adaptive topology."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from experiments.adaptive_topology import claims, figures
from experiments.adaptive_topology.claims import Measured
from experiments.adaptive_topology.course import layers_of
from experiments.adaptive_topology.run import Perturbed, RewiredNetwork, load
from experiments.common.desk import Desk
from experiments.common.gathering import Recorded, write_table
from experiments.common.outputs import Outputs
from experiments.common.records import Record
from experiments.common.tables import Table, markdown_table, print_table
from prunejax.rewiring import REGROWTH

SHOWN = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 1.0)
"""The strengths of the table of perturbations."""

PAIR = ("random", "ch3_l3")
"""The two rules that the paper compares."""

Networks = Mapping[str, Sequence[tuple[RewiredNetwork, Record]]]


def networks_of(records: Mapping[Any, Record]) -> Networks:
    """The trained networks by their rule, in the order of the runs."""
    found: dict[str, list[tuple[RewiredNetwork, Record]]] = {}
    for run, record in records.items():
        if isinstance(run, RewiredNetwork):
            found.setdefault(run.rules.regrowth, []).append((run, record))
    return found


def measured_of(records: Mapping[Any, Record], desk: Desk) -> dict[str, Measured]:
    """What was measured of each rule."""
    found = {}
    for rule, networks in networks_of(records).items():
        attacks: dict[str, list[np.ndarray]] = {}
        strengths: dict[str, np.ndarray] = {}
        for run, record in records.items():
            if isinstance(run, Perturbed) and run.network.rules.regrowth == rule:
                attacks.setdefault(run.perturbation, []).append(
                    np.mean(record["metrics"]["curve"], axis=1)
                )
                strengths[run.perturbation] = np.asarray(run.strengths)
        found[rule] = Measured(
            accuracy=np.array([record["metrics"]["accuracy"] for _, record in networks]),
            history=np.median([_accuracies(record) for _, record in networks], axis=0),
            update=float(np.mean([record["seconds"]["update"] for _, record in networks])),
            strengths=strengths,
            curves={name: np.array(curves) for name, curves in attacks.items()},
            magnitudes=[_magnitudes(run, desk) for run, _ in networks],
        )
    return found


def write(
    records: Mapping[Any, Record], title: str, outputs: Outputs, desk: Desk, console: Console
) -> Sequence[Path]:
    """Prints and writes all tables and figures.

    Args:
      records: of the networks and of their perturbations.
      title: what the networks are.
      outputs: where files go.
      desk: of this process.
      console: where to print.

    Returns:
      The files.
    """
    measured = measured_of(records, desk)
    tables = [_training_table(records, measured), _perturbation_table(measured)]
    if set(PAIR) <= set(measured):
        tables.append(_claims_table(measured))
    text = f"# Adaptive topology: {title}\n"
    for name, caption, header, body, frame in tables:
        if body and name == "claims":
            _print_claims(console, caption, body)
        elif body:
            print_table(console, caption, header, body)
        if body:
            text += f"\n{caption}\n\n{markdown_table(header, body)}"
            outputs.numbers(name, frame)
            outputs.latex(name, header, body, f"{title}. {caption}")
    outputs.report("report", text)
    _figures(records, measured, title, outputs)
    return outputs.files


def _figures(
    records: Mapping[Any, Record], measured: Mapping[str, Measured], title: str, outputs: Outputs
) -> None:
    networks = networks_of(records)
    histories = {rule: [record["history"] for _, record in of] for rule, of in networks.items()}
    figures.update_times(measured, outputs.figure("update_time"), title)
    figures.accuracies(histories, outputs.figure("accuracy"), title)
    attacked = set.intersection(*(set(one.curves) for one in measured.values()))
    for name, among in (("pruning", figures.PRUNINGS), ("weights", ("shuffling", "noise"))):
        if drawn := [perturbation for perturbation in among if perturbation in attacked]:
            figures.curves(measured, drawn, outputs.figure(name), title)
    figures.magnitudes(measured, outputs.figure("magnitudes"), title)
    final = {rule: of[0][1]["metrics"]["in_degrees"] for rule, of in networks.items()}
    figures.degrees(histories, final, outputs.figure("degrees"), title)


def _training_table(records: Mapping[Any, Record], measured: Mapping[str, Measured]) -> Any:
    header = ["regrowth", "accuracy (%)", "90 % in epoch", "epoch s", "update ms", "active"]
    rows = []
    for rule, networks in networks_of(records).items():
        one, last = measured[rule], [record["history"][-1] for _, record in networks]
        active = [sum(v for k, v in row.items() if k.startswith("active_")) for row in last]
        rows.append(
            {
                "regrowth": rule,
                "accuracy": float(one.accuracy.mean()),
                "spread": float(one.accuracy.std(ddof=1)) if len(one.accuracy) > 1 else None,
                "seeds": len(one.accuracy),
                "epoch_of_90": one.first(0.9),
                "epoch_seconds": float(
                    np.mean([record["seconds"]["epoch"] for _, record in networks])
                ),
                "update_seconds": one.update,
                "active_neurons": float(np.mean(active)),
            }
        )
    body = [
        [
            row["regrowth"],
            f"{100 * row['accuracy']:.1f}"
            + ("" if row["spread"] is None else f" ± {100 * row['spread']:.1f}"),
            "-" if np.isinf(row["epoch_of_90"]) else f"{row['epoch_of_90']:.0f}",
            f"{row['epoch_seconds']:.3f}",
            f"{1000 * row['update_seconds']:.1f}",
            f"{row['active_neurons']:,.0f}",
        ]
        for row in rows
    ]
    caption = (
        "Training: test accuracy at the end, mean ± standard deviation over seeds; the first epoch "
        "whose median accuracy is 90 %; hidden neurons with links in at the end"
    )
    return "training", caption, header, body, pl.DataFrame(rows)


def _perturbation_table(measured: Mapping[str, Measured]) -> Any:
    header = ["perturbation", "regrowth", *(f"{level:g}" for level in SHOWN), "kept"]
    rows, body = [], []
    for perturbation in figures.NAMES:
        for rule, one in measured.items():
            if perturbation not in one.curves:
                continue
            curve = zip(one.strengths[perturbation], one.mean(perturbation), strict=True)
            rows += [
                {"perturbation": perturbation, "regrowth": rule, "strength": s, "accuracy": a}
                for s, a in curve
            ]
            shown = [one.at(perturbation, level) for level in SHOWN]
            kept = float(one.kept(perturbation).mean())
            cells = [f"{100 * value:.1f}" for value in (*shown, kept)]
            body.append([perturbation.replace("_", " "), rule, *cells])
    caption = (
        "Perturbed after training: test accuracy (%) by strength; kept: its mean from 0 to 1, in % "
        "of that at 0"
    )
    return "perturbations", caption, header, body, pl.DataFrame(rows)


def _claims_table(measured: Mapping[str, Measured]) -> Any:
    header = ["claim of the paper", "where", "ours", "verdict"]
    body = [list(row) for row in claims.tested(*(measured[rule] for rule in PAIR))]
    frame = pl.DataFrame(body, schema=["claim", "where", "ours", "verdict"], orient="row")
    return "claims", "Claims of Sulyok et al. 2026", header, body, frame


def recorded(records: Sequence[Record]) -> Table:
    """One table of recorded perturbations of networks, whatever commands made them."""
    curves: dict[tuple[str, str], list[np.ndarray]] = {}
    for record in sorted(records, key=lambda one: one["config"]["rule"]):
        config, means = record["config"], np.mean(record["metrics"]["curve"], axis=1)
        shown = np.interp(SHOWN, config["strengths"], means)
        curves.setdefault((config["perturbation"], config["rule"]), []).append(shown)
    rows = [
        {
            "perturbation": perturbation,
            "regrowth": rule,
            "networks": len(of_networks),
            **{f"{level:g}": value for level, value in zip(SHOWN, means, strict=True)},
        }
        for (perturbation, rule), of_networks in curves.items()
        for means in [np.mean(of_networks, axis=0).tolist()]
    ]
    body = [
        [
            row["perturbation"].replace("_", " "),
            row["regrowth"],
            str(row["networks"]),
            *(f"{100 * row[f'{level:g}']:.1f}" for level in SHOWN),
        ]
        for row in rows
    ]
    header = ["perturbation", "regrowth", "networks", *(f"{level:g}" for level in SHOWN)]
    caption = "Perturbed after training: test accuracy (%) by strength, mean over networks"
    return Table(pl.DataFrame(rows), caption, header, body)


RECORDED = Recorded(
    key="rule",
    names=tuple(REGROWTH),
    needs=Perturbed.metrics,
    source=lambda _: None,
    varying=(
        "rule", "perturbation", "seed", "source", "network_source", "strengths", "repeats",
    ),
    read=recorded,
    write=write_table(recorded),
)  # fmt: skip


def _print_claims(console: Console, caption: str, body: Sequence[Sequence[str]]) -> None:
    """Prints claims as lines: a table of sentences is too wide for a screen."""
    console.print(f"{caption}\n")
    for claim, where, ours, verdict in body:
        console.print(f"[bold]{verdict}[/]: {claim} ({where})", highlight=False)
        console.print(f"  ours: {ours}\n", highlight=False)


def _accuracies(record: Record) -> list[float]:
    return [row["test_accuracy"] for row in record["history"]]


def _magnitudes(run: RewiredNetwork, desk: Desk) -> np.ndarray:
    state = load(run, desk)
    return np.concatenate(
        [np.abs(np.asarray(state.params[layer]["kernel"])) for layer in layers_of(state)]
    )
