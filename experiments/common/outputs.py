"""The files that a command writes, in the formats that it is asked for."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from experiments.common.tables import latex_table
from prunejax.files import write_atomically

Format = Literal["csv", "md", "tex", "png", "pdf"]

DEFAULT: tuple[Format, ...] = ("csv", "md", "png")
"""What is written unless ``--formats`` says otherwise: numbers, tables, figures."""


class Outputs:
    """The tables and figures of one command.

    Args:
      folder: where to; made where it is missing.
      formats: what is written; the others are left out.

    Attributes:
      files: what was written.
    """

    def __init__(self, folder: Path, formats: Sequence[Format] = DEFAULT) -> None:
        self._folder, self._formats = folder, formats
        self.files: list[Path] = []

    def numbers(self, name: str, frame: pl.DataFrame) -> None:
        """Writes a frame as CSV."""
        self._write(name, "csv", frame.write_csv().encode())

    def report(self, name: str, text: str) -> None:
        """Writes a text in Markdown."""
        self._write(name, "md", text.encode())

    def latex(
        self, name: str, header: Sequence[str], body: Sequence[Sequence[str]], caption: str
    ) -> None:
        """Writes a table in LaTeX."""
        self._write(name, "tex", latex_table(header, body, caption).encode())

    def figure(self, name: str) -> "Place":
        """Where a figure goes."""
        return Place(self, name)

    def draw(self, name: str, drawn: Any) -> None:
        """Writes a figure."""
        for suffix in ("png", "pdf"):
            if suffix in self._formats:
                image = io.BytesIO()
                # no date in a PDF: the same numbers give the same file
                dated = {"metadata": {"CreationDate": None}} if suffix == "pdf" else {}
                drawn.savefig(image, format=suffix, dpi=150, **dated)
                self._write(name, suffix, image.getvalue())

    def _write(self, name: str, suffix: Format, content: bytes) -> None:
        if suffix in self._formats:
            path = self._folder / f"{name}.{suffix}"
            write_atomically(path, content)
            self.files.append(path)


class Place(NamedTuple):
    """Where a figure goes.

    Attributes:
      outputs: of the command.
      name: of its files, without what tells the format.
    """

    outputs: Outputs
    name: str

    def save(self, drawn: Any) -> None:
        """Writes the figure."""
        self.outputs.draw(self.name, drawn)
