"""Many networks of one model, trained together: seeds, masks and learning rates side by side."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prunejax import data
from prunejax.training.course import Course, History, Plan, Progress
from prunejax.training.loop import check_arguments, check_classes, make_plan, warn_of_nothing
from prunejax.training.parallel import Placement
from prunejax.training.running import Loop, check_loop, is_accelerator, order, whole_loop
from prunejax.training.stacking import (
    WIDEST,
    Devices,
    Program,
    Stack,
    compiled,
    find_shared,
    stacked,
    unstacked,
)
from prunejax.training.state import Metrics, TrainState, run_keys
from prunejax.training.steps import CompiledStep

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

    What ``fit`` would give is given, to rounding: sums are added in another order. On a GPU or TPU
    narrow convolutions of several networks become one, in which a number that is not finite would
    spread to the neighbours of a network that diverges; where that happens, the epoch is done again
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

    >>> states = [start(seed) for seed in range(8)]
    >>> trained = fit_many(states, step, train, epochs=10, batch_size=128)
    """
    states = list(states)
    if not states:
        return []
    betweens = _one_each("between", between, len(states))
    check_arguments("fit_many", states, split, batch_size, *betweens)
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
    evaluating = _one_each("evaluate_with", evaluate_with, len(states))
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
        warn_of_nothing(max(begun), plan, stacklevel=3)
    check_classes(train_step, states[0], split)
    spread = Devices.of(devices)
    together = _Together(train_step, plan, spread, loop, memory)
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


class _TooLargeError(Exception):
    """The networks do not fit into the memory together."""

    def __init__(self, parts: int, why: str) -> None:
        super().__init__(why)
        self.parts = parts


class _Residence(NamedTuple):
    """Where a scan finds the data."""

    images: Any
    labels: Any


class _Together:
    """Trains networks of one plan together, in parts where they do not fit."""

    def __init__(
        self,
        train_step: CompiledStep,
        plan: Plan,
        devices: Devices,
        loop: Loop,
        memory: int | float | None,
    ) -> None:
        self._step, self._plan, self._devices = train_step, plan, devices
        first = devices.all[0]
        self._widest = WIDEST if is_accelerator(first) else 0
        placement = Placement(devices.whole, devices.parts, devices.parts_of_steps, 1)
        self._scans = whole_loop(loop, train_step, plan.split, placement)
        self._memory = _free(devices) if memory is None else memory
        self._data = None
        if self._scans:
            arrays = (plan.split.images, plan.split.labels)
            self._data = _Residence(*jax.device_put(arrays, devices.whole))

    def train(self, courses: list[Course], states: list[TrainState]) -> list[TrainState]:
        """Networks that have as many steps behind them."""
        try:
            return self._train(courses, states)
        except _TooLargeError as error:
            parts = min(error.parts, math.ceil(len(states) / len(self._devices.all)))
            if parts < 2:
                raise ValueError(f"one network per device is too much: {error}") from error
            warnings.warn(f"{error}; they are trained in {parts} parts", stacklevel=4)
        ended: list[TrainState] = []
        for numbers in np.array_split(np.arange(len(states)), parts):
            chosen = [int(number) for number in numbers]
            part = self.train([courses[n] for n in chosen], [states[n] for n in chosen])
            ended.extend(part)
        return ended

    def _train(self, courses: list[Course], states: list[TrainState]) -> list[TrainState]:
        plan, count = self._plan, len(states)
        # every device has as many networks: the last one is trained more than once
        states = states + states[-1:] * (-count % len(self._devices.all))
        keys = [run_keys(state).order for state in states]
        batch = tuple(array[: plan.batch_size] for array in (plan.split.images, plan.split.labels))
        shared = find_shared(self._step.body, states, batch)
        stack = self._placed(stacked(states, shared))
        saving = any(course.folder is not None for course in courses)
        step, widest, first = int(states[0].step), self._widest, True
        while step < plan.steps:
            until = plan.until(step, saving=saving)
            try:
                program = self._program(stack, until - step, widest)
                self._check_memory(program, count)
                before = stack.state
                if program.spreads:
                    before = jax.tree.map(jnp.copy, stack.state)
                after = self._run(program, stack.state, keys, step, until)
                stack = stack._replace(state=after)
                finite = not program.spreads or _all_finite(stack)
            except jax.errors.JaxRuntimeError as error:
                if not first or "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                said = f"{count} networks together are too much for the device's memory"
                raise _TooLargeError(2, said) from error
            first = False
            if not finite:
                widest, stack = 0, stack._replace(state=before)
                continue
            step = until
            stack = self._after(courses, stack, step)
        return unstacked(stack)[:count]

    def _after(self, courses: list[Course], stack: Stack, step: int) -> Stack:
        """Between two pieces: what changes, what is saved, what is told."""
        plan = self._plan
        epoch, rest = divmod(step, plan.per_epoch)
        own: list[TrainState] | None = None
        if not rest:
            sums = jax.device_get(stack.state.metrics)
            stack = stack._replace(
                state=stack.state._replace(metrics=jax.tree.map(jnp.zeros_like, sums))
            )
            if any(course.looks for course in courses):
                own = unstacked(stack)
            for number, course in enumerate(courses):
                metrics = Metrics(*(each[number] for each in sums)).read()
                state = stack.state if own is None else own[number]
                changed = course.end_epoch(state, epoch, metrics)
                if own is not None:
                    own[number] = changed
            if own is not None:
                stack = stacked(own, stack.shared)
            stack = self._placed(stack)
        due = any(course.is_due(step) for course in courses)
        if due:
            self._save(courses, stack, step)
        if not rest:
            try:
                for course in courses:
                    course.report()
            except BaseException:
                if not due:
                    self._save(courses, stack, step)
                raise
        return stack

    def _save(self, courses: list[Course], stack: Stack, step: int) -> None:
        if any(course.folder is not None for course in courses):
            for course, state in zip(courses, unstacked(stack), strict=False):
                course.save(state, step)

    def _placed(self, stack: Stack) -> Stack:
        return stack._replace(state=jax.device_put(stack.state, self._devices.sharding(stack)))

    def _of_steps(self, keys: list[Any], begin: int, end: int) -> Iterator[Any]:
        """(images, labels) of each step, [networks, batch, ...]."""
        split = self._plan.split
        for chosen in self._order(keys, begin, end):
            yield split.images[chosen], split.labels[chosen]

    def _order(self, keys: list[Any], begin: int, end: int) -> np.ndarray:
        """Which examples make the batches, [steps, networks, batch]."""
        return np.stack([order(self._plan, key, begin, end) for key in keys], axis=1)

    def _program(self, stack: Stack, steps: int, widest: int) -> Program:
        plan, networks = self._plan, stack.size
        devices = self._devices
        if self._data is not None:
            chosen = jax.ShapeDtypeStruct(
                (steps, networks, plan.batch_size), np.int32, sharding=devices.parts_of_steps
            )
            arguments = (*self._data, chosen)
        else:
            arguments = tuple(
                jax.ShapeDtypeStruct(
                    (networks, plan.batch_size, *array.shape[1:]),
                    jax.dtypes.canonicalize_dtype(array.dtype),
                    sharding=devices.parts,
                )
                for array in (plan.split.images, plan.split.labels)
            )
        return compiled(
            self._step, stack, arguments, devices, widest=widest, scans=self._data is not None
        )

    def _run(self, program: Program, state: Any, keys: list[Any], begin: int, end: int) -> Any:
        if self._data is not None:
            chosen = self._order(keys, begin, end)
            return program.run(
                state, *self._data, jax.device_put(chosen, self._devices.parts_of_steps)
            )
        for batch in data.prefetch(self._of_steps(keys, begin, end), sharding=self._devices.parts):
            state = program.run(state, *batch)
        return state

    def _check_memory(self, program: Program, count: int) -> None:
        if program.bytes > self._memory:
            raise _TooLargeError(
                math.ceil(program.bytes / self._memory),
                f"{count} networks together take {program.bytes / 2**30:.2g} GiB on a device, and "
                f"{self._memory / 2**30:.2g} are free",
            )


def _free(devices: Devices) -> float:
    """Bytes that are free on each device; infinite where a device does not say."""
    free = math.inf
    for device in devices.all:
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            free = min(free, stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return free


@jax.jit
def _finite(params: Any, loss: Any) -> Any:
    inexact = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in [*inexact, loss]]))


def _all_finite(stack: Stack) -> bool:
    return bool(_finite(stack.state.params, stack.state.metrics.loss))


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
    if isinstance(checkpoints, str | os.PathLike):
        raise ValueError("checkpoints of fit_many is a list of folders, one for each network")
    folders = list(checkpoints)
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

    def described(state: TrainState) -> Any:
        paths = jax.tree_util.tree_leaves_with_path(state)
        return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in paths}

    first = described(states[0])
    for number, state in enumerate(states[1:], start=1):
        own = described(state)
        if own != first:
            where = next(path for path in {**first, **own} if first.get(path) != own.get(path))
            raise ValueError(
                f"networks that train together must be of one model: state {number} differs from "
                f"the first at {where}, {own.get(where)} and {first.get(where)}"
            )
