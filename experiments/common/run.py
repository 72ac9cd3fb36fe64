"""What a study is made of: runs. A run's configuration is its identity and names its record."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from experiments.common import records
from experiments.common.bench import Setup
from experiments.common.desk import Desk


class Outcome(NamedTuple):
    """What a run gives.

    Attributes:
      metrics: its results, as JSON holds them.
      history: one row per epoch.
      seconds: how long its parts took.
      files: what lies beside the record: a name -> what writes the file (or folder) of that path.
    """

    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]] = ()
    seconds: Mapping[str, float] = MappingProxyType({})
    files: Mapping[str, Callable[[Path], Any]] = MappingProxyType({})


class Run(abc.ABC):
    """One thing that a study does and records. Subclasses are frozen dataclasses of plain fields.

    A field that changes nothing in the outcome is declared with ``field(compare=False)``.

    Attributes:
      study: the folder of its records under ``results/``.
      metrics: which metrics a record must have to count.
      alone: whether no other run of the command may go on beside it, since it measures time.
    """

    study: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False

    def config(self) -> dict[str, Any]:
        """Everything that determines the outcome, as JSON holds it; it names the record.

        By default the class's name and the fields that are compared. A field that has a ``config``
        of its own, a run say, gives that; a setup's stands beside the other fields.
        """
        config: dict[str, Any] = {"run": type(self).__name__}
        for name, value in self._fields():
            if isinstance(value, Setup):
                config |= value.config()
            else:
                config[name] = value.config() if hasattr(value, "config") else value
        return config

    @property
    def title(self) -> str:
        """The run's name for people; by default its fields but for the setup."""
        said = (f"{n} {value}" for n, value in self._fields() if not isinstance(value, Setup))
        return ", ".join(said)

    def _fields(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            if field.compare:
                yield field.name, getattr(self, field.name)

    @abc.abstractmethod
    def do(self, desk: Desk) -> Outcome:
        """Does it.

        Args:
          desk: what the process keeps between runs; what this run needs is recorded there.

        Raises:
          ValueError: it cannot be done; other runs go on.
        """

    @property
    def needs(self) -> "tuple[Run, ...]":
        """The runs whose records or files this one reads."""
        return ()

    @property
    def keeps(self) -> "tuple[Run, ...]":
        """Those of ``needs`` that are to be there also where this run is recorded already."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names of what must lie beside the record for the run to count as done."""
        return ()


def path_of(run: Run, results: Path) -> Path:
    """Where a run's record is kept."""
    return records.path_of(results, run.study, run.config())


def recorded(run: Run, results: Path) -> records.Record | None:
    """A run's record, or None where the run has to be done.

    Args:
      run: the run.
      results: the folder of all results.
    """
    path = path_of(run, results)
    if not all((path.parent / name).exists() for name in run.files):
        return None
    return records.load(path, run.config(), needs=run.metrics)


def need(run: Run, results: Path) -> records.Record:
    """The record of a run that another one needs.

    Raises:
      ValueError: it is not recorded.
    """
    record = recorded(run, results)
    if record is None:
        raise ValueError(f"{run.title} is needed and is not recorded under {results}")
    return record
