"""Curves: the accuracy of a trained network against the strength of a perturbation."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from prunejax.robustness.batches import listed
from prunejax.robustness.perturbation import Change, Perturbation
from prunejax.robustness.perturbing import (
    Kept,
    check_strengths,
    find_kept,
    perturbed_leaves,
    refuse_not_finite,
    replaced,
)
from prunejax.robustness.registry import as_perturbation

MEMORY = 4 * 2**30
"""Bytes that networks perturbed at the same time may take on an accelerator."""

Apply = Callable[[PyTree, Any], Any]
"""``(params, inputs) -> logits``, [examples, classes]."""


class Curve(NamedTuple):
    """How a network does under a perturbation.

    Attributes:
      strengths: as given.
      accuracy: the fraction of examples classified right, in [0, 1], for each strength and repeat.
      loss: the mean cross-entropy in nats, the same way.
    """

    strengths: Float[np.ndarray, " strengths"]
    accuracy: Float[np.ndarray, "strengths repeats"]
    loss: Float[np.ndarray, "strengths repeats"]


def curve(
    key: PRNGKeyArray,
    apply: Apply,
    params: PyTree,
    masks: PyTree,
    batches: Any,
    perturbation: str | Perturbation | Change,
    strengths: Any,
    *,
    repeats: int = 1,
    together: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Curve:
    """Perturbs a network at each strength, several times, and classifies the examples.

    A repeat has one key for all of its strengths: it is one attack that goes on, and what random
    pruning removes at one strength it removes at each greater one. The number of repeats or of
    strengths changes no number.

    Two programs are compiled, for the perturbation and for the network, whatever the strengths. On
    a CPU they are called once for each perturbed network, which is faster there; elsewhere for as
    many networks together as fit. The accuracies are the same.

    Args:
      key: a key from ``jax.random.key``.
      apply: ``(params, inputs) -> logits``, [examples, classes]. The same function again, and not
        another one that does the same, finds its compiled program.
      params: the trained parameters.
      masks: parallel to ``params``; a leaf without a mask is left alone. See ``perturb``.
      batches: ``(inputs, labels)``, or an iterable of such pairs; labels are classes from 0. A
        last batch of another length costs one more compilation.
      perturbation: a name in ``PERTURBATIONS``, or a function, see ``perturb``.
      strengths: a list of those at which to measure; in [0, 1], for noise 0 or more.
      repeats: how many perturbed networks for each strength. (Pruning by the order of weights
        draws nothing: its repeats are all the same.)
      together: how many perturbed networks one program computes; by default 1 on a CPU, elsewhere
        as many as need 4 GiB.
      on_progress: called with (networks done, networks in all).

    Returns:
      A ``Curve`` of NumPy arrays.

    Raises:
      ValueError: an unknown perturbation, no strength or one out of range, ``repeats`` or
        ``together`` below 1, masks that do not belong to the parameters, parameters that are not
        finite, no examples, or labels that are no classes of the network.
    """
    chosen = as_perturbation(perturbation)
    levels = np.asarray(strengths, np.float64)
    if levels.ndim != 1 or levels.size == 0:
        raise ValueError(f"strengths must be a list of at least one number, got {strengths!r}")
    check_strengths(levels, chosen, perturbation)
    for name, number in (("repeats", repeats), ("together", 1 if together is None else together)):
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
    kept = find_kept(params, masks)
    refuse_not_finite(params, kept)
    data = listed(batches, lambda inputs: jax.eval_shape(apply, params, inputs).shape)
    if sum(leaf.nbytes for leaf in jax.tree.leaves(data)) <= MEMORY:
        data = jax.device_put(data)

    members = list(itertools.product(range(levels.size), range(repeats)))
    if together is None:
        one = jax.default_backend() == "cpu"
        together = 1 if one else _fitting(apply, params, kept, data[0])
    together = min(together, len(members))
    correct, loss = np.zeros((2, levels.size, repeats))
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(repeats))
    for start in range(0, len(members), together):
        chunk = members[start : start + together]
        # a last chunk is filled up, so that it needs no program of its own
        at, repeat = np.array(chunk + chunk[-1:] * (together - len(chunk))).T
        strength = jnp.asarray(levels[at], jnp.float32)
        sums = _measure(keys[repeat], strength, params, kept, data, apply, chosen)
        at, repeat = np.array(chunk).T
        correct[at, repeat], loss[at, repeat] = sums[:, : len(chunk)]
        if on_progress is not None:
            on_progress(start + len(chunk), len(members))
    examples = sum(len(labels) for _, labels in data)
    return Curve(levels, correct / examples, loss / examples)


def _measure(
    keys: Array,
    strengths: Array,
    params: PyTree,
    kept: Kept,
    data: Sequence[tuple[Any, Any]],
    apply: Apply,
    perturbation: Perturbation,
) -> Float[np.ndarray, "2 networks"]:
    """Right answers and summed losses of some networks, each over all batches."""
    if len(keys) == 1:
        changed = perturbed_leaves(keys[0], params, kept, strengths[0], perturbation=perturbation)
        sums = [_sums(changed, params, batch, apply=apply) for batch in data]
    else:
        changed = _perturbed_together(keys, params, kept, strengths, perturbation=perturbation)
        sums = [_sums_together(changed, params, batch, apply=apply) for batch in data]
    totals = np.sum(np.asarray(jax.device_get(sums), np.float64), axis=0)
    return totals.reshape(2, len(keys))


@partial(jax.jit, static_argnames="apply")
def _sums(
    changed: dict[int, Array], params: PyTree, batch: tuple[Any, Any], *, apply: Apply
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """How many answers are right, and the sum of the losses, on one batch."""
    inputs, labels = batch
    logits = jnp.asarray(apply(replaced(params, changed), inputs))
    labels = labels.astype(jnp.int32)
    right = jnp.sum(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.int32)
    wide = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    logs = jax.nn.log_softmax(logits.astype(wide))
    return right, -jnp.sum(jnp.take_along_axis(logs, labels[:, None], axis=-1))


@partial(jax.jit, static_argnames="apply")
def _sums_together(
    changed: dict[int, Array], params: PyTree, batch: tuple[Any, Any], *, apply: Apply
) -> tuple[Int[Array, " networks"], Float[Array, " networks"]]:
    return jax.vmap(partial(_sums, apply=apply), in_axes=(0, None, None))(changed, params, batch)


@partial(jax.jit, static_argnames="perturbation")
def _perturbed_together(
    keys: Array, params: PyTree, kept: Kept, strengths: Array, *, perturbation: Perturbation
) -> dict[int, Array]:
    one = partial(perturbed_leaves, perturbation=perturbation)
    return jax.vmap(one, in_axes=(0, None, None, 0))(keys, params, kept, strengths)


def _fitting(apply: Apply, params: PyTree, kept: Kept, batch: tuple[Any, Any]) -> int:
    """How many networks fit into ``MEMORY`` together, by what one of them needs."""
    leaves = jax.tree.leaves(params)
    changed = {number: leaves[number] for number in kept}
    needs = _sums.lower(changed, params, batch, apply=apply).compile().memory_analysis()
    work = 0 if needs is None else needs.temp_size_in_bytes
    return max(1, MEMORY // max(1, work + sum(leaf.nbytes for leaf in changed.values())))
