"""Runs that do next to nothing, or fail in every way, and say that they were done."""

import argparse
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from experiments.common import command
from experiments.common.command import Study
from experiments.common.options import RunningOptions
from experiments.common.run import Outcome, Run, need


@dataclass(frozen=True)
class Toy(Run):
    """Doubles the sum of what it needs, plus its number."""

    number: int
    needed: tuple["Toy", ...] = ()
    how: str = "well"
    log: Path = field(default=Path(), compare=False)

    study = "toys"
    metrics = ("value",)
    files = ("note.txt",)

    def config(self):
        return {"number": self.number, "needed": [one.config() for one in self.needed]}

    @property
    def title(self):
        return f"toy {self.number}"

    @property
    def needs(self):
        return self.needed

    def do(self, desk):
        with self.log.open("a") as file:
            file.write(f"{self.number} {os.getpid()}\n")
        again = self.log.with_name(f"again{self.number}")
        first, _ = not again.exists(), again.touch()
        if self.how == "fails":
            raise ValueError(f"number {self.number} [fails]")
        if self.how == "breaks":
            raise TypeError("broken")
        if self.how == "is interrupted" and first:
            raise KeyboardInterrupt
        if self.how == "dies" or (self.how == "dies once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "loses Ctrl-C" and first:  # as a finaliser does
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
        if self.how == "waits":  # until it is told
            while not self.log.with_name("go on").exists():
                time.sleep(0.05)
        if self.how == "takes long":
            desk.show(self.title, 0, 1)
            time.sleep(0.5)
        number = desk.kept("runs", "count", lambda: [0])
        number[0] += 1
        of_needs = sum(need(one, desk.results)["metrics"]["value"] for one in self.needed)
        return Outcome(
            {"value": 2 * (of_needs + self.number), "of_process": [os.getpid(), number[0]]},
            history=[{"loss": 1.0}],
            seconds={"all": 0.0},
            files={"note.txt": lambda path: path.write_text(f"{self.number}")},
        )


@dataclass(frozen=True)
class Toys:
    runs: tuple[Toy, ...]
    running: RunningOptions


def report(config, done, desk, console):
    values = [record["metrics"]["value"] for record in done.records.values()]
    console.print(f"values {values}")
    return []


STUDY = Study("toys", lambda config: config.runs, report, lambda run: run.how)


def go(runs: Sequence[Toy], results: Path, **running):
    """Does runs as a command does; returns its status and what it printed."""
    console = Console(record=True, width=200, file=io.StringIO())
    config = Toys(tuple(runs), RunningOptions(results=results, **running))
    return command.main(STUDY, config, console), console.export_text()


def main(arguments):
    """A command of so many runs, for tests that stop or kill it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    log = given.results.parent / "log"
    runs = [Toy(number, (), "takes long", log) for number in range(given.count)]
    config = Toys(tuple(runs), RunningOptions(results=given.results, workers=given.workers))
    return command.main(STUDY, config, Console(width=200))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
