"""Tables of the study: accuracy, spikes, energy and the cost of pruning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from scipy import stats

from experiments.common.desk import Desk
from experiments.common.gathering import Recorded, write_table
from experiments.common.outputs import Outputs
from experiments.common.page import Page
from experiments.common.records import Record
from experiments.common.tables import Table
from experiments.spiking import figures
from experiments.spiking.run import DENSE, SpikingNetwork, load
from prunejax.spiking import GROWTH

ENERGY = (
    "Energy is that of the arithmetic alone (45 nm, 32 bits: 4.6 pJ per multiply-add, 0.9 pJ per "
    "addition that a spike causes); reading weights and potentials from memory, which mostly costs "
    "more, is not counted."
)

Row = dict[str, Any]


def rows_of(records: Sequence[Record]) -> list[Row]:
    """One row per sparsity and rule: means over seeds, and standard deviations of accuracy."""
    parts: dict[tuple[float, str], list[Record]] = {}
    for record in records:
        config = record["config"]
        parts.setdefault((config["sparsity"] or 0.0, config["rule"]), []).append(record)
    order = {rule: place for place, rule in enumerate((DENSE, *GROWTH))}
    found = []
    for (sparsity, rule), part in sorted(
        parts.items(), key=lambda item: (item[0][0], order.get(item[0][1], len(order)))
    ):
        found.append({"sparsity": sparsity, "rule": rule, **_means(part)})
    return found


def _means(part: Sequence[Record]) -> Row:
    def mean(name: str) -> float | None:
        known = [record["metrics"][name] for record in part]
        return None if None in known else float(np.mean(known))

    accuracies = [record["metrics"]["accuracy"] for record in part]
    return {
        "accuracy": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies, ddof=1)) if len(part) > 1 else None,
        "seeds": len(part),
        **{
            name: mean(name)
            for name in (
                "firing_rate",
                "sops",
                "macs",
                "energy",
                "dense_energy",
                "class_variance",
                "cosine",
            )
        },
        **{
            name: mean(name)
            for name in ("cost_seconds", "cost_multiply_adds", "before", "parameters")
            if name in part[0]["metrics"]
        },
    }


def _accuracy(row: Row) -> str:
    spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.1f}"
    return f"{100 * row['accuracy']:.1f}{spread}"


def _energies(row: Row) -> list[str]:
    return [
        f"{100 * row['firing_rate']:.1f}",
        f"{row['sops'] / 1000:,.1f}",
        f"{row['macs'] / 1000:,.1f}",
        f"{row['energy']:,.1f}",
        f"{row['dense_energy']:,.1f}",
    ]


ENERGIES = ["fires %", "k SOPs", "k MACs", "nJ", "dense nJ"]


def table(records: Sequence[Record]) -> Table:
    """The table of unstructured pruning."""
    rows = rows_of(records)
    header = ["sparsity", "growth", "accuracy", *ENERGIES, "time %", "MACs %", "cosine"]
    body = [
        [
            f"{row['sparsity']:g}",
            row["rule"],
            _accuracy(row),
            *_energies(row),
            *(
                "-" if row[name] is None else f"{100 * row[name]:.1f}"
                for name in ("cost_seconds", "cost_multiply_adds")
            ),
            f"{row['cosine']:.3f}",
        ]
        for row in rows
    ]
    caption = (
        "Test accuracy in %, mean ± standard deviation over seeds; per image: the share of "
        "neurons that fire in a step, synaptic operations, multiply-adds, energy, that of the "
        "dense network with ReLU; scoring and updates in % of training, as time and as "
        "multiply-adds; cosine between the firing of a class in training and in test. " + ENERGY
    )
    return Table(pl.DataFrame(rows), caption, header, body)


def comparison(records: Sequence[Record]) -> Table | None:
    """Criticality against every other rule, seed by seed; None with fewer than two seeds."""
    accuracies: dict[tuple[float, str], dict[int, float]] = {}
    for record in records:
        config = record["config"]
        found = accuracies.setdefault((config["sparsity"] or 0.0, config["rule"]), {})
        found[config["seed"]] = 100 * record["metrics"]["accuracy"]
    rows = []
    for (sparsity, rule), ours in accuracies.items():
        for other in GROWTH if rule == "criticality" else ():
            theirs = accuracies.get((sparsity, other), {})
            seeds = sorted(set(ours) & set(theirs))
            if other == rule or len(seeds) < 2:
                continue
            gains = np.array([ours[seed] - theirs[seed] for seed in seeds])
            error = float(gains.std(ddof=1) / len(gains) ** 0.5)
            reach = float(stats.t.ppf(0.975, len(gains) - 1)) * error
            mean = float(gains.mean())
            told = "cannot be told" if abs(mean) <= reach else "higher" if mean > 0 else "lower"
            rows.append(
                {"sparsity": sparsity, "against": other, "points": mean, "reach": reach,
                 "seeds": len(seeds), "verdict": told}
            )  # fmt: skip
    if not rows:
        return None
    header = ["sparsity", "criticality against", "points", "95 % within", "seeds", "verdict"]
    body = [
        [
            f"{row['sparsity']:g}",
            row["against"],
            f"{row['points']:+.2f}",
            f"± {row['reach']:.2f}",
            str(row["seeds"]),
            row["verdict"],
        ]
        for row in rows
    ]
    caption = (
        "Growth by criticality against the other rules: points of test accuracy, seed by seed, "
        "with the 95 % confidence interval of their mean"
    )
    return Table(pl.DataFrame(rows), caption, header, body)


def cut_table(records: Sequence[Record]) -> Table:
    """The table of networks that lost channels."""
    parts: dict[tuple[float, str], list[Record]] = {}
    for record in records:
        config = record["config"]
        kept = config.get("kept", 1.0)
        parts.setdefault((kept, config["rule"]), []).append(record)
    rows = [
        {"kept": kept, "rule": rule, **_means(part)}
        for (kept, rule), part in sorted(parts.items(), key=lambda item: -item[0][0])
    ]
    header = ["channels", "regrown by", "before tuning", "accuracy", "parameters", *ENERGIES]
    body = [
        [
            f"{row['kept']:.0%}",
            row["rule"],
            f"{100 * row['before']:.1f}" if "before" in row else "-",
            _accuracy(row),
            f"{row['parameters']:,.0f}" if "parameters" in row else "-",
            *_energies(row),
        ]
        for row in rows
    ]
    caption = (
        "Channels kept by |gamma| and regrown; test accuracy in % once they are cut out and after "
        "fine-tuning, mean ± standard deviation over seeds; the rest per image. " + ENERGY
    )
    return Table(pl.DataFrame(rows), caption, header, body)


def write(
    records: Mapping[Any, Record], title: str, outputs: Outputs, desk: Desk, console: Console
) -> Sequence[Path]:
    """Prints and writes the table and the figures of unstructured pruning.

    Args:
      records: of the networks.
      title: what they are.
      outputs: where files go.
      desk: of this process.
      console: where to print.

    Returns:
      The files.
    """
    found, page = [*records.values()], Page("Spiking networks", title, outputs, console)
    page.add("spiking", table(found))
    if (compared := comparison(found)) is not None:
        page.add("comparison", compared)
    figures.accuracies(rows_of(found), outputs.figure("accuracy"), title)
    figures.entropies(found, outputs.figure("entropy"), title)
    figures.layers(found, outputs.figure("layers"), title)
    pair = _pair(records)
    if pair is not None:
        shown = {run.title: (run, load(run, desk)) for run in pair}
        figures.neurons(shown, desk, outputs.figure("neurons"), title)
    return page.close()


def write_cut(
    records: Mapping[Any, Record], title: str, outputs: Outputs, desk: Desk, console: Console
) -> Sequence[Path]:
    """Prints and writes the table and the figure of channels; arguments as in ``write``."""
    del desk
    made, page = cut_table([*records.values()]), Page("Spiking networks", title, outputs, console)
    page.add("channels", made)
    rows = [{**row, "sparsity": 1 - row["kept"]} for row in made.frame.to_dicts()]
    figures.accuracies(rows, outputs.figure("accuracy"), title, what="channels")
    return page.close()


def _pair(records: Mapping[Any, Record]) -> tuple[SpikingNetwork, SpikingNetwork] | None:
    """The dense network of the first seed, and its sparsest one, by criticality if there is one."""
    first = [run for run in records if isinstance(run, SpikingNetwork) and run.seed == 0]
    dense = next((run for run in first if run.method is None), None)
    sparse = [run for run in first if run.method is not None]
    if dense is None or not sparse:
        return None
    return dense, max(sparse, key=_sparsest)


def _sparsest(run: SpikingNetwork) -> tuple[float, bool]:
    method = run.method
    return (0.0, False) if method is None else (method.sparsity, method.growth == "criticality")


RECORDED = Recorded(
    key="rule",
    names=(DENSE, *GROWTH),
    needs=SpikingNetwork.metrics,
    source=lambda _: None,
    varying=("rule", "sparsity", "seed", "source"),
    read=table,
    write=write_table(table),
    kind="unstructured",
)
