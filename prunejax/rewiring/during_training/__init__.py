"""Pruning and rewiring during training, as a wrapper of any optax transformation.

``sparsified(tx, method, ...)`` keeps masks in its own state and changes them every few steps, so
that a loop of one's own stays as it is:

- ``tx = sparsified(optax.adam(1e-3), "rigl", sparsity=0.9, every=100, end=7500)`` in the place of
  the optimiser;
- ``forward_params(params, state)`` in the loss, for straight-through methods alone;
- ``masks_of(state)``, to see or keep the masks.

A method says which links stay (``TRAINING_METHODS``), a pattern in what shape they come.
"""

from prunejax.allocation import Blocks, NofM, PerOutput, Unstructured
from prunejax.rewiring.during_training.keeping import KeepBest
from prunejax.rewiring.during_training.methods import TRAINING_METHODS
from prunejax.rewiring.during_training.replacing import (
    DropAndGrow,
    Left,
    at_random,
    by_gradient,
    by_paths,
)
from prunejax.rewiring.during_training.scores import chance, magnitude, saliency
from prunejax.rewiring.during_training.wrapper import (
    SparsifiedState,
    forward_params,
    masks_of,
    sparsified,
)

__all__ = [
    "TRAINING_METHODS",
    "Blocks",
    "DropAndGrow",
    "KeepBest",
    "Left",
    "NofM",
    "PerOutput",
    "SparsifiedState",
    "Unstructured",
    "at_random",
    "by_gradient",
    "by_paths",
    "chance",
    "forward_params",
    "magnitude",
    "masks_of",
    "saliency",
    "sparsified",
]
