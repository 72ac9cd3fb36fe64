"""Tables of text: on screen as wide as it is, in Markdown, in LaTeX."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid

from prunejax.text import blocks as fitting

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "→": r"$\to$", "↓": r"$\downarrow$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip
"""What LaTeX writes otherwise."""


class Table(NamedTuple):
    """A table as numbers and as text.

    Attributes:
      frame: all numbers.
      caption: what the table shows.
      header: its columns.
      body: its rows.
    """

    frame: pl.DataFrame
    caption: str
    header: Sequence[str]
    body: Sequence[Sequence[str]]


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A header and rows of text in Markdown, where a bar inside a cell is escaped."""
    cells = [header, ["---"] * len(header), *body]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def latex_table(header: Sequence[str], body: Sequence[Sequence[str]], caption: str) -> str:
    """A header and rows of text as a LaTeX table; it needs the package booktabs."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        " & ".join(map(escaped, header)) + r" \\",
        r"\midrule",
        *(" & ".join(map(escaped, line)) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def print_table(
    console: Console,
    caption: str,
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    *,
    ends: Sequence[int] = (),
) -> None:
    """Prints a caption and a table without lines, its first column to the left.

    No cell is cut: where the console is too narrow for all columns, the table goes on below, with
    the first column again.

    Args:
      console: where to print.
      caption: what the table shows.
      header: names of columns.
      body: rows of cells.
      ends: rows after which a line is drawn.
    """
    console.print(caption, highlight=False)
    for columns in blocks(header, body, console.width):
        shown = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for position in columns:
            shown.add_column(
                header[position], justify="right" if position else "left", no_wrap=True
            )
        for index, line in enumerate(body):
            shown.add_row(*(line[position] for position in columns), end_section=index in ends)
        console.print(shown)


def blocks(
    header: Sequence[str], body: Sequence[Sequence[str]], width: int
) -> list[tuple[int, ...]]:
    """The columns of each part of a table that is as wide as it may be, the first in all."""
    widths = [max(map(cell_len, column)) for column in zip(header, *body, strict=True)]
    edges = 3  # of SIMPLE_HEAD, whose columns are two characters apart, the last one's too
    return fitting(widths, width - edges)
