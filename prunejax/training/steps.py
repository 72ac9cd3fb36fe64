"""One training step and one evaluation step, compiled."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from prunejax.training.losses import cross_entropy
from prunejax.training.masked_optimizer import masked
from prunejax.training.parallel import Placement, data_parallel
from prunejax.training.state import (
    Metrics,
    Model,
    TrainState,
    refuse_donated,
    run_keys,
    stats_collection,
)

TrainStep = Callable[[TrainState, Any], TrainState]
EvalStep = Callable[[PyTree, PyTree, Metrics, Any], Metrics]


def make_train_step(
    model: Model,
    tx: optax.GradientTransformation,
    *,
    label_smoothing: float = 0.0,
    augment: Callable[[Any, Array], Array] | None = None,
    placement: Placement | None = None,
) -> TrainStep:
    """A jitted step of masked training on a batch ``(images, labels)``.

    The state is donated: its arrays are gone afterwards. Use the returned one (a state that was
    donated is refused), and keep a copy by ``snapshot`` where you need the old one. Metrics are
    summed on the device, so that a loop never waits for a step. Compute dtype is the model's;
    parameters, gradients and the loss are float32.

    Args:
      model: a linen module called as ``model.apply(variables, images, train=True)``; ``train``
        must have a default.
      tx: the optimiser; wrapped by ``masked`` here if it is not already.
      label_smoothing: see ``cross_entropy``.
      augment: ``(key, images) -> images``, run inside the step.
      placement: where the state lives, from ``data_parallel``; by default on all local devices.

    Returns:
      ``(state, batch) -> state``. Its attribute ``classes`` is ``(state, images) -> number of
      classes``, by which ``fit`` checks labels.
    """

    masked_tx = masked(tx)

    def step(state: TrainState, batch: Any) -> TrainState:
        images, labels = batch
        step_key = jax.random.fold_in(run_keys(state).steps, state.step)
        augment_key, dropout_key = jax.random.split(step_key)
        if augment is not None:
            images = augment(augment_key, images)

        def loss_fn(params: PyTree) -> tuple[Array, tuple[Array, PyTree]]:
            logits, updated = model.apply(
                {"params": params, **stats_collection(state.batch_stats)},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            losses = cross_entropy(logits, labels, label_smoothing=label_smoothing)
            return jnp.mean(losses), (logits, updated.get("batch_stats", {}))

        (loss, (logits, batch_stats)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        updates, opt_state = masked_tx.update(
            gradients, state.opt_state, state.params, masks=state.masks
        )
        examples = labels.shape[0]
        right = jnp.argmax(logits, -1) == labels
        metrics = Metrics(
            loss=state.metrics.loss + loss.astype(jnp.float32) * examples,
            correct=state.metrics.correct + jnp.sum(right, dtype=jnp.float32),
            examples=state.metrics.examples + examples,
        )
        return state._replace(
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            step=state.step + 1,
            metrics=metrics,
        )

    def classes(state: TrainState, images: Any) -> int:
        if augment is not None:
            images = jax.eval_shape(augment, jax.random.key(0), images)
        return _classes(model, state.params, state.batch_stats, images)

    placement = data_parallel() if placement is None else placement
    compiled = jax.jit(step, donate_argnums=0, out_shardings=placement.state)

    def train_step(state: TrainState, batch: Any) -> TrainState:
        refuse_donated(state.step)
        return compiled(state, batch)

    train_step.classes = classes  # pyright: ignore[reportFunctionMemberAccess]
    return train_step


def make_eval_step(model: Model) -> EvalStep:
    """A jitted evaluation step on a batch ``(images, labels, weights)``.

    Args:
      model: a linen module called as ``model.apply(variables, images, train=False)``.

    Returns:
      ``(params, batch_stats, metrics, batch) -> metrics`` with the batch's sums added; an example
      of weight 0 (padding) does not count. Its attribute ``classes`` is ``(params, batch_stats,
      images) -> number of classes``, by which ``evaluate`` checks labels.
    """

    def step(params: PyTree, batch_stats: PyTree, metrics: Metrics, batch: Any) -> Metrics:
        images, labels, weights = batch
        logits = model.apply(
            {"params": params, **stats_collection(batch_stats)}, images, train=False
        )
        logits = jnp.asarray(logits)
        right = (jnp.argmax(logits, -1) == labels).astype(jnp.float32)
        return Metrics(
            loss=metrics.loss + jnp.sum(weights * cross_entropy(logits, labels)),
            correct=metrics.correct + jnp.sum(weights * right),
            examples=metrics.examples + jnp.sum(weights),
        )

    compiled = jax.jit(step)
    compiled.classes = functools.partial(_classes, model)  # pyright: ignore[reportAttributeAccessIssue]
    return compiled


def _classes(model: Model, params: PyTree, batch_stats: PyTree, images: Any) -> int:
    """How many classes a model tells apart; nothing is computed."""
    variables = {"params": params, **stats_collection(batch_stats)}
    forward = functools.partial(model.apply, train=False)
    return jax.eval_shape(forward, variables, images).shape[-1]
