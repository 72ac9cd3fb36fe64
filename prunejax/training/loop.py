"""The training loop: epochs of steps, evaluation, checkpoints and exact resume."""

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from prunejax import data
from prunejax.training.course import Course, History, Plan, Progress, end_piece
from prunejax.training.evaluating import as_split, check_split
from prunejax.training.losses import check_labels
from prunejax.training.parallel import Placement, check_batch_size, data_parallel
from prunejax.training.running import Loop, runner
from prunejax.training.state import Metrics, TrainState, refuse_donated, refuse_other
from prunejax.training.steps import TrainStep


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
    loop: Loop = "auto",
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
      on_epoch: called after each epoch with a ``Progress``. Where it raises, the state is saved
        first, so that what stops a training there (a clock, Ctrl-C) loses nothing.
      placement: from ``data_parallel``; by default all local devices.
      loop: "steps": each step is a program; "epoch": the data live on the device and the steps
        between two checkpoints are one program, a scan, which a GPU or TPU works off without
        waiting for Python; "auto": that, where the devices are such and the data take at most a
        quarter of their memory. The numbers are the same, to each step's rounding. (On a CPU
        convolutions are many times slower inside a scan.)
      checkpoints: a folder to save to and to resume from; one folder per run. The state given must
        be the one that the run in it began with (its parameters, masks, key and optimiser's state),
        or the saved one, and the data the same. (The step and its optimiser are functions, whose
        settings cannot be compared: a loop over learning rates needs a folder for each.)
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
    check_arguments("fit", [state], split, batch_size, [between], [evaluate_with, on_epoch])
    split = as_split(split)
    placement = _placement(placement, train_step)
    check_batch_size(batch_size, placement)
    plan = make_plan(
        int(state.step),
        split,
        epochs=epochs,
        more_epochs=more_epochs,
        batch_size=batch_size,
        checkpoint_every=checkpoint_every,
    )
    run = runner(loop, train_step, plan, placement)
    course = Course(
        plan,
        between=between,
        evaluate_with=evaluate_with,
        on_epoch=on_epoch,
        folder=checkpoints,
    )
    begun = course.begin(state)
    if begun is state:
        warn_of_nothing(int(state.step), plan, stacklevel=3)
    check_classes(train_step, begun, split)
    state = jax.device_put(begun, placement.state)
    step = int(state.step)
    while step < plan.steps:
        until = plan.until(step, saving=checkpoints is not None)
        state, step = run(state, step, until), until
        epoch, rest = divmod(step, plan.per_epoch)
        if not rest:
            metrics = state.metrics.read()
            state = state._replace(metrics=jax.device_put(Metrics.zero(), placement.state))
            state = jax.device_put(course.end_epoch(state, epoch, metrics), placement.state)
        save = functools.partial(course.save, state, step)
        end_piece([course], step, epoch_ends=not rest, save=save)
    return state, course.history


def make_plan(
    begun: int,
    split: data.Split,
    *,
    epochs: Any,
    more_epochs: Any,
    batch_size: Any,
    checkpoint_every: Any,
) -> Plan:
    """How long training goes, from what was asked for.

    Args:
      begun: the steps that the state has behind it.
      split: the data.
      epochs: see ``fit``.
      more_epochs: see ``fit``.
      batch_size: see ``fit``.
      checkpoint_every: see ``fit``.

    Raises:
      ValueError: a number that is none or out of its range.
    """
    if (epochs is None) == (more_epochs is None):
        raise ValueError("give epochs=, how many in all, or more_epochs=, how many from here on")
    counts = {"epochs": epochs, "more_epochs": more_epochs, "checkpoint_every": checkpoint_every}
    for name, number in counts.items():
        if number is not None and (not hasattr(number, "__index__") or np.ndim(number)):
            raise ValueError(f"{name} must be a whole number, got {number!r}")
        if number is not None and number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    per_epoch = data.batches_per_epoch(len(split.labels), batch_size)
    if epochs is None:
        epochs = begun // per_epoch + (more_epochs or 0)
    every = per_epoch if checkpoint_every is None else checkpoint_every
    if every < 1:
        raise ValueError(f"checkpoint_every must be at least 1 step, got {every}")
    return Plan(split, epochs, batch_size, per_epoch, every)


def warn_of_nothing(begun: int, plan: Plan, *, stacklevel: int) -> None:
    """Warns where a state has all epochs behind it."""
    if plan.epochs and begun >= plan.steps:
        warnings.warn(
            f"nothing is trained: the state has {begun} steps behind it, the {plan.epochs} epochs "
            f"asked for are {plan.steps}. epochs= counts from the beginning; give more_epochs= "
            "to train on",
            stacklevel=stacklevel,
        )


def check_classes(train_step: TrainStep, state: TrainState, split: data.Split) -> None:
    """Refuses labels that are no classes of the model.

    Raises:
      ValueError: which labels there are.
    """
    classes_of = getattr(train_step, "classes", None)
    check_labels(split.labels, classes_of and classes_of(state, split.images[:1]))


def _placement(given: Any, train_step: Any) -> Placement:
    """The devices that train: those of the step.

    Raises:
      ValueError: others were given.
    """
    own = getattr(train_step, "placement", None)
    if given is None:
        return data_parallel() if own is None else own
    if not isinstance(given, Placement):
        raise ValueError(
            f"placement must come from training.data_parallel, got {type(given).__name__}"
        )
    if own is not None and own.state.device_set != given.state.device_set:
        raise ValueError(
            "the step was made for other devices than placement= names: give make_train_step the "
            "same placement"
        )
    return given


def check_arguments(
    what: str, states: Any, split: Any, batch_size: Any, between: Any, others: Any
) -> None:
    """Refuses what is no state, no data, no number, no function.

    Raises:
      ValueError: which argument, and what it should be.
    """
    for state in states:
        refuse_other(what, state)
        refuse_donated(state.step)
    check_split(split)
    if not hasattr(batch_size, "__index__") or np.ndim(batch_size):
        raise ValueError(f"batch_size must be a whole number, got {batch_size!r}")
    for function in between:
        if function is not None and not callable(function):
            raise ValueError(
                f"between must be a function (state, epochs done) -> state, got {function!r}"
            )
    for function in others:
        if function is not None and not callable(function):
            raise ValueError(f"evaluate_with and on_epoch must be functions, got {function!r}")
