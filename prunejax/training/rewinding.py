"""Going back: to the state at which training began, or to an early one, under other masks."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from prunejax import masks as masks_lib
from prunejax.training.slots import emptied, reset
from prunejax.training.state import TrainState, refuse_donated, refuse_other


def snapshot(state: TrainState) -> TrainState:
    """A copy of a state, which stays when training goes on and donates the state itself.

    Args:
      state: at initialisation, or after some epochs.

    Returns:
      A state of copies.

    Raises:
      ValueError: the state was donated to an earlier step.
    """
    refuse_other("snapshot", state)
    refuse_donated(state.step)
    return jax.tree.map(jnp.copy, state)


def rewind(start: TrainState, masks: PyTree) -> TrainState:
    """The state at which a pruned network begins again: a lottery ticket.

    Weights, running statistics and the optimiser's slots are those of ``start``, 0 where the masks
    prune; step, key and so the order of the data are those of ``start`` too. With the state at
    initialisation that is Frankle & Carbin (2019, Section 2), with one of an early epoch the
    rewinding of Frankle et al. (2020).

    Args:
      start: from ``snapshot``; it stays as it is, for further rounds.
      masks: parallel to the parameters, from ``pruning.prune`` on what training gave.

    Returns:
      A state for ``fit``.

    Raises:
      ValueError: the masks do not belong to the parameters.
    """
    refuse_other("rewind", start)
    refuse_donated(start.step)
    params = masks_lib.apply(start.params, masks)
    pruned = jax.tree.map(jnp.logical_not, masks)
    slots = reset(start.opt_state, emptied(start.opt_state), pruned)
    return snapshot(start._replace(params=params, masks=masks, opt_state=slots))
