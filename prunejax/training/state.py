"""Everything that training changes or needs to go on, as one pytree."""

import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from prunejax import masks as masks_lib
from prunejax.selecting import is_donated


@runtime_checkable
class Model(Protocol):
    """What the loop asks of a network: a Flax linen module's two methods."""

    def init(self, rngs: Any, *inputs: Any, **options: Any) -> Any:
        """``(key, inputs) -> variables``, with ``params`` among them."""
        ...

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """``(variables, inputs, train=...) -> logits``."""
        ...


class Metrics(NamedTuple):
    """Running sums over examples, kept on the device until they are read.

    Attributes:
      loss: the sum of the examples' losses, in nats.
      correct: how many examples were classified right.
      examples: how many examples there were (a weighted number in padded batches).
    """

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    examples: Float[Array, ""]

    @classmethod
    def zero(cls) -> "Metrics":
        """The sums of no examples."""
        # Three arrays: a donated state must not hold one buffer twice.
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))

    def read(self) -> dict[str, float]:
        """Mean loss and accuracy in [0, 1]; waits for the device."""
        loss, correct, examples = jax.device_get((self.loss, self.correct, self.examples))
        return {"loss": float(loss / examples), "accuracy": float(correct / examples)}


class TrainState(NamedTuple):
    """The state of a training run; its ``step`` is also its position in the data.

    Attributes:
      params: the parameters; pruned weights are exactly 0.
      masks: parallel to ``params``.
      batch_stats: running statistics of batch normalisation, ``{}`` without.
      opt_state: the optimiser's state.
      step: how many steps were taken.
      key: the run's key; the data's order and every step's randomness are folded out of it.
      metrics: sums over the current epoch's examples so far.
    """

    params: PyTree
    masks: PyTree
    batch_stats: PyTree
    opt_state: Any
    step: Int[Array, ""]
    key: PRNGKeyArray
    metrics: Metrics


def refuse_donated(leaf: Any) -> None:
    """Refuses a state whose arrays an earlier step has taken over.

    Args:
      leaf: one array of the state, which stands for all.

    Raises:
      ValueError: it was donated.
    """
    if is_donated(leaf):
        raise ValueError(
            "this state was given to an earlier training step, which reuses its memory: go on with "
            "the state that the step (or fit) returned, or keep a copy by training.snapshot(state)"
        )


def refuse_other(what: str, state: Any) -> None:
    """Refuses what is no state of training.

    Args:
      what: who asks.
      state: what was given.

    Raises:
      ValueError: it is something else.
    """
    if not isinstance(state, TrainState):
        raise ValueError(
            f"{what} takes a state, from training.init_state, got {type(state).__name__}"
        )


class RunKeys(NamedTuple):
    """The two halves of a run's key.

    Attributes:
      order: the order of the data is folded out of it.
      steps: every step's randomness is folded out of it.
    """

    order: PRNGKeyArray
    steps: PRNGKeyArray


def run_keys(state: TrainState) -> RunKeys:
    """Splits a state's key into its halves, which stay the same for the whole run."""
    return RunKeys(*jax.random.split(state.key))


def stats_collection(batch_stats: PyTree | None) -> dict[str, PyTree]:
    """The part of a linen module's variables that holds running statistics, empty without any."""
    return {"batch_stats": batch_stats} if batch_stats else {}


def init_variables(model: Model, key: PRNGKeyArray, inputs: Any) -> tuple[PyTree, PyTree]:
    """A linen model's initial parameters and running statistics.

    Args:
      model: the module.
      key: a key from ``jax.random.key``.
      inputs: an example batch, or a ``jax.ShapeDtypeStruct`` of one.

    Returns:
      ``(params, batch_stats)``; the second is ``{}`` without batch normalisation.
    """
    one = jnp.zeros((1, *inputs.shape[1:]), jnp.float32)
    # Not jitted: compiled layer by layer, equal layers are compiled once, which for deep networks
    # is minutes less than the whole at once.
    variables = model.init(key, one)
    return variables["params"], variables.get("batch_stats", {})


def init_state(
    params: PyTree,
    batch_stats: PyTree,
    tx: optax.GradientTransformation,
    *,
    key: PRNGKeyArray,
    masks: PyTree | None = None,
) -> TrainState:
    """The state at step 0, with the masks applied.

    The arrays are copies, so that the caller's survive a training step that donates the state.

    Args:
      params: initial parameters.
      batch_stats: running statistics, ``{}`` without.
      tx: the optimiser, wrapped by ``masked``.
      key: a key from ``jax.random.key`` for data order and augmentation.
      masks: by default those of ``masks.make(params)``: nothing is pruned.

    Returns:
      The state.

    Raises:
      ValueError: the masks do not belong to the parameters, or the optimiser or the key is none.
    """
    if not hasattr(tx, "init"):
        raise ValueError(f"tx must be an optimiser, optax.adam(1e-3) say, got {tx!r}")
    if not hasattr(key, "dtype"):
        raise ValueError(f"key must come from jax.random.key(seed), got {key!r}")
    masks = masks_lib.make(params) if masks is None else masks
    return _begin(tx, params, masks, batch_stats, key)


@functools.partial(jax.jit, static_argnums=0)
def _begin(
    tx: optax.GradientTransformation,
    params: PyTree,
    masks: PyTree,
    batch_stats: PyTree,
    key: PRNGKeyArray,
) -> TrainState:
    """The state at step 0. Compiled as one program: one per array shape would take seconds."""
    params = masks_lib.apply(params, masks)
    params, masks, batch_stats, key = jax.tree.map(jnp.copy, (params, masks, batch_stats, key))
    return TrainState(
        params=params,
        masks=masks,
        batch_stats=batch_stats,
        # Some optimisers keep the initial parameters themselves.
        opt_state=jax.tree.map(jnp.copy, tx.init(params)),
        step=jnp.zeros((), jnp.int32),
        key=key,
        metrics=Metrics.zero(),
    )
