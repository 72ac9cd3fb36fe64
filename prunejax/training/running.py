"""Whether steps are programs of their own or one: on a GPU or TPU, Python should not be asked."""

from collections.abc import Callable
from itertools import islice
from typing import Any, Literal

import jax
import numpy as np

from prunejax import data
from prunejax.training.course import Plan
from prunejax.training.parallel import Placement
from prunejax.training.state import TrainState, run_keys
from prunejax.training.steps import TrainStep

Loop = Literal["auto", "steps", "epoch"]
"""How steps are done; see ``fit``."""

SHARE = 0.25
"""Of a device's memory, what the data may take there."""

Run = Callable[[TrainState, int, int], TrainState]
"""``(state, from step, to step of the same epoch) -> state``."""


def runner(loop: Loop, train_step: TrainStep, plan: Plan, placement: Placement) -> Run:
    """How one network's steps are done.

    Args:
      loop: see ``fit``.
      train_step: the step.
      plan: how long, on what.
      placement: the devices.

    Returns:
      What does them.

    Raises:
      ValueError: the loop is none, or the step cannot be put inside a program.
    """
    check_loop(loop, train_step)
    split, size = plan.split, plan.batch_size

    def steps(state: TrainState, begin: int, end: int) -> TrainState:
        epoch, start = divmod(begin, plan.per_epoch)
        key = run_keys(state).order
        batches = data.batches(split, batch_size=size, key=key, epoch=epoch, start=start)
        for batch in data.prefetch(islice(batches, end - begin), sharding=placement.batch):
            state = train_step(state, batch)
        return state

    if not whole_loop(loop, train_step, split, placement.first):
        return steps
    images, labels = jax.device_put((split.images, split.labels), placement.state)

    def one_program(state: TrainState, begin: int, end: int) -> TrainState:
        chosen = order(plan, run_keys(state).order, begin, end)
        return train_step.steps(state, images, labels, chosen)  # pyright: ignore[reportFunctionMemberAccess]

    return one_program


def order(plan: Plan, key: Any, begin: int, end: int) -> np.ndarray:
    """Which examples make the batches of some steps of one epoch, [steps, batch]."""
    epoch, start = divmod(begin, plan.per_epoch)
    whole = data.shuffled(len(plan.split.labels), key=key, epoch=epoch)
    chosen = whole[start * plan.batch_size : (start + end - begin) * plan.batch_size]
    return chosen.reshape(end - begin, plan.batch_size).astype(np.int32)


def check_loop(loop: Any, step: Any) -> None:
    """Refuses what is no loop, and a loop that a step cannot be in.

    Raises:
      ValueError: what is allowed.
    """
    if loop not in ("auto", "steps", "epoch"):
        raise ValueError(f'loop must be "auto", "steps" or "epoch", got {loop!r}')
    if loop == "epoch" and not hasattr(step, "steps"):
        raise ValueError(
            'loop="epoch" needs a step from training.make_train_step (or make_eval_step): another '
            "function cannot be put inside a program"
        )


def whole_loop(loop: Loop, step: Any, split: data.Split, device: Any) -> bool:
    """Whether steps are one program on devices like this one, see ``fit``."""
    if loop != "auto":
        return loop == "epoch"
    if not hasattr(step, "steps") or not is_accelerator(device):
        return False
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return limit is None or split.images.nbytes <= SHARE * limit


def on_accelerator() -> bool:
    """Whether this process trains on a GPU or TPU."""
    return is_accelerator(jax.local_devices()[0])


def is_accelerator(device: Any) -> bool:
    """Whether a device waits for Python, and does loops of convolutions at full speed."""
    return device.platform != "cpu"
