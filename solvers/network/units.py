"""Units that round nothing: powers of 2 about as large as what is measured in them."""

import math

import numpy as np


def unit(size: float) -> float:
    """The largest power of 2 that is not above a size; 1 for 0."""
    return math.ldexp(0.5, math.frexp(size)[1]) if size > 0 else 1.0


def units(sizes: np.ndarray) -> np.ndarray:
    """``unit`` of each."""
    return np.where(sizes > 0, np.ldexp(0.5, np.frexp(sizes)[1]), 1.0)
