"""The training loop: epochs of steps, evaluation, checkpoints and exact resume."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from prunejax import checkpoint, data
from prunejax import masks as masks_lib
from prunejax.training.losses import check_labels
from prunejax.training.parallel import Placement, check_batch_size, data_parallel
from prunejax.training.state import Metrics, TrainState, refuse_donated, refuse_other, run_keys
from prunejax.training.steps import EvalStep, TrainStep

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
    """

    epoch: int
    epochs: int
    metrics: Row


def fit(
    state: TrainState,
    train_step: TrainStep,
    split: data.Split,
    *,
    epochs: int | None = None,
    more_epochs: int | None = None,
    batch_size: int,
    between: Callable[[TrainState, int], TrainState] | None = None,
    evaluate_with: Callable[[TrainState], dict[str, float]] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    placement: Placement | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
) -> tuple[TrainState, History]:
    """Trains for some epochs, going on from a checkpoint where there is one.

    The order of the data and every step's randomness are functions of the state's key and step,
    so that a run that was stopped, at any step, and goes on from its checkpoint ends with the
    same parameters, bit for bit, as one that was not.

    Args:
      state: from ``init_state``. It is donated; use the returned one (``snapshot`` keeps a copy).
      train_step: from ``make_train_step``.
      split: training images and labels on the host.
      epochs: how many in all, those that the state has behind it included; an epoch drops the
        examples that do not fill a batch.
      more_epochs: how many beyond those of the state given, in the place of ``epochs``; one that
        the state has begun counts.
      batch_size: examples per step, over all devices.
      between: ``(state, epochs done) -> state``, called after each epoch, before it is evaluated
        and saved: it may change masks, parameters and the optimiser's state, not step and key. What
        it does has to follow from its arguments, so that a run that was stopped goes on as it would
        have.
      evaluate_with: called after each epoch with the state; what it returns enters the history
        under ``test_`` names.
      on_epoch: called after each epoch with a ``Progress``.
      placement: from ``data_parallel``; by default all local devices.
      checkpoints: a folder to save to and to resume from; one folder per run. The state given must
        be the one that the run in it began with (its parameters, masks and key), or the saved one,
        and the data the same. (The step and its optimiser are functions, whose settings cannot be
        compared: a loop over learning rates needs a folder for each.)
      checkpoint_every: steps between checkpoints; by default one per epoch.

    Returns:
      The state after the last step, and one row of metrics per epoch: ``epoch``, ``loss``,
      ``accuracy`` (training, running over the epoch), and ``test_...``.

    Raises:
      ValueError: epochs < 0 (or not one of ``epochs`` and ``more_epochs`` is given), a state that
        was donated, labels that are no classes of the model, a batch that does not fit
        the data or the devices, or a checkpoint of another model or run (``AnotherRunError``).
      OSError: a checkpoint could not be written; earlier ones are unchanged.
    """
    if (epochs is None) == (more_epochs is None):
        raise ValueError("give epochs=, how many in all, or more_epochs=, how many from here on")
    _check_arguments(state, split, batch_size, between)
    counts = {"epochs": epochs, "more_epochs": more_epochs, "checkpoint_every": checkpoint_every}
    for name, number in counts.items():
        if number is not None and (not hasattr(number, "__index__") or np.ndim(number)):
            raise ValueError(f"{name} must be a whole number, got {number!r}")
        if number is not None and number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    refuse_donated(state.step)
    placement = data_parallel() if placement is None else placement
    check_batch_size(batch_size, placement)
    per_epoch = data.batches_per_epoch(len(split.labels), batch_size)
    begun = int(state.step)
    if epochs is None:
        epochs = begun // per_epoch + (more_epochs or 0)
    every = per_epoch if checkpoint_every is None else checkpoint_every
    if every < 1:
        raise ValueError(f"checkpoint_every must be at least 1 step, got {every}")
    history: History = []
    given = "" if checkpoints is None else checkpoint.fingerprint(_beginning(state, split))
    if checkpoints is not None and (last := checkpoint.restore(checkpoints, state)):
        if not isinstance(last.extra, dict) or not {*_EXTRA} <= {*last.extra}:
            raise ValueError(f"the checkpoint in {checkpoints} is none that fit has saved")
        if last.extra["per_epoch"] != per_epoch or last.extra["batch_size"] != batch_size:
            raise ValueError(
                f"the checkpoint in {checkpoints} is of a run with {last.extra['per_epoch']} "
                f"batches of {last.extra['batch_size']} an epoch, this one has {per_epoch} of "
                f"{batch_size}: go on with those, or name another folder"
            )
        _refuse_another_run(checkpoints, last, state, split, given, changing=between is not None)
        given = last.extra["given"]
        if last.step > epochs * per_epoch:
            raise ValueError(
                f"the checkpoint in {checkpoints} is {last.step} steps old, more than the "
                f"{epochs * per_epoch} of {epochs} epochs: ask for all epochs at once, or give "
                "each fit a folder of its own"
            )
        state, history = last.tree, last.extra["history"]
    elif epochs and begun >= epochs * per_epoch:
        warnings.warn(
            f"nothing is trained: the state has {begun} steps behind it, the {epochs} epochs asked "
            f"for are {epochs * per_epoch}. epochs= counts from the beginning; give more_epochs= "
            "to train on",
            stacklevel=2,
        )
    classes_of = getattr(train_step, "classes", None)
    check_labels(split.labels, classes_of and classes_of(state, split.images[:1]))
    state = jax.device_put(state, placement.state)

    def save(step: int, state: TrainState) -> None:
        extra = dict(zip(_EXTRA, (history, per_epoch, batch_size, given), strict=True))
        checkpoint.save(checkpoints or "", step, state, extra)

    order_key = run_keys(state).order
    step = int(state.step)
    while step < epochs * per_epoch:
        epoch, start = divmod(step, per_epoch)
        order = data.batches(split, batch_size=batch_size, key=order_key, epoch=epoch, start=start)
        for batch in data.prefetch(order, sharding=placement.batch):
            state = train_step(state, batch)
            step += 1
            if checkpoints is not None and step % every == 0 and step % per_epoch:
                save(step, state)
        row: Row = {"epoch": epoch + 1, **state.metrics.read()}
        state = state._replace(metrics=jax.device_put(Metrics.zero(), placement.state))
        if between is not None:
            changed = between(state, epoch + 1)
            _check_changed(changed, state)
            state = jax.device_put(changed, placement.state)
        if evaluate_with is not None:
            row |= {f"test_{name}": value for name, value in _numbers(evaluate_with(state))}
        history.append(row)
        if checkpoints is not None and (step % every == 0 or step == epochs * per_epoch):
            save(step, state)
        if on_epoch is not None:
            on_epoch(Progress(epoch + 1, epochs, row))
    return state, history


def _check_arguments(state: Any, split: Any, batch_size: Any, between: Any) -> None:
    """Refuses what is no state, no data, no number, no function.

    Raises:
      ValueError: which argument, and what it should be.
    """
    refuse_other("fit", state)
    _check_split(split)
    if not hasattr(batch_size, "__index__"):
        raise ValueError(f"batch_size must be a whole number, got {batch_size!r}")
    if between is not None and not callable(between):
        raise ValueError(
            f"between must be a function (state, epochs done) -> state, got {between!r}"
        )


def _check_split(split: Any) -> None:
    """Refuses what is no data set.

    Raises:
      ValueError: it has no images or no labels.
    """
    if not hasattr(split, "images") or not hasattr(split, "labels"):
        raise ValueError(
            "split must be data.Split(images, labels), or what data.load gives; got "
            f"{type(split).__name__}"
        )


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
    same_key = np.array_equal(jax.random.key_data(changed.key), jax.random.key_data(state.key))
    if int(changed.step) != int(state.step) or not same_key:
        raise ValueError(
            "between must not change the step or the key, by which the data are ordered. To go "
            "back to an earlier state, begin another fit with training.rewind(start, masks)"
        )


def _numbers(metrics: Any) -> Iterable[tuple[str, float]]:
    if not isinstance(metrics, Mapping):
        raise ValueError(
            "evaluate_with must return numbers by name, {'accuracy': 0.9} say; it returned "
            f"{type(metrics).__name__}"
        )
    return metrics.items()


def _beginning(state: TrainState, split: data.Split) -> dict[str, Any]:
    """What distinguishes one run from another: parameters, masks, key and data."""
    arrays = {"images": split.images, "labels": split.labels}
    return {"params": state.params, "masks": state.masks, "key": state.key, **arrays}


def _refuse_another_run(
    folder: str | os.PathLike[str],
    last: checkpoint.Checkpoint,
    state: TrainState,
    split: data.Split,
    given: str,
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
    if given in (last.extra["given"], checkpoint.fingerprint(_beginning(saved, split))):
        return
    same_masks = checkpoint.fingerprint(saved.masks) == checkpoint.fingerprint(state.masks)
    differing = "other initial parameters, images or labels"
    if not same_masks:
        differing = "other masks, of as many weights"
    raise AnotherRunError(
        f"the checkpoint in {folder} is of a run with {differing}: go on with those, or name "
        "another folder for this run"
    )


def is_finite(state: TrainState, *metrics: Any) -> bool:
    """Whether a training went well: no parameter, running statistic or metric is NaN or infinite.

    Args:
      state: after training.
      *metrics: a history, or what ``evaluate`` gave; any trees of numbers.
    """
    arrays = jax.device_get(jax.tree.leaves((state.params, state.batch_stats)))
    numbers = [*arrays, *jax.tree.leaves(metrics)]
    return all(bool(np.isfinite(np.asarray(each)).all()) for each in numbers)


def evaluate(
    eval_step: EvalStep,
    params: PyTree,
    batch_stats: PyTree,
    split: data.Split,
    *,
    batch_size: int = 500,
) -> dict[str, float]:
    """Mean loss and accuracy over a split.

    Args:
      eval_step: from ``make_eval_step``.
      params: the parameters.
      batch_stats: running statistics, ``{}`` without.
      split: images and labels on the host.
      batch_size: examples per step; the last batch is padded, so that one program serves all.

    Returns:
      ``{"loss": nats, "accuracy": in [0, 1]}``.

    Raises:
      ValueError: labels that are no classes of the model, or parameters that a training step took
        over.
    """
    _check_split(split)
    for leaf in jax.tree.leaves(params)[:1]:
        refuse_donated(leaf)
    classes_of = getattr(eval_step, "classes", None)
    check_labels(split.labels, classes_of and classes_of(params, batch_stats, split.images[:1]))
    metrics = Metrics.zero()
    for batch in data.sequential(split, min(batch_size, len(split.labels))):
        metrics = eval_step(params, batch_stats, metrics, batch)
    return metrics.read()
