"""Many networks of one model, trained together: seeds, masks and learning rates side by side."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import jax

from prunejax import data
from prunejax.training.course import Course, History, Progress, first_difference
from prunejax.training.evaluating import as_split
from prunejax.training.loop import check_arguments, check_classes, make_plan, warn_of_nothing
from prunejax.training.running import Loop, check_loop
from prunejax.training.stacking import Devices
from prunejax.training.state import TrainState
from prunejax.training.steps import CompiledStep
from prunejax.training.together import Together

Between = Callable[[TrainState, int], TrainState]
EvaluateWith = Callable[[TrainState], dict[str, float]]
Folder = str | os.PathLike[str]


def fit_many(
    states: Sequence[TrainState],
    train_step: CompiledStep,
    split: data.Split,
    *,
    epochs: int | None = None,
    more_epochs: int | None = None,
    batch_size: int,
    between: Between | Sequence[Between | None] | None = None,
    evaluate_with: EvaluateWith | Sequence[EvaluateWith | None] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    devices: Sequence[Any] | None = None,
    memory: int | float | None = None,
    loop: Loop = "auto",
    checkpoints: Sequence[Folder] | None = None,
    checkpoint_every: int | None = None,
) -> list[tuple[TrainState, History]]:
    """Trains many networks of one model as one program; each comes out as if trained alone.

    The states may differ in everything that they hold: seeds (weights, key and so the order of the
    data), masks, and learning rates where the optimiser keeps the rate in its state
    (``optax.inject_hyperparams``). On a GPU or TPU a small network leaves most of the device idle;
    together they fill it. Networks are spread over the devices, some to each.

    What ``fit`` would give is given, to rounding: sums are added in another order, which over
    hundreds of steps in float32 makes as much of a difference as any other rounding. On a GPU or
    TPU narrow convolutions of several networks become one, in which a number that is not finite
    would spread to the neighbours of a network that diverges; where that happens, it is done again
    with each convolution by itself.

    Args:
      states: from ``init_state``; not donated.
      train_step: from ``make_train_step``, one for all.
      split: training images and labels on the host.
      epochs: see ``fit``.
      more_epochs: see ``fit``; all states must have as many steps behind them.
      batch_size: examples per step of each network.
      between: see ``fit``; one function, or one for each network.
      evaluate_with: see ``fit``; one function, or one for each network.
      on_epoch: called after each epoch of each network with a ``Progress``.
      devices: over which the networks are spread; by default all local ones.
      memory: bytes that the program may take on each device; by default what is free. Where all
        networks together take more, they are trained in parts, with a warning.
      loop: see ``fit``.
      checkpoints: a folder for each network, to save to and to resume from, as those of ``fit``:
        each network can also go on alone, or with others.
      checkpoint_every: see ``fit``.

    Returns:
      For each network what ``fit`` returns.

    Raises:
      ValueError: as ``fit``; or states of different models, lists of another length, one folder
        for two networks, or memory that does not suffice for one network per device.
      OSError: a checkpoint could not be written; earlier ones are unchanged.

    >>> from prunejax import models, training
    >>> train = data.load("digits", limit=100)
    >>> model = models.build("mlp", num_classes=10)
    >>> tx = training.masked(training.optimizer("sgd", 0.1))
    >>> def start(seed):
    ...     params, _ = training.init_variables(model, jax.random.key(seed), train.images[:1])
    ...     return training.init_state(params, {}, tx, key=jax.random.key(seed))
    >>> step = training.make_train_step(model, tx)
    >>> trained = fit_many([start(0), start(1)], step, train, epochs=1, batch_size=50)
    >>> [int(state.step) for state, history in trained]
    [2, 2]
    """
    if isinstance(states, TrainState | Mapping | str) or not isinstance(states, Iterable):
        raise ValueError(f"states must be a list of states, got {type(states).__name__}")
    states, split = list(states), as_split(split)
    if not states:
        return []
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("fit_many is one compiled program: call it outside of jax.disable_jit()")
    check_memory(memory)
    betweens = _one_each("between", between, len(states))
    evaluating = _one_each("evaluate_with", evaluate_with, len(states))
    check_arguments("fit_many", states, split, batch_size, betweens, [*evaluating, on_epoch])
    _check_alike(states)
    check_loop(loop, train_step)
    if not isinstance(train_step, CompiledStep):
        raise ValueError("fit_many needs a step from training.make_train_step")
    begun = {int(state.step) for state in states}
    if more_epochs is not None and len(begun) > 1:
        raise ValueError(
            f"more_epochs= needs states of as many steps, these have {sorted(begun)}: give epochs="
        )
    plan = make_plan(
        min(begun),
        split,
        epochs=epochs,
        more_epochs=more_epochs,
        batch_size=batch_size,
        checkpoint_every=checkpoint_every,
    )
    folders = _folders(checkpoints, len(states))
    courses = [
        Course(
            plan,
            between=betweens[number],
            evaluate_with=evaluating[number],
            on_epoch=on_epoch,
            folder=folders[number],
            number=number,
        )
        for number in range(len(states))
    ]
    begins = [course.begin(state) for course, state in zip(courses, states, strict=True)]
    if all(one is state for one, state in zip(begins, states, strict=True)):
        warn_of_nothing(min(begun), plan, stacklevel=3)
    check_classes(train_step, states[0], split)
    spread = Devices.of(devices)
    together = Together(train_step, plan, spread, loop, memory)
    ended: dict[int, TrainState] = {}
    placement = train_step.placement.state

    def steps(number: int) -> int:
        return int(begins[number].step)

    for _, numbers in groupby(sorted(range(len(states)), key=steps), steps):
        chosen = list(numbers)
        mine = [courses[number] for number in chosen]
        trained = together.train(mine, [begins[number] for number in chosen])
        ended |= dict(zip(chosen, trained, strict=True))
    return [
        (jax.device_put(ended[number], placement), courses[number].history)
        for number in range(len(states))
    ]


def check_memory(memory: Any) -> None:
    """Refuses what is no size.

    Raises:
      ValueError: what it should be.
    """
    is_number = isinstance(memory, int | float) and not isinstance(memory, bool)
    if memory is not None and not (is_number and memory > 0):
        raise ValueError(f"memory must be a positive number of bytes, got {memory!r}")


def _one_each(name: str, given: Any, count: int) -> list[Any]:
    """One function for each network.

    Raises:
      ValueError: a list of another length.
    """
    if not isinstance(given, list | tuple):
        return [given] * count
    if len(given) != count:
        raise ValueError(f"{name} has {len(given)} functions for {count} networks")
    return list(given)


def _folders(checkpoints: Any, count: int) -> list[Folder | None]:
    """One folder for each network.

    Raises:
      ValueError: there are more or fewer, or two are the same.
    """
    if checkpoints is None:
        return [None] * count
    if isinstance(checkpoints, str | os.PathLike) or not isinstance(checkpoints, Iterable):
        raise ValueError("checkpoints of fit_many is a list of folders, one for each network")
    folders = list(checkpoints)
    if not all(isinstance(one, str | os.PathLike) for one in folders):
        raise ValueError(f"checkpoints must be names of folders, got {folders}")
    if len(folders) != count or len({os.path.abspath(one) for one in folders}) != count:
        raise ValueError(
            f"checkpoints must name a folder of its own for each of {count} networks, got {folders}"
        )
    return folders


def _check_alike(states: list[TrainState]) -> None:
    """Refuses states of different models.

    Raises:
      ValueError: which one differs from the first, and where.
    """
    for number, state in enumerate(states[1:], start=1):
        if difference := first_difference(states[0], state):
            where, first, own = difference
            raise ValueError(
                f"networks that train together must be of one model and one optimiser: state "
                f"{number} differs from the first at {where}: {own or 'nothing'} and "
                f"{first or 'nothing'}"
            )
