"""A trace of one epoch, to see where the time goes."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from prunejax.training import Progress

FOLDER = "profile"
"""Of traces, under the results."""

OnEpoch = Callable[[Progress], None]

_WANTED: list["_Trace"] = []


class _Trace:
    """The second epoch of the first training, or the first where there is only one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._state = folder, "waiting"

    @property
    def is_written(self) -> bool:
        """Whether there was an epoch to trace."""
        return self._state == "over"

    def begin(self, epochs: int) -> None:
        """A training begins."""
        if epochs == 1:
            self._start()

    def after(self, progress: Progress) -> None:
        """An epoch is over; of networks that train together, the first tells it."""
        if progress.network:
            return
        if self._state == "going":
            self.stop()
        elif progress.epoch < progress.epochs:
            self._start()

    def stop(self) -> None:
        """Writes the trace, if it has begun."""
        if self._state == "going":
            jax.profiler.stop_trace()
            self._state = "over"

    def _start(self) -> None:
        if self._state == "waiting":
            self.folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(self.folder)
            self._state = "going"


@contextlib.contextmanager
def profiled(folder: Path | None) -> Iterator["_Trace | None"]:
    """Traces an epoch of the first training inside the block.

    Args:
      folder: where the trace goes, for TensorBoard or Perfetto; None: nothing is traced.

    Yields:
      The trace, which says after the block whether it ``is_written``.
    """
    if folder is None:
        yield None
        return
    trace = _Trace(folder)
    _WANTED.append(trace)
    try:
        yield trace
    finally:
        _WANTED.pop()
        trace.stop()


def watched(on_epoch: OnEpoch, epochs: int) -> OnEpoch:
    """What is told of epochs, and traces one where that is asked for."""
    if not _WANTED:
        return on_epoch
    trace = _WANTED[-1]
    trace.begin(epochs)

    def told(progress: Progress) -> None:
        trace.after(progress)
        on_epoch(progress)

    return told
