"""The table of a pruned network's layers, and figures of one of them."""

import jax.numpy as jnp
import polars as pl
from rich.console import Console

from experiments.common.outputs import Outputs
from experiments.common.tables import markdown_table, print_table
from experiments.entropy_kcore import figures
from experiments.entropy_kcore.selection import OURS, Selection
from prunejax import filters
from prunejax.network import KERNELS, Plan


def layer_rows(selection: Selection, plan: Plan, tau: float) -> pl.DataFrame:
    """One row per layer with weights: what it has before and after, at one threshold.

    Returns:
      Columns layer, group (of its output channels), channels, kept, orphans (channels removed that
      resemble none of those kept), multiply_adds, kept_multiply_adds, parameters, kept_parameters.
    """
    before, after = plan.network.cost("thop"), plan.cost("thop")
    groups = {layer: group for group in plan.network.groups.values() for layer in group.layers}
    thresholds = selection.thresholds(tau)
    found = []
    for old, new in zip(before.layers, after.layers, strict=True):
        if old.kind not in KERNELS:
            continue
        group = groups.get(old.name)
        measured = None if group is None else selection.redundancies.evidence.groups.get(group.name)
        orphans = None
        if group is not None and measured is not None:
            kept = jnp.asarray(plan.keep[group.name])
            seen = filters.redundancy(measured.similarity, kept, thresholds[group.name])
            orphans = int(jnp.sum(seen.orphans))
        found.append(
            {
                "layer": old.name,
                "group": "" if group is None else group.name,
                "channels": plan.network.layers[old.name].output_shape[-1],
                "kept": plan.layers[old.name].output_shape[-1],
                "orphans": orphans,
                "multiply_adds": old.multiply_adds,
                "kept_multiply_adds": new.multiply_adds,
                "parameters": old.parameters,
                "kept_parameters": new.parameters,
            }
        )
    return pl.DataFrame(found, schema_overrides={"orphans": pl.Int64})


def layer_lines(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The layer table as text, the sum below."""
    header = ["layer", "channels", "orphans", "multiply-adds", "parameters"]
    body = []
    for row in table.iter_rows(named=True):
        body.append(
            [
                row["layer"],
                _change(row["channels"], row["kept"]),
                "" if row["orphans"] is None else str(row["orphans"]),
                _change(row["multiply_adds"], row["kept_multiply_adds"]),
                _change(row["parameters"], row["kept_parameters"]),
            ]
        )
    sums = table.select(pl.col("multiply_adds", "kept_multiply_adds", "parameters").sum())
    kept = int(table["kept_parameters"].sum())
    one = sums.row(0, named=True)
    body.append(
        [
            "layers with kernels",
            "",
            "",
            _change(one["multiply_adds"], one["kept_multiply_adds"]),
            _change(one["parameters"], kept),
        ]
    )
    return header, body


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def write_layers(
    selection: Selection,
    tau: float,
    layer: str | None,
    outputs: Outputs,
    title: str,
    about: str,
    console: Console,
) -> str:
    """Prints and writes the table of layers, and draws one of them; returns the table's text."""
    plan = selection.plan(OURS, tau)
    layers = layer_rows(selection, plan, tau)
    header, body = layer_lines(layers)
    caption = f"Layers at tau {tau}, seed 0.{about}"
    print_table(console, caption, header, body)
    outputs.numbers("layers", layers)
    outputs.latex("layers", header, body, caption)
    thresholds, groups = selection.thresholds(tau), selection.redundancies.evidence.groups
    group = layer or figures.busiest(selection.redundancies.evidence, thresholds)
    if group in groups:
        measured, kept = groups[group], plan.keep[group]
        for name, draw in figures.LAYER.items():
            draw(measured, kept, thresholds[group], outputs.figure(name), f"{title}, {group}")
    else:
        console.print(f"no graph is drawn: the maps of {group!r} carry no hash")
    return f"{caption}\n\n{markdown_table(header, body)}"
