"""How well a network does: loss and accuracy over a split."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from prunejax import data
from prunejax.training.losses import check_labels
from prunejax.training.parallel import Placement, data_parallel
from prunejax.training.running import Loop, check_loop, whole_loop
from prunejax.training.state import Metrics, TrainState, refuse_donated
from prunejax.training.steps import EvalStep


def is_finite(state: TrainState, *metrics: Any) -> bool:
    """Whether a training went well: no parameter, running statistic or metric is NaN or infinite.

    Args:
      state: after training.
      *metrics: a history, or what ``evaluate`` gave; any trees of numbers.
    """
    arrays = jax.device_get(jax.tree.leaves((state.params, state.batch_stats)))
    numbers = [*arrays, *jax.tree.leaves(metrics)]
    return all(bool(np.isfinite(np.asarray(each)).all()) for each in numbers)


def evaluate(
    eval_step: EvalStep,
    params: PyTree,
    batch_stats: PyTree,
    split: data.Split,
    *,
    batch_size: int = 500,
    loop: Loop = "auto",
    placement: Placement | None = None,
) -> dict[str, float]:
    """Mean loss and accuracy over a split.

    Args:
      eval_step: from ``make_eval_step``.
      params: the parameters.
      batch_stats: running statistics, ``{}`` without.
      split: images and labels on the host.
      batch_size: examples per step; the last batch is padded, so that one program serves all.
      loop: "epoch": all of it is one program; see ``fit``.
      placement: the devices that share each batch where they can divide it evenly, from
        ``data_parallel``; by default those of the parameters.

    Returns:
      ``{"loss": nats, "accuracy": in [0, 1]}``.

    Raises:
      ValueError: labels that are no classes of the model, or parameters that a training step took
        over.
    """
    split = as_split(split)
    for leaf in jax.tree.leaves(params)[:1]:
        refuse_donated(leaf)
    classes_of = getattr(eval_step, "classes", None)
    check_labels(split.labels, classes_of and classes_of(params, batch_stats, split.images[:1]))
    size = min(batch_size, len(split.labels))
    if placement is None:
        placement = _where(params)
    else:
        params, batch_stats = jax.device_put((params, batch_stats), placement.state)
    shared = size % placement.devices == 0
    check_loop(loop, eval_step)
    if whole_loop(loop, eval_step, split, placement.first):
        batches = [np.stack(arrays) for arrays in zip(*data.sequential(split, size), strict=True)]
        sharding = placement.batches if shared else placement.state
        steps = eval_step.steps  # pyright: ignore[reportFunctionMemberAccess]
        return steps(params, batch_stats, tuple(jax.device_put(batches, sharding))).read()
    metrics = Metrics.zero()
    sharding = placement.batch if shared else placement.state
    for batch in data.sequential(split, size):
        metrics = eval_step(params, batch_stats, metrics, jax.device_put(batch, sharding))
    return metrics.read()


def _where(params: PyTree) -> Placement:
    """The devices that parameters are on; of arrays of the host, all local ones."""
    for leaf in jax.tree.leaves(params):
        if isinstance(leaf, jax.Array):
            return data_parallel(sorted(leaf.devices(), key=lambda device: device.id))
    return data_parallel()


def check_split(split: Any) -> None:
    """Refuses what is no data set.

    Raises:
      ValueError: it has no images or no labels.
    """
    if not hasattr(split, "images") or not hasattr(split, "labels"):
        raise ValueError(
            "split must be data.Split(images, labels), or what data.load gives; got "
            f"{type(split).__name__}"
        )
    images, labels = np.shape(split.images), np.shape(split.labels)
    if not images or images[:1] != labels:
        raise ValueError(
            f"images and labels must have one length, got shapes {images} and {labels}"
        )
    if not labels[0]:
        raise ValueError("there must be at least one example, got none")


def as_split(split: Any) -> data.Split:
    """A data set as arrays; lists are made arrays.

    Raises:
      ValueError: it is none, is empty, or has more or fewer labels than images.
    """
    check_split(split)
    arrays = (
        each if hasattr(each, "dtype") else np.asarray(each)
        for each in (split.images, split.labels)
    )
    return data.Split(*arrays)
