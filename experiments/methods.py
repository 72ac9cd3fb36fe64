"""The pruning methods that experiments compare, by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from jaxtyping import PyTree

from prunejax import pruning
from prunejax.criteria import LossFn


class Subject(NamedTuple):
    """A network that is to be pruned, and what a method may look at.

    Attributes:
      params: its parameters.
      masks: which weights can be pruned.
      batch: examples to score on, ``(images, labels)``.
      training_loss: ``(params, batch) -> (loss, logits)``, normalising by the batch's statistics.
      softened_loss: the same with the logits divided by 200, as GraSP's authors do.
      evaluation_loss: the training loss, normalising by the running statistics.
      key: a key from ``jax.random.key``.
      on_round: told (round, rounds) as an iterative method goes on.
    """

    params: PyTree
    masks: PyTree
    batch: Any
    training_loss: LossFn
    softened_loss: LossFn
    evaluation_loss: LossFn
    key: Any
    on_round: Callable[[int, int], None] | None = None


Method = Callable[[Subject, float], PyTree]
"""``(subject, sparsity) -> masks``."""


def unstructured(
    subject: Subject,
    sparsity: float,
    *,
    criterion: str,
    loss: Literal["training_loss", "softened_loss", "evaluation_loss"] = "training_loss",
    distribution: str = "global",
    rounds: int | None = None,
) -> PyTree:
    """Prunes single weights by a criterion of ``prunejax.criteria``."""
    return pruning.prune(
        subject.params,
        subject.masks,
        subject.batch,
        criterion=criterion,
        sparsity=sparsity,
        loss_fn=getattr(subject, loss),
        key=subject.key,
        rounds=rounds,
        distribution=distribution,
        on_round=subject.on_round,
    )


METHODS: dict[str, Method] = {
    "random": partial(unstructured, criterion="random"),
    "magnitude": partial(unstructured, criterion="magnitude"),
    "snip": partial(unstructured, criterion="snip"),
    "grasp": partial(unstructured, criterion="grasp", loss="softened_loss"),
    "synflow": partial(unstructured, criterion="synflow", loss="evaluation_loss"),
    "prospr": partial(unstructured, criterion="prospr"),
    "grasp_unsoftened": partial(unstructured, criterion="grasp"),
    "iterative_snip": partial(unstructured, criterion="snip", rounds=100),
    "uniform": partial(unstructured, criterion="random", distribution="uniform"),
    "er": partial(unstructured, criterion="random", distribution="er"),
    "erk": partial(unstructured, criterion="random", distribution="erk"),
    "magnitude_uniform": partial(unstructured, criterion="magnitude", distribution="uniform"),
    "magnitude_erk": partial(unstructured, criterion="magnitude", distribution="erk"),
}
"""Name -> method. "uniform", "er" and "erk" are random pruning within layers; "grasp_unsoftened" is
GraSP on the plain loss, without its authors' temperature."""


def settings(name: str) -> dict[str, Any]:
    """What a method's name stands for, so that a record of another meaning is not taken for it."""
    method = METHODS[name]
    if not isinstance(method, partial):
        return {"function": method.__name__}
    chosen = dict(method.keywords)
    if chosen.get("rounds") is None and "criterion" in chosen:
        chosen["rounds"] = pruning.ROUNDS.get(chosen["criterion"], 1)
    return {"function": method.func.__name__, **chosen}
