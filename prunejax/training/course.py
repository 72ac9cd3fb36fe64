"""One network's way through training: where it goes on, its history, its checkpoints."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prunejax import checkpoint, data
from prunejax import masks as masks_lib
from prunejax.training.state import TrainState

_EXTRA = ("history", "per_epoch", "batch_size", "given")
"""What stands in a checkpoint beside the state."""

Row = dict[str, int | float]
History = list[Row]


class AnotherRunError(ValueError):
    """A checkpoint is of a run that began with another key, other masks or other parameters."""


class Progress(NamedTuple):
    """What a progress display is told after each epoch.

    Attributes:
      epoch: epochs done.
      epochs: epochs in all.
      metrics: the epoch's row of the history.
      network: which one, in the order in which ``fit_many`` was given them.
    """

    epoch: int
    epochs: int
    metrics: Row
    network: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long networks are trained, on what, and in what pieces.

    Attributes:
      split: training images and labels.
      epochs: in all.
      batch_size: examples per step.
      per_epoch: steps.
      every: steps between checkpoints.
    """

    split: data.Split
    epochs: int
    batch_size: int
    per_epoch: int
    every: int

    @property
    def steps(self) -> int:
        """In all."""
        return self.epochs * self.per_epoch

    @functools.cached_property
    def data(self) -> str:
        """What distinguishes these data from others."""
        return checkpoint.fingerprint({"images": self.split.images, "labels": self.split.labels})

    def until(self, step: int, *, saving: bool) -> int:
        """Up to which step training goes in one piece: the epoch's end, or the next checkpoint."""
        end = (step // self.per_epoch + 1) * self.per_epoch
        return min(end, (step // self.every + 1) * self.every) if saving else end


class Course:
    """One network's way through training.

    Args:
      plan: how long, on what.
      between: see ``fit``.
      evaluate_with: see ``fit``.
      on_epoch: see ``fit``.
      folder: of its checkpoints, or None.
      number: of the network among those that are trained together.

    Attributes:
      folder: of its checkpoints, or None.
      history: one row per epoch.
      looks: whether anything looks at the state after each epoch.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        between: Callable[[TrainState, int], TrainState] | None,
        evaluate_with: Callable[[TrainState], dict[str, float]] | None,
        on_epoch: Callable[[Progress], None] | None,
        folder: str | os.PathLike[str] | None,
        number: int = 0,
    ) -> None:
        self.folder, self.history, self._plan, self._number = folder, History(), plan, number
        self._between, self._evaluate_with, self._on_epoch = between, evaluate_with, on_epoch
        self.looks = between is not None or evaluate_with is not None
        self._given = ""

    def begin(self, state: TrainState) -> TrainState:
        """The state to go on from: the last checkpoint's, or the one given.

        Raises:
          ValueError: the checkpoint is of another model or run (``AnotherRunError``).
        """
        if self.folder is None:
            return state
        plan = self._plan
        self._given = self._distinguished(state)
        last = checkpoint.restore(self.folder, state)
        if not last:
            return state
        if not isinstance(last.extra, dict) or not {*_EXTRA} <= {*last.extra}:
            raise ValueError(f"the checkpoint in {self.folder} is none that fit has saved")
        if last.extra["per_epoch"] != plan.per_epoch or last.extra["batch_size"] != plan.batch_size:
            raise ValueError(
                f"the checkpoint in {self.folder} is of a run with {last.extra['per_epoch']} "
                f"batches of {last.extra['batch_size']} an epoch, this one has {plan.per_epoch} of "
                f"{plan.batch_size}: go on with those, or name another folder"
            )
        changing = self._between is not None
        _refuse_another_run(
            self.folder, last, state, self._given, self._distinguished, changing=changing
        )
        self._given = last.extra["given"]
        if last.step > plan.steps:
            raise ValueError(
                f"the checkpoint in {self.folder} is {last.step} steps old, more than the "
                f"{plan.steps} of {plan.epochs} epochs: ask for all epochs at once, or give "
                "each fit a folder of its own"
            )
        self.history = last.extra["history"]
        return last.tree

    def end_epoch(self, state: TrainState, epoch: int, metrics: dict[str, float]) -> TrainState:
        """After an epoch: what changes, and a row of the history.

        Args:
          state: with sums of no examples.
          epoch: how many are done.
          metrics: of training.

        Returns:
          The state to go on with.
        """
        row: Row = {"epoch": epoch, **metrics}
        if self._between is not None:
            changed = self._between(state, epoch)
            _check_changed(changed, state)
            state = changed
        if self._evaluate_with is not None:
            tested = _numbers(self._evaluate_with(state))
            row |= {f"test_{name}": value for name, value in tested}
        self.history.append(row)
        return state

    def is_due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        plan = self._plan
        return self.folder is not None and (step % plan.every == 0 or step == plan.steps)

    def save(self, state: TrainState, step: int) -> None:
        """Saves a checkpoint, where there is a folder for it.

        Raises:
          OSError: it could not be written; earlier ones are unchanged.
        """
        plan = self._plan
        if self.folder is None:
            return
        values = (self.history, plan.per_epoch, plan.batch_size, self._given)
        checkpoint.save(self.folder, step, state, dict(zip(_EXTRA, values, strict=True)))

    def report(self) -> None:
        """Tells that an epoch is over."""
        if self._on_epoch is not None:
            row = self.history[-1]
            self._on_epoch(Progress(int(row["epoch"]), self._plan.epochs, row, self._number))

    def _distinguished(self, state: TrainState) -> str:
        """What distinguishes one run from another: all that its state holds, and the data.

        Learning rates are in it where the optimiser keeps them in its state.
        """
        arrays = {
            "params": state.params,
            "masks": state.masks,
            "key": state.key,
            "opt_state": state.opt_state,
        }
        return f"{checkpoint.fingerprint(arrays)} {self._plan.data}"


def _check_changed(changed: Any, state: TrainState) -> None:
    """Refuses what ``between`` returned where training cannot go on from it.

    Raises:
      ValueError: it is no state, or has another step or key.
    """
    if not isinstance(changed, TrainState):
        raise ValueError(
            "between must return the state to go on with, changed or not; it returned "
            f"{type(changed).__name__}"
        )
    if difference := first_difference(state, changed):
        where, before, after = difference
        raise ValueError(
            "between must return a state of the same arrays; it changed "
            f"{where} from {before} to {after}"
        )
    same_key = np.array_equal(jax.random.key_data(changed.key), jax.random.key_data(state.key))
    if int(changed.step) != int(state.step) or not same_key:
        raise ValueError(
            "between must not change the step or the key, by which the data are ordered. To go "
            "back to an earlier state, begin another fit with training.rewind(start, masks)"
        )


def first_difference(one: TrainState, other: TrainState) -> tuple[str, Any, Any] | None:
    """Where two states hold arrays of other shapes or dtypes, and which ones; None where nowhere.

    The second and third are None where a state has no such array.
    """

    def described(state: TrainState) -> dict[str, Any]:
        paths = jax.tree_util.tree_leaves_with_path(state)
        return {
            jax.tree_util.keystr(path): (jnp.shape(leaf), str(jnp.result_type(leaf)))
            for path, leaf in paths
        }

    first, second = described(one), described(other)
    for path in {**first, **second}:
        if first.get(path) != second.get(path):
            return path, first.get(path), second.get(path)
    return None


def end_piece(
    courses: Sequence[Course], step: int, *, epoch_ends: bool, save: Callable[[], None]
) -> None:
    """After a piece of training: saves where it is time, tells where an epoch is over.

    Where being told raises, the state is saved first, so that nothing is lost.

    Args:
      courses: of the networks that trained.
      step: up to which.
      epoch_ends: whether it was the last one of an epoch.
      save: saves all of them.
    """
    due = any(course.is_due(step) for course in courses)
    if due:
        save()
    if not epoch_ends:
        return
    try:
        for course in courses:
            course.report()
    except BaseException:
        if not due:
            save()
        raise


def _numbers(metrics: Any) -> Iterable[tuple[str, float]]:
    if not isinstance(metrics, Mapping):
        raise ValueError(
            "evaluate_with must return numbers by name, {'accuracy': 0.9} say; it returned "
            f"{type(metrics).__name__}"
        )
    return metrics.items()


def _refuse_another_run(
    folder: str | os.PathLike[str],
    last: checkpoint.Checkpoint,
    state: TrainState,
    given: str,
    given_of: Callable[[TrainState], str],
    *,
    changing: bool,
) -> None:
    """Raises where a checkpoint is not of the run that is to go on.

    The state given must be the one that the run began with, or the one that was saved. Where masks
    are changing, how many weights they keep says nothing.
    """
    saved: TrainState = last.tree
    keys = [jax.random.key_data(one.key).tolist() for one in (saved, state)]
    if keys[0] != keys[1]:
        raise AnotherRunError(f"the checkpoint in {folder} is of a run with another key")
    kept = [masks_lib.count(one.masks) for one in (saved, state)]
    if kept[0] != kept[1] and not changing:
        raise AnotherRunError(
            f"the checkpoint in {folder} is of a run with other masks: they keep {kept[0]} "
            f"weights, the ones given {kept[1]}"
        )
    if given in (last.extra["given"], given_of(saved)):
        return
    same_masks = checkpoint.fingerprint(saved.masks) == checkpoint.fingerprint(state.masks)
    differing = "other initial parameters, images or labels, or another state of the optimiser"
    if not same_masks:
        differing = "other masks, of as many weights"
    raise AnotherRunError(
        f"the checkpoint in {folder} is of a run with {differing}: go on with those, or name "
        "another folder for this run"
    )
