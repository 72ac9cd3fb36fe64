"""What a command shows, and the tables that two studies share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from experiments.common.outputs import Outputs
from experiments.common.tables import Table, markdown_table, print_table
from experiments.graph_encoding.analysis import MIXTURE, STRATEGIES


class Page:
    """What a command shows: tables on the screen and in files.

    Args:
      title: what the networks are.
      outputs: where files go.
      console: where to print.
    """

    def __init__(self, title: str, outputs: Outputs, console: Console) -> None:
        self.title, self.outputs, self._console = title, outputs, console
        self._text = f"# Graph encoding: {title}\n"

    def add(self, name: str, table: Table) -> None:
        """Prints a table, and writes its numbers."""
        print_table(self._console, table.caption, table.header, table.body)
        self._text += f"\n{table.caption}\n\n{markdown_table(table.header, table.body)}"
        self.outputs.numbers(name, table.frame)
        self.outputs.latex(name, table.header, table.body, f"{self.title}. {table.caption}")

    def say(self, line: str) -> None:
        """Prints a line, and writes it."""
        self._console.print(line, highlight=False)
        self._console.print()
        self._text += f"\n{line}\n"

    def close(self) -> Sequence[Path]:
        """Writes the text; the files that were written."""
        self.outputs.report("report", self._text)
        return self.outputs.files


def rankings_table(ranked: pl.DataFrame, caption: str) -> Table:
    """A table of ``analysis.rankings``, a row per model and strategy."""
    sparsities = ranked["sparsity"].unique(maintain_order=True).to_list()
    header = ["model, strategy", *(f"{each:g}" for each in sparsities), "mean"]
    body = []
    for model in ranked["model"].unique(maintain_order=True):
        for strategy in ranked["strategy"].unique(maintain_order=True):
            own = ranked.filter((pl.col("model") == model) & (pl.col("strategy") == strategy))
            cells = [
                number(row["overlap"], 2)
                + ("" if row["deviation"] is None else f" ± {row['deviation']:.2f}")
                for row in own.rows(named=True)
            ]
            known = own["overlap"].drop_nans()
            mean = float("nan") if known.is_empty() else float(np.mean(known.to_numpy()))
            body.append([f"{model}, {STRATEGIES[strategy]}", *cells, number(mean, 2)])
    caption += "; rank-biased overlap with the order of accuracies, 1: the same, by sparsity"
    return Table(ranked, caption, header, body)


def who_wins(ranked: pl.DataFrame) -> str:
    """Whether the mixture ranks better than what is read off the masks at once."""
    lines = []
    for model in ranked["model"].unique(maintain_order=True):
        own = ranked.filter(pl.col("model") == model)
        means = dict(
            own.group_by("strategy", maintain_order=True).agg(pl.col("overlap").mean()).rows()
        )
        if MIXTURE in means and "density" in means:
            verb = "beats" if means[MIXTURE] > means["density"] else "does not beat"
            lines.append(
                f"{model}: the mixture {verb} layer density ({means[MIXTURE]:.2f}, "
                f"{means['density']:.2f})"
            )
    return "; ".join(lines) + "."


def number(value: float, digits: int) -> str:
    """A number as tables show it."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"
