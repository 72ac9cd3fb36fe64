"""The classification loss, and loss functions of the form that criteria take."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Integer, PyTree

from prunejax.training.state import Model, stats_collection


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"] | Integer[np.ndarray, " batch"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, " batch"]:
    """Cross-entropy of each example, in nats; in float32, or in float64 for float64 logits.

    Args:
      logits: unnormalised log-probabilities.
      labels: the true classes, 0 to classes - 1. Inside jit, where they cannot be looked at, the
        loss of another label is NaN, and so is its gradient.
      label_smoothing: the probability spread evenly over all classes (Szegedy et al. 2016), in
        [0, 1).

    Returns:
      One loss per example.

    Raises:
      ValueError: ``label_smoothing`` is outside [0, 1), or a label is no class.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    classes = logits.shape[-1]
    check_labels(labels, classes)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    one_hot = jax.nn.one_hot(labels, classes, dtype=logits.dtype)
    losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(one_hot, label_smoothing))
    # Another label has a row of zeros, which would count as classified without loss: NaN is added,
    # to the gradient too. (In 32 bits: the number of classes may not fit into the labels' type.)
    wide = labels.astype(jnp.int32)
    known = (wide >= 0) & (wide < classes)
    unknown = jnp.sum(jnp.where(known[:, None], 0, logits), axis=-1)
    return losses + jnp.where(known, 0, jnp.nan).astype(losses.dtype) * unknown


def check_labels(labels: Any, classes: int | None = None) -> None:
    """Refuses labels that are no classes; of traced labels only the dtype is checked.

    Args:
      labels: integers of any shape.
      classes: how many classes there are; None where it is not known.

    Raises:
      ValueError: a label is not an integer, is negative, or is not below ``classes``.
    """
    dtype = labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {dtype}")
    if isinstance(labels, Tracer) or np.size(labels) == 0:
        return
    values = np.asarray(labels)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or (classes is not None and highest >= classes):
        allowed = "0 or more" if classes is None else f"0 to {classes - 1}"
        raise ValueError(f"labels must be {allowed}, got labels from {lowest} to {highest}")


def classification_loss(
    model: Model,
    batch_stats: PyTree | None = None,
    *,
    train: bool = True,
    temperature: float = 1.0,
) -> Callable[[PyTree, Any], tuple[Array, Array]]:
    """A loss function ``(params, (inputs, labels)) -> (mean loss, logits)`` of a linen model.

    Args:
      model: a linen module called as ``model.apply(variables, inputs, train=...)``.
      batch_stats: its running statistics, if it has batch normalisation.
      train: normalise by the batch's own statistics (SNIP, GraSP, ProsPr); False: by the running
        ones (SynFlow). Running statistics are never updated.
      temperature: what the logits are divided by before the softmax (GraSP's authors: 200).

    Returns:
      The loss function; the same one must be passed again for compiled programs to be reused.

    Raises:
      ValueError: the temperature is not positive.
    """
    if not hasattr(model, "apply"):
        raise ValueError(
            f"classification_loss takes a model with an apply method, got {type(model).__name__}"
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    state = stats_collection(batch_stats)

    def loss_fn(params: PyTree, batch: Any) -> tuple[Array, Array]:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError("the batch must be (inputs, labels)")
        inputs, labels = batch
        variables = {"params": params, **state}
        if train and state:
            logits, _ = model.apply(variables, inputs, train=True, mutable=["batch_stats"])
        else:
            logits = model.apply(variables, inputs, train=train)
        logits = jnp.asarray(logits)
        return jnp.mean(cross_entropy(logits / temperature, labels)), logits

    return loss_fn
