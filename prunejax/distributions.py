"""Distributions: how many weights each layer keeps."""

import math
from collections.abc import Callable, Sequence
from typing import SupportsFloat

import numpy as np
from jax.core import Tracer

from prunejax import names


def check_sparsity(sparsity: SupportsFloat) -> float:
    """Checks a sparsity and returns it as a Python number.

    Args:
      sparsity: the fraction of weights removed.

    Returns:
      The same, as a float.

    Raises:
      ValueError: it is traced, or outside [0, 1).
    """
    if isinstance(sparsity, Tracer):
        raise ValueError(
            "the sparsity is traced: allocate needs a Python number, because the counts it stands "
            "for are exact. Inside a jitted schedule pass traced counts to allocation.keep or "
            "keep_per_leaf"
        )
    try:
        number = math.nan if isinstance(sparsity, str) else float(sparsity)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < 1:
        simple = isinstance(sparsity, int | float | str) or getattr(sparsity, "ndim", 1) == 0
        shown = repr(sparsity) if simple or sparsity is None else type(sparsity).__name__
        raise ValueError(f"sparsity is the fraction of weights removed, in [0, 1), got {shown}")
    return number


def kept_weights(weights: int, sparsity: float) -> int:
    """How many weights a sparsity keeps: ``weights - round(sparsity * weights)``."""
    return weights - round(sparsity * weights)


def leaf_counts(
    shapes: Sequence[tuple[int, ...]],
    sparsity: SupportsFloat,
    distribution: str,
    *,
    left: Sequence[int] | None = None,
    allow_empty: bool = False,
) -> list[int]:
    """How many weights each layer keeps; the sum is exact.

    Layer l's density is ``min(1, c * d_l)`` with d_l from the distribution and c solved for the
    total: where a layer would need more weights than it has, it is kept whole and the rest is
    solved again. Fractions are rounded by largest remainder.

    Args:
      shapes: the layers' kernel shapes, ``(..., fan_in, fan_out)`` as Flax stores them.
      sparsity: the fraction of all weights to remove, in [0, 1).
      distribution: "uniform", "er" or "erk".
      left: how many weights each layer has left, by default all.
      allow_empty: whether a count may be 0.

    Returns:
      One count per layer.

    Raises:
      ValueError: an unknown distribution, or fewer weights to keep than layers.
    """
    sparsity = check_sparsity(sparsity)
    names.choose("distribution", distribution, DENSITIES)
    sizes = np.array([math.prod(shape) for shape in shapes], np.int64)
    total = kept_weights(int(sizes.sum()), sparsity)
    refuse_too_few(total, int((sizes > 0).sum()), sparsity, allow_empty)
    raw = np.array(
        [DENSITIES[distribution](shape) if 0 not in shape else 0.0 for shape in shapes], np.float64
    )
    most = sizes if left is None else np.asarray(left, np.int64)
    total = min(total, int(most.sum()))
    least = np.zeros_like(sizes) if allow_empty else np.minimum(most, 1)

    wanted = _share(raw * sizes, most, total)
    counts = np.clip(np.floor(wanted + 1e-9).astype(np.int64), least, most)
    by_remainder = np.argsort(-(wanted - counts), kind="stable")
    while (missing := total - int(counts.sum())) != 0:
        step = 1 if missing > 0 else -1
        order = by_remainder if missing > 0 else by_remainder[::-1]
        movable = [i for i in order if least[i] <= counts[i] + step <= most[i]]
        counts[movable[: abs(missing)]] += step
    return [int(count) for count in counts]


def _share(weights: np.ndarray, most: np.ndarray, total: int) -> np.ndarray:
    """Real-valued counts in proportion to ``weights``, none above its most, of sum ``total``."""
    full = most == 0
    wanted = np.zeros(len(most))
    while not full.all():
        rest = total - most[full].sum()
        wanted = np.where(full, most, weights * (rest / weights[~full].sum()))
        over = (wanted > most) & ~full
        if not over.any():
            break
        full |= over
    return np.minimum(wanted, most)


def _uniform_density(shape: tuple[int, ...]) -> float:
    """The same density everywhere (Zhu & Gupta 2017)."""
    del shape
    return 1.0


def _er_density(shape: tuple[int, ...]) -> float:
    """Erdos-Renyi (Mocanu et al. 2018): (n_in + n_out) / (n_in n_out), of units or channels.

    They are the last two axes, as Flax and Haiku store kernels; Equinox's convolutions, whose
    channels come first, need ``erk``, which looks at all axes alike.
    """
    fan_in, fan_out = (1, 1, *shape)[-2:]
    return (fan_in + fan_out) / (fan_in * fan_out)


def _erk_density(shape: tuple[int, ...]) -> float:
    """Erdos-Renyi-Kernel (Evci et al. 2020): sum(shape) / prod(shape)."""
    return sum(shape) / math.prod(shape)


DENSITIES: dict[str, Callable[[tuple[int, ...]], float]] = {
    "uniform": _uniform_density,
    "er": _er_density,
    "erk": _erk_density,
}
"""Each layer-wise distribution's density of a layer, up to a common factor."""

DISTRIBUTIONS: tuple[str, ...] = ("global", *DENSITIES)
"""All distributions: one ranking of all weights, or a count for each layer."""


def refuse_too_few(total: int, leaves: int, sparsity: float, allow_empty: bool) -> None:
    """Refuses a sparsity that keeps fewer weights than there are layers.

    Raises:
      ValueError: it does, and layers may not be empty.
    """
    if not allow_empty and total < leaves:
        raise ValueError(
            f"sparsity {sparsity} keeps {total} weights, fewer than the {leaves} layers: some "
            "would be empty. Lower it, or pass allow_empty=True"
        )
