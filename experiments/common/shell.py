"""What every experiment's command line shares: progress, early refusals, Ctrl-C."""

import contextlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.common import early
from experiments.common.early import INTERRUPTED
from prunejax.files import write_atomically

TRACEBACK = "PRUNEJAX_TRACEBACK"
"""The environment variable that shows where an error came from, for who writes a study."""


def guarded(console: Console, body: Callable[[], int], *, stopped: str) -> int:
    """Runs an experiment; errors are one line, warnings are shown, Ctrl-C says how to go on.

    Args:
      console: where to print.
      body: the experiment; returns the exit status.
      stopped: what to say after Ctrl-C.

    Returns:
      The exit status.
    """
    early.end()
    try:
        with warnings.catch_warnings(), _remembered():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: warn(console, f"{message}")
            return body()
    except KeyboardInterrupt:
        console.print(f"\n[bold]stopped.[/] {stopped}")
        return INTERRUPTED
    except (ValueError, OSError) as error:
        fail(console, f"{error}")
        if os.environ.get(TRACEBACK):
            console.print_exception()
        return 1


_PRESSED: list[bool] = []


@contextlib.contextmanager
def _remembered() -> Iterator[None]:
    """Remembers Ctrl-C: what is raised while garbage is collected, say, is lost."""
    _PRESSED.clear()

    def press(number: int, frame: Any) -> None:
        _PRESSED.append(True)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, press)
    except ValueError:  # not the main thread, which alone hears signals
        yield
        return
    told = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if lost.exc_type is KeyboardInterrupt else told(lost)
    try:
        yield
    finally:
        sys.unraisablehook = told
        signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_if_interrupted() -> None:
    """Raises KeyboardInterrupt where an earlier one was lost, or where the time is up."""
    if _PRESSED:
        raise KeyboardInterrupt
    if _ENDS and time.monotonic() > min(_ENDS):
        raise OutOfTimeError


class OutOfTimeError(KeyboardInterrupt):
    """The time that was given is up: as Ctrl-C, but nobody pressed it."""


_ENDS: list[float] = []


@contextlib.contextmanager
def until(moment: float) -> Iterator[None]:
    """What goes on inside is stopped by ``OutOfTimeError`` at a moment of the monotonic clock."""
    _ENDS.append(moment)
    try:
        yield
    finally:
        _ENDS.pop()


def warn(console: Console, message: str) -> None:
    """Prints a warning; brackets in it are text, not markup."""
    console.print(f"[yellow]warning:[/] {escape(message)}", highlight=False, soft_wrap=True)


def fail(console: Console, message: str, what: str = "error:") -> None:
    """Prints an error; brackets in it are text, not markup."""
    marked = f"[bold red]{escape(what)}[/] " if what else ""
    console.print(f"{marked}{escape(message)}", highlight=False, soft_wrap=True)


def leave(status: int) -> None:
    """Ends the process with a status."""
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        # A program may still be compiling, or a connection be waited for, in a thread that a normal
        # exit waits for too.
        os._exit(status)
    sys.exit(status)


class Bars:
    """Two bars with counts and times: of all runs, and of what goes on.

    Args:
      console: where they are drawn.
      total: how many runs there are.
      done: how many of them are there already.
    """

    def __init__(self, console: Console, *, total: int, done: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<40}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._overall = self._progress.add_task("runs", total=total, completed=done)
        self._current = self._progress.add_task("", total=1)

    def __enter__(self) -> "Bars":
        self._progress.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._progress.__exit__(*raised)

    def show(self, what: str, done: int, of: int) -> None:
        """What goes on, and how far it is.

        Raises:
          KeyboardInterrupt: it was raised before, and lost.
        """
        stop_if_interrupted()
        self._progress.update(self._current, description=what, completed=done, total=of)

    def advance(self, runs: int = 1) -> None:
        """Moves the bar of all runs on."""
        self._progress.advance(self._overall, runs)


@contextlib.contextmanager
def waiting(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """One line that says what goes on before the first run, where the console is a screen.

    Yields:
      ``(what goes on, done, of)``, which changes the line.
    """
    with console.status("preparing") as line:
        yield lambda what, done, of: line.update(f"{escape(what)}: {done:,} of {of:,}")


def refuse_unwritable(folder: Path) -> None:
    """Raises OSError before hours of training rather than after."""
    # another process may look at the same time
    write_atomically(folder / ".writable", b"").unlink(missing_ok=True)


def seconds_since(started: float) -> str:
    """How long something took, for people."""
    return f"{time.perf_counter() - started:.0f} s"
