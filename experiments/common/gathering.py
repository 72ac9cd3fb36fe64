"""What of a study's records ``prunejax report`` shows: each study's ``RECORDED``."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

import experiments
from experiments.common.outputs import Format, Outputs
from experiments.common.records import Record
from experiments.common.tables import Table, markdown_table, print_table


class Recorded(NamedTuple):
    """How recorded runs become a table, whatever commands made them.

    Attributes:
      key: what of a configuration names the method, "method" or "mode".
      names: what it may be.
      needs: the metrics that a record must have.
      source: a method's name -> the digest of its code now, None where it is no more.
      varying: what of a configuration may differ between records of one table.
      read: reads records; raises where one cannot be read.
      write: ``(records, folder, title, formats, console) -> files``: prints and writes one table.
      kind: only records whose configuration says so.
      said: what of the shared configuration a heading says besides network and data; None: it
        says the study's name.
      others: whether another name than those of ``names`` may stand in a record too.
    """

    key: str
    names: Sequence[str]
    needs: Sequence[str]
    source: Callable[[str], str | None]
    varying: Sequence[str]
    read: Callable[[Sequence[Record]], object]
    write: Callable[[Sequence[Record], Path, str, Sequence[Format], Console], Sequence[Path]]
    kind: str | None = None
    others: Callable[[str], bool] = lambda _: False
    said: Callable[[Mapping[str, Any]], str] | None = None


def studies() -> dict[str, str]:
    """Study -> the first line of what its command says of itself: every folder that has one."""
    lines = {}
    for module in pkgutil.iter_modules(experiments.__path__):
        if module.ispkg and find_spec(f"experiments.{module.name}.__main__"):
            main = importlib.import_module(f"experiments.{module.name}.__main__")
            lines[module.name] = (main.__doc__ or "").partition("\n")[0]
    return lines


def gatherings() -> dict[str, Recorded]:
    """Study -> the ``RECORDED`` of its ``report``, for every study that has one."""
    tables = {}
    for name in sorted(studies()):
        if find_spec(f"experiments.{name}.report"):
            report = importlib.import_module(f"experiments.{name}.report")
            if hasattr(report, "RECORDED"):
                tables[name] = report.RECORDED
    return tables


def write_table(
    make: Callable[[Sequence[Record]], Table],
) -> Callable[[Sequence[Record], Path, str, Sequence[Format], Console], Sequence[Path]]:
    """What prints and writes one table that ``make`` makes of records, as "recorded"."""

    def write(
        records: Sequence[Record],
        folder: Path,
        title: str,
        formats: Sequence[Format],
        console: Console,
    ) -> Sequence[Path]:
        table, outputs = make(records), Outputs(folder, formats)
        console.print(f"[bold]{escape(title)}[/]")
        print_table(console, table.caption, table.header, table.body)
        outputs.numbers("recorded", table.frame)
        text = markdown_table(table.header, table.body)
        outputs.report("recorded", f"# {title}\n\n{table.caption}\n\n{text}")
        outputs.latex("recorded", table.header, table.body, f"{title}. {table.caption}")
        return outputs.files

    return write


def problem_of(record: Record, recorded: Recorded, known: Mapping[str, Sequence[str]]) -> str:
    """What of a record the tables could not use, "" where nothing: it may come from anywhere.

    Args:
      record: the record.
      recorded: of its study.
      known: what of a configuration must be one of which names; they become part of a folder's.
    """
    config = record["config"]
    wrong = [
        f"{name} {config.get(name)!r}"
        for name, names in {**known, recorded.key: recorded.names}.items()
        if not isinstance(config.get(name), str)
        or not (config[name] in names or (name == recorded.key and recorded.others(config[name])))
    ]
    if wrong:
        return f"unknown {', '.join(wrong)}"
    try:
        settings: Any = config.get("method_settings", {})
        tuning = config.get("tuning", {})
        for mapping in (config.get("protocol", {}), settings, tuning, record["versions"]):
            if not isinstance(mapping, Mapping):
                raise TypeError(f"{mapping!r} where names with values should be")
        if not isinstance(record["date"], str) or not isinstance(record["device"], str):
            return "its date or device is no text"
        recorded.read([record])
    except Exception as error:  # whatever a stranger has put there
        return f"it cannot be read ({type(error).__name__}: {error})"
    return ""
