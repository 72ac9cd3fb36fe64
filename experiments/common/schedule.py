"""The order of runs: what is needed first, and what cannot be done any more."""

from collections.abc import Callable, Iterable, Sequence

from experiments.common.run import Run
from experiments.common.together import TrainingRun


def with_needs(runs: Iterable[Run], is_recorded: Callable[[Run], bool]) -> list[Run]:
    """Runs, each after what it needs and is not recorded, otherwise in their order.

    Args:
      runs: runs that are to be done.
      is_recorded: whether a run that another one needs is there already.

    Returns:
      Every run once.

    Raises:
      ValueError: a run needs itself, directly or through others.
    """
    ordered: dict[Run, None] = {}
    asked = list(dict.fromkeys(runs))
    chosen = set(asked)

    def add(run: Run, above: tuple[Run, ...]) -> None:
        if run in ordered:
            return
        if run in above:
            raise ValueError(f"{run.title} needs itself")
        for need in run.needs:
            if need in chosen or not is_recorded(need):
                add(need, (*above, run))
        ordered[run] = None

    for run in asked:
        add(run, ())
    return list(ordered)


class Schedule:
    """Which runs can be begun.

    Args:
      runs: in an order in which each comes after what it needs.

    Attributes:
      failed: run -> why there is no record of it.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        self._waiting = dict.fromkeys(runs)
        self._open = set(self._waiting)  # waiting or begun
        self._postponed: set[Run] = set()
        self.failed: dict[Run, str] = {}

    @property
    def waiting(self) -> int:
        """How many runs have not begun."""
        return len(self._waiting)

    def begin(self) -> Run | None:
        """The first run all of whose needs are there, or None while there is none."""
        for run in self._waiting:
            if run not in self._postponed and not self._open.intersection(run.needs):
                del self._waiting[run]
                return run
        return None

    def begin_with(self, first: Run, most: int) -> Sequence[Run]:
        """Further runs that can be begun and train together with one that has been.

        Args:
          first: the run.
          most: how many.
        """
        if not isinstance(first, TrainingRun):
            return []
        alike = [
            run
            for run in self._waiting
            if isinstance(run, TrainingRun)
            and run.kind == first.kind
            and run not in self._postponed
            and not self._open.intersection(run.needs)
        ][:most]
        for run in alike:
            del self._waiting[run]
        return alike

    def settle(self, run: Run) -> None:
        """A run has its record."""
        self._open.discard(run)

    def fail(self, run: Run, why: str) -> list[Run]:
        """A run failed.

        Returns:
          The runs that need it, directly or through others; they are left out.
        """
        self.failed[run] = why
        self._open.discard(run)
        left_out = []
        for other in list(self._waiting):  # in order of needs: one pass meets all
            if any(need in self.failed for need in other.needs):
                self.failed[other] = f"it needs {run.title}"
                del self._waiting[other]
                self._open.discard(other)
                left_out.append(other)
        return left_out

    def postpone(self, run: Run) -> None:
        """Another process does a run: the others come first."""
        self._waiting[run] = None
        self._postponed.add(run)

    def again(self, run: Run) -> None:
        """A run that was begun goes back to the head: its worker died, or it wants to be alone."""
        self._waiting = {run: None, **self._waiting}

    def look_again(self) -> int:
        """Lets postponed runs be begun; returns how many there are."""
        count = len(self._postponed)
        self._postponed.clear()
        return count
