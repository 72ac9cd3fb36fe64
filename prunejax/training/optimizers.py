"""Learning-rate schedules and optimisers by name."""

import math
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.core import Tracer
from jaxtyping import PyTree

from prunejax import masks as masks_lib
from prunejax import names


def _constant(rate: float, steps: int) -> optax.Schedule:
    del steps
    return optax.constant_schedule(rate)


def _step(rate: float, steps: int) -> optax.Schedule:
    """Divided by 10 at a half and again at three quarters (epochs 80 and 120 of 160)."""
    return optax.piecewise_constant_schedule(rate, {steps // 2: 0.1, steps * 3 // 4: 0.1})


def _quarters(rate: float, steps: int) -> optax.Schedule:
    """Divided by 10 at each quarter (epochs 50, 100 and 150 of 200)."""
    return optax.piecewise_constant_schedule(rate, {steps * n // 4: 0.1 for n in (1, 2, 3)})


def _sevenths(rate: float, steps: int) -> optax.Schedule:
    """Divided by 10 at three and again at six sevenths (epochs 30 and 60 of 70)."""
    return optax.piecewise_constant_schedule(rate, {steps * n // 7: 0.1 for n in (3, 6)})


def _cosine(rate: float, steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(rate, steps)


def _linear(rate: float, steps: int) -> optax.Schedule:
    return optax.linear_schedule(rate, 0.0, steps)


def _linear_then_flat(rate: float, steps: int) -> optax.Schedule:
    """To a hundredth at nine tenths of the steps, and there it stays."""
    return optax.linear_schedule(rate, rate / 100, max(1, steps * 9 // 10))


SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": _constant,
    "step": _step,
    "quarters": _quarters,
    "sevenths": _sevenths,
    "cosine": _cosine,
    "linear": _linear,
    "linear_then_flat": _linear_then_flat,
}
"""Schedules of the learning rate: ``(initial rate, total steps) -> schedule``."""


def learning_rate(name: str, rate: float, steps: int, *, warmup_steps: int = 0) -> optax.Schedule:
    """A learning-rate schedule.

    Args:
      name: a name in ``SCHEDULES``.
      rate: the initial (after warm-up: the highest) rate.
      steps: the steps of the whole training.
      warmup_steps: steps over which the rate rises linearly from 0 first; they count in ``steps``.

    Returns:
      step -> rate.

    Raises:
      ValueError: an unknown name, a rate that is NaN or infinite, or not
        ``0 <= warmup_steps < steps``.
    """
    _finite_rate(rate)
    names.choose("schedule", name, SCHEDULES)
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"need 0 <= warmup_steps < steps, got {warmup_steps} and {steps}")
    if warmup_steps == 0:
        return SCHEDULES[name](rate, steps)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, warmup_steps),
            SCHEDULES[name](rate, steps - warmup_steps),
        ],
        [warmup_steps],
    )


def _finite_rate(rate: Any) -> None:
    if not isinstance(rate, Tracer) and not math.isfinite(float(rate)):
        raise ValueError(f"the learning rate must be a finite number, got {rate}")


def decayed(params: PyTree) -> PyTree:
    """Which leaves weight decay is for: those of two or more axes, not biases or norm scales.

    A leaf called ``kernel`` too: of a layer that holds only its links it has one axis.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 or masks_lib.name(path[-1:]) == "kernel", params
    )


def _sgd(rate: optax.ScalarOrSchedule, momentum: float, weight_decay: float):
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=decayed),
        optax.sgd(rate, momentum=momentum),
    )


def _nesterov(rate: optax.ScalarOrSchedule, momentum: float, weight_decay: float):
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=decayed),
        optax.sgd(rate, momentum=momentum, nesterov=True),
    )


def _adamw(rate: optax.ScalarOrSchedule, momentum: float, weight_decay: float):
    return optax.adamw(rate, b1=momentum, weight_decay=weight_decay, mask=decayed)


def _lion(rate: optax.ScalarOrSchedule, momentum: float, weight_decay: float):
    return optax.lion(rate, b1=momentum, weight_decay=weight_decay, mask=decayed)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": _sgd,
    "nesterov": _nesterov,
    "adamw": _adamw,
    "lion": _lion,
}
"""Optimisers: ``(rate or schedule, momentum, weight_decay) -> transformation``."""


def optimizer(
    name: str, rate: optax.ScalarOrSchedule, *, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """An optimiser by name, its weight decay off biases and normalisation.

    Args:
      name: a name in ``OPTIMIZERS``.
      rate: the learning rate, or a schedule.
      momentum: momentum for "sgd" and "nesterov", the first decay rate for "adamw" and "lion".
      weight_decay: added to the gradient for SGD (so multiplied by the rate), decoupled for the
        others.

    Returns:
      An optax transformation.

    Raises:
      ValueError: an unknown name, or a number that is NaN or infinite.
    """
    names.choose("optimizer", name, OPTIMIZERS)
    for setting, value in (("momentum", momentum), ("weight_decay", weight_decay)):
        if not math.isfinite(value):
            raise ValueError(f"{setting} must be a finite number, got {value}")
    if not callable(rate):
        _finite_rate(rate)
    return OPTIMIZERS[name](rate, momentum, weight_decay)
