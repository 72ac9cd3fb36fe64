"""As many weights of each output."""

import dataclasses
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from prunejax import masks as masks_lib
from prunejax.allocation.counting import Counts, given, refuse_layerwise
from prunejax.allocation.marking import mark_highest
from prunejax.distributions import kept_weights


@dataclasses.dataclass(frozen=True)
class PerOutput:
    """The same number of weights of each output, all inputs and places of a window together.

    So Wanda (Sun et al. 2024) compares weights: within an output, never across.
    """

    def counts(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        progress: Any,
        *,
        allow_empty: bool = False,
    ) -> Counts:
        """How many weights of each output stay, [changes, leaves]. See ``Unstructured``.

        Raises:
          ValueError: the sparsity is missing, or leaves an output of a leaf without weights;
            another distribution is asked for.
        """
        refuse_layerwise("per_output", distribution)
        final = given(sparsity)
        rows = []
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.ndim < 1:
                raise ValueError(f"{masks_lib.name(path)!r} is one number, without outputs")
            inputs = int(np.prod(leaf.shape[:-1], dtype=np.int64))
            rows.append([kept_weights(inputs, final * float(part)) for part in progress])
            if leaf.size and not allow_empty and min(rows[-1], default=1) < 1:
                raise ValueError(
                    f"{masks_lib.name(path)!r} has {inputs} weights per output, of which sparsity "
                    f"{final} keeps none. Lower it, or pass allow_empty=True"
                )
        return np.array(rows, np.int32).T

    def keep(
        self,
        scores: PyTree,
        count: Int[Array, "..."],
        masks: PyTree | None,
        *,
        allow_empty: bool = False,
    ) -> PyTree:
        """Masks of the highest scores of each output; the first of equals. See ``Unstructured``."""
        del allow_empty
        leaves, structure = jax.tree.flatten(scores)
        alive = [None] * len(leaves) if masks is None else jax.tree.leaves(masks)
        kept = []
        for leaf, mask, number in zip(leaves, alive, count, strict=True):
            if leaf.size == 0:
                kept.append(jnp.ones(leaf.shape, bool))
                continue
            columns = (-1, leaf.shape[-1])
            of_mask = None if mask is None else mask.reshape(columns)
            kept.append(
                mark_highest(leaf.reshape(columns), of_mask, number, axis=0).reshape(leaf.shape)
            )
        return jax.tree.unflatten(structure, kept)
