"""One training step and one evaluation step, compiled by themselves or as a loop over many."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Int, PyTree

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


class CompiledStep:
    """A training step that donates its state; from ``make_train_step``.

    Args:
      body: ``(state, batch) -> state``, as it is written.
      classes: ``(state, images) -> number of classes``.
      placement: where the state lives.

    Attributes:
      body: ``(state, batch) -> state``, not compiled.
      placement: where the state lives.
      made: programs that others have compiled of it, by what they are for.
    """

    def __init__(
        self, body: TrainStep, classes: Callable[[TrainState, Any], int], placement: Placement
    ) -> None:
        self.body, self.placement = body, placement
        self.made: dict[Any, Any] = {}
        self._classes = classes
        self._compiled = jax.jit(body, donate_argnums=0, out_shardings=placement.state)
        self._loop = jax.jit(self._steps, donate_argnums=0, out_shardings=placement.state)

    def __call__(self, state: TrainState, batch: Any) -> TrainState:
        """One step.

        Raises:
          ValueError: the state was donated to an earlier one.
        """
        refuse_donated(state.step)
        return self._compiled(state, batch)

    def classes(self, state: TrainState, images: Any) -> int:
        """How many classes the model tells apart; nothing is computed."""
        return self._classes(state, images)

    def steps(
        self, state: TrainState, images: Any, labels: Any, order: Int[Any, "steps batch"]
    ) -> TrainState:
        """Many steps as one program.

        Args:
          state: it is donated.
          images: all of the data set, on the device.
          labels: as many.
          order: which examples make each batch.

        Returns:
          The state after the last step.
        """
        refuse_donated(state.step)
        return self._loop(state, images, labels, order)

    def _steps(self, state: TrainState, images: Any, labels: Any, order: Array) -> TrainState:
        def one(state: TrainState, chosen: Array) -> tuple[TrainState, None]:
            batch = lax.with_sharding_constraint(
                (images[chosen], labels[chosen]), self.placement.batch
            )
            return self.body(state, batch), None

        return lax.scan(one, state, order)[0]


class CompiledEvaluation:
    """An evaluation step; from ``make_eval_step``.

    Args:
      body: ``(params, batch_stats, metrics, batch) -> metrics``, as it is written.
      model: whose logits are judged.
    """

    def __init__(self, body: EvalStep, model: Model) -> None:
        self._body, self._model = body, model
        self._compiled, self._loop = jax.jit(body), jax.jit(self._steps)

    def __call__(
        self, params: PyTree, batch_stats: PyTree, metrics: Metrics, batch: Any
    ) -> Metrics:
        """The metrics with a batch's sums added."""
        return self._compiled(params, batch_stats, metrics, batch)

    def classes(self, params: PyTree, batch_stats: PyTree, images: Any) -> int:
        """How many classes the model tells apart; nothing is computed."""
        return _classes(self._model, params, batch_stats, images)

    def steps(self, params: PyTree, batch_stats: PyTree, batches: Any) -> Metrics:
        """The metrics of many batches as one program.

        Args:
          params: the parameters.
          batch_stats: running statistics.
          batches: (images, labels, weights), [batches, batch, ...] each.
        """
        return self._loop(params, batch_stats, batches)

    def _steps(self, params: PyTree, batch_stats: PyTree, batches: Any) -> Metrics:
        def one(metrics: Metrics, batch: Any) -> tuple[Metrics, None]:
            summed = self._body(params, batch_stats, metrics, batch)
            return jax.tree.map(lambda new, old: new.astype(old.dtype), summed, metrics), None

        return lax.scan(one, Metrics.zero(), batches)[0]


def make_train_step(
    model: Model,
    tx: optax.GradientTransformation,
    *,
    label_smoothing: float = 0.0,
    augment: Callable[[Any, Array], Array] | None = None,
    placement: Placement | None = None,
) -> CompiledStep:
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
      ``(state, batch) -> state``. ``fit`` and ``fit_many`` also compile many of its steps, or the
      steps of many networks, as one program.
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

    return CompiledStep(step, classes, data_parallel() if placement is None else placement)


def make_eval_step(model: Model) -> CompiledEvaluation:
    """A jitted evaluation step on a batch ``(images, labels, weights)``.

    Args:
      model: a linen module called as ``model.apply(variables, images, train=False)``.

    Returns:
      ``(params, batch_stats, metrics, batch) -> metrics`` with the batch's sums added; an example
      of weight 0 (padding) does not count. ``evaluate`` also compiles many of its steps as one
      program.
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

    return CompiledEvaluation(step, model)


def _classes(model: Model, params: PyTree, batch_stats: PyTree, images: Any) -> int:
    """How many classes a model tells apart; nothing is computed."""
    variables = {"params": params, **stats_collection(batch_stats)}
    forward = functools.partial(model.apply, train=False)
    return jax.eval_shape(forward, variables, images).shape[-1]
