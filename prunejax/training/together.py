"""Networks of one plan that are trained together, in parts where they do not fit."""

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prunejax import data
from prunejax.selecting import is_donated, is_key
from prunejax.training.course import Course, Plan, end_piece
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
    """The networks do not fit into the memory together; in how many parts, and from where."""

    def __init__(self, parts: int, why: str, states: list[TrainState]) -> None:
        super().__init__(why)
        self.parts, self.states = parts, states


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
        self._is_estimate = memory is None
        self._memory = _free(devices) if memory is None else memory
        self._data = None  # where a scan finds images and labels
        if whole_loop(loop, train_step, plan.split, first):
            self._data = jax.device_put((plan.split.images, plan.split.labels), devices.whole)

    def train(self, courses: list[Course], states: list[TrainState]) -> list[TrainState]:
        """Networks that have as many steps behind them."""
        try:
            return self._train(courses, states)
        except _TooLargeError as error:
            states = error.states
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
        shared = find_shared(self._step.body, states, self._first_batch())
        stack = stacked(states, shared, self._devices)
        saving = any(course.folder is not None for course in courses)
        step, widest = int(states[0].step), self._widest
        while step < plan.steps:
            until = plan.until(step, saving=saving)
            before = None
            try:
                program = self._program(stack, until - step, widest)
                self._check_memory(program, stack, count)
                before = jax.tree.map(jnp.copy, stack.state) if program.spreads else None
                after = stack._replace(state=self._run(program, stack.state, keys, step, until))
                finite = not program.spreads or _all_finite(after)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                left = stack if before is None else stack._replace(state=before)
                if is_donated(left.state.step):
                    raise
                said = f"{count} networks together are too much for the device's memory"
                raise _TooLargeError(2, said, unstacked(left, self._devices)[:count]) from error
            if not finite and before is not None:
                widest, stack = 0, stack._replace(state=before)
                continue
            step = until
            stack = self._after(courses, after, step)
        return unstacked(stack, self._devices)[:count]

    def _after(self, courses: list[Course], stack: Stack, step: int) -> Stack:
        """Between two pieces: what changes, what is saved, what is told."""
        plan = self._plan
        epoch, rest = divmod(step, plan.per_epoch)
        own: list[TrainState] | None = None
        if not rest:
            sums = jax.device_get(stack.state.metrics)
            none = jax.device_put(jax.tree.map(np.zeros_like, sums), self._devices.parts)
            stack = stack._replace(state=stack.state._replace(metrics=none))
            if any(course.looks for course in courses):
                own = unstacked(stack, self._devices)
            for number, course in enumerate(courses):
                metrics = Metrics(*(each[number] for each in sums)).read()
                state = stack.state if own is None else own[number]
                changed = course.end_epoch(state, epoch, metrics)
                if own is not None:
                    own[number] = changed
            if own is not None:
                stack = self._stacked(own, stack)
        save = functools.partial(self._save, courses, stack, step)
        end_piece(courses, step, epoch_ends=not rest, save=save)
        return stack

    def _stacked(self, states: list[TrainState], before: Stack) -> Stack:
        """States that may have been changed; counters that now differ are no longer shared."""
        shared = before.shared
        for is_shared, *leaves in zip(
            jax.tree.leaves(shared), *map(jax.tree.leaves, states), strict=True
        ):
            if is_shared and len({int(leaf) for leaf in leaves}) > 1:
                shared = find_shared(self._step.body, states, self._first_batch())
                break
        return stacked(states, shared, self._devices)

    def _first_batch(self) -> tuple[Any, Any]:
        """A batch, for its shapes."""
        split, size = self._plan.split, self._plan.batch_size
        return split.images[:size], split.labels[:size]

    def _save(self, courses: list[Course], stack: Stack, step: int) -> None:
        if any(course.folder is not None for course in courses):
            for course, state in zip(courses, unstacked(stack, self._devices), strict=False):
                course.save(state, step)

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

    def _check_memory(self, program: Program, stack: Stack, count: int) -> None:
        # what is free is an estimate: one network on each device is tried all the same
        if self._is_estimate and count <= len(self._devices.all):
            return
        needed = program.bytes
        if program.spreads:  # a copy of the states is kept
            held = sum(leaf.nbytes for leaf in jax.tree.leaves(stack.state) if not is_key(leaf))
            needed += held // len(self._devices.all)
        if needed > self._memory:
            who = f"{count} networks together take" if count > 1 else "a network takes"
            said = f"{who} {_readable(needed)} on a device, {_readable(self._memory)} may be used"
            parts = math.ceil(needed / self._memory)
            raise _TooLargeError(parts, said, unstacked(stack, self._devices)[:count])


def _readable(size: int | float) -> str:
    """Bytes in the unit that suits them."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size:.0f} bytes"


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
