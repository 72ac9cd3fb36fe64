"""Does the runs of an experiment that are not recorded yet; other processes may do so too."""

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import claims, results, shell

ALL = "all"
"""What ``--redo`` takes beside the names of methods."""

Show = Callable[[str, int, int], None]
"""Told (what goes on, done, of)."""


class Stopped(ValueError):  # noqa: N818 it stops the experiment, it is no fault of it
    """A run failed without which no other makes sense."""


def check_redo(redo: Collection[str], names: Collection[str]) -> None:
    """Refuses to do again what nobody knows.

    Raises:
      ValueError: a name that is neither "all" nor one of ``names``.
    """
    for name in redo:
        if name not in (ALL, *names):
            asked = ", ".join(dict.fromkeys(names))
            raise ValueError(f"redo takes {ALL!r} or what is asked for ({asked}), got {name!r}")


def is_asked_again(redo: Collection[str], name: str) -> bool:
    """Whether a run of this method is to be done though it is recorded."""
    return ALL in redo or name in redo


class Engine:
    """The runs of one command.

    Args:
      folder: of the experiment's records; refused at once where it cannot be written to.
      configs: the configuration of each run, by the path of its record, in the order to do them.
      load: reads a run's record, None where it has to be done.
      redo: which runs are done again though they are recorded.
      console: where progress is shown.

    Attributes:
      found: the record of each run by its path, None while it has none.
      missing: the paths of the runs that have to be done.
      done: how many runs this process has done.
    """

    def __init__(
        self,
        folder: Path,
        configs: Mapping[Path, Mapping[str, Any]],
        load: Callable[[Path], results.Record | None],
        redo: Callable[[Mapping[str, Any]], bool],
        console: Console,
    ) -> None:
        self._configs, self._load, self._console = configs, load, console
        self._began = time.time()
        self.done = 0
        self._again = {path for path, config in configs.items() if redo(config)}
        self.found = {path: None if path in self._again else load(path) for path in configs}
        self.missing = [path for path, record in self.found.items() if record is None]
        if len(self.missing) < len(configs):
            done = len(configs) - len(self.missing)
            console.print(f"{done} of {len(configs)} runs are recorded already")
        if self.missing:
            shell.refuse_unwritable(folder)

    @property
    def records(self) -> list[results.Record]:
        """Of all runs that did not fail, in order."""
        return [record for record in self.found.values() if record is not None]

    def clear(self, beside: Callable[[Path], Path]) -> None:
        """Removes what processes left beside records that were killed right after them.

        Args:
          beside: the path of a record -> the folder that is of use only while its run is done.
        """
        for path, record in self.found.items():
            if record is not None and beside(path).exists():
                with claims.unless_claimed(path) as ours:
                    if ours:  # otherwise another process does this run again
                        shutil.rmtree(beside(path), ignore_errors=True)

    def do(
        self,
        make: Callable[[Show], Callable[[Path], results.Record]],
        title: Callable[[Mapping[str, Any]], str],
    ) -> None:
        """Does what is missing; a run that fails leaves the others.

        Args:
          make: given where to show progress, what does a run.
          title: a run's name for people.

        Raises:
          Stopped: a run failed that all others need.
          KeyboardInterrupt: it was stopped; what is finished is recorded.
        """
        with shell.progress(self._console) as bars:
            total = len(self._configs)
            overall = bars.add_task("runs", total=total, completed=total - len(self.missing))
            current = bars.add_task("", total=1)

            def show(what: str, done: int, of: int) -> None:
                bars.update(current, description=what, completed=done, total=of)

            def wait(count: int) -> None:
                runs = "a run" if count == 1 else f"{count} runs"
                show(f"waiting for {runs} of another process", 0, 1)

            do = make(show)
            with contextlib.closing(claims.in_turns(self.missing, wait)) as turns:
                for path in turns:
                    self._one(path, do, title(self._configs[path]))
                    bars.advance(overall)

    def _one(self, path: Path, do: Callable[[Path], results.Record], title: str) -> None:
        """Does a claimed run unless another process has done it meanwhile."""
        record = self._load(path)
        if record is not None and (path not in self._again or path.stat().st_mtime > self._began):
            self.found[path] = record
            return
        try:
            self.found[path] = record = do(path)
            self.done += 1
        except Stopped:
            raise
        except ValueError as error:
            shell.fail(self._console, f"{error}", f"{title} failed:")
            return
        if results.diverged(record):
            what = f"{title} diverged:"
            shell.fail(self._console, "its loss is not finite; tables mark it", what)
