"""What a command shows: tables on the screen, and the same in files."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.common.outputs import Outputs
from experiments.common.tables import Table, markdown_table, print_table


class Page:
    """What a command shows: tables on the screen and in files.

    Args:
      study: its name, for the heading.
      title: what the networks are.
      outputs: where files go.
      console: where to print.
    """

    def __init__(self, study: str, title: str, outputs: Outputs, console: Console) -> None:
        self.title, self.outputs, self._console = title, outputs, console
        self._text = f"# {study}: {title}\n"

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
