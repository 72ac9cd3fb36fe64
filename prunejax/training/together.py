"""Networks of one plan that are trained together, in parts where they do not fit."""

import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prunejax import data
from prunejax.training.course import Course, Plan
from prunejax.training.parallel import Placement
from prunejax.training.running import Loop, is_accelerator, order, whole_loop
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


class _TooLargeError(Exception):
    """The networks do not fit into the memory together."""

    def __init__(self, parts: int, why: str) -> None:
        super().__init__(why)
        self.parts = parts


class _Residence(NamedTuple):
    """Where a scan finds the data."""

    images: Any
    labels: Any


class Together:
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
        self._is_estimate = memory is None
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
        # what is free is an estimate: one network on each device is tried all the same
        if self._is_estimate and count <= len(self._devices.all):
            return
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
