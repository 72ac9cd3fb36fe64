"""What a method is told: beforehand for all of training, and each time that masks change."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from prunejax.allocation.counting import Counts
from prunejax.allocation.patterns import Pattern


class Course(NamedTuple):
    """What is settled before training begins.

    Attributes:
      counts: what is kept after each change, see ``Unstructured.counts``.
      fractions: how far each change is between the first, 0, and the last, 1.
      pattern: in what shape links stay.
    """

    counts: Counts
    fractions: Float[np.ndarray, " changes"]
    pattern: Pattern


class Moment(NamedTuple):
    """What a method sees when masks change.

    Attributes:
      key: for what is drawn.
      number: how many changes there were before, at most the last one's number.
      params: the leaves that have a mask, after the optimiser's step; None elsewhere.
      gradients: the same leaves' gradients, those of pruned weights too.
      masks: so far.
    """

    key: PRNGKeyArray
    number: Int[Array, ""]
    params: PyTree
    gradients: PyTree
    masks: PyTree
