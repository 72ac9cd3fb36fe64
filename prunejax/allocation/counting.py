"""How many weights stay: what patterns share."""

from typing import SupportsFloat

import numpy as np
from jaxtyping import Float, Int

from prunejax import names
from prunejax.distributions import DISTRIBUTIONS, check_sparsity, kept_weights, leaf_counts

Counts = Int[np.ndarray, " changes"] | Int[np.ndarray, "changes leaves"]
"""What is kept after each change: of all leaves together, or of each leaf."""

LEAVE_OUT = "Leave it out: select= where masks are made, exclude= where weights are allocated"


def refuse_layerwise(pattern: str, distribution: str) -> None:
    """Refuses a distribution that a pattern cannot follow.

    Raises:
      ValueError: it gives layers densities of their own, or is unknown.
    """
    names.choose("distribution", distribution, DISTRIBUTIONS)
    if distribution not in ("global", "uniform"):
        raise ValueError(
            f"{pattern} keeps the same share of every layer, so that distribution "
            f"{distribution!r} has no say: leave it out"
        )


def given(sparsity: SupportsFloat | None) -> float:
    """A sparsity as a number.

    Raises:
      ValueError: there is none, or it is outside [0, 1).
    """
    if sparsity is None:
        raise ValueError("sparsity= is missing: the fraction removed in the end, in [0, 1)")
    return check_sparsity(sparsity)


def kept_counts(
    shapes: list[tuple[int, ...]],
    sparsity: SupportsFloat | None,
    distribution: str,
    progress: Float[np.ndarray, " changes"],
    allow_empty: bool,
) -> Counts:
    """How many of the entries of some shapes stay; see ``Unstructured.counts``.

    Raises:
      ValueError: as ``Unstructured.counts``.
    """
    names.choose("distribution", distribution, DISTRIBUTIONS)
    final = given(sparsity)
    sizes = np.array([np.prod(shape, dtype=np.int64) for shape in shapes])
    layerwise = "uniform" if distribution == "global" else distribution
    last = np.array(leaf_counts(shapes, final, layerwise, allow_empty=allow_empty))
    if distribution == "global":
        total = int(sizes.sum())
        counts = [kept_weights(total, final * float(part)) for part in progress]
        return np.array(counts, np.int32)
    return (sizes - np.rint(np.outer(progress, sizes - last))).astype(np.int32)
