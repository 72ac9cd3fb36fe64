"""The pruning methods that experiments compare, by name."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import PRNGKeyArray, PyTree

from experiments.common.during import DURING
from experiments.common.sources import digest
from prunejax import allocation, filters, pruning, training
from prunejax import channels as channels_lib
from prunejax import masks as masks_lib
from prunejax.channels import CONVOLUTIONS, collecting, targets
from prunejax.criteria import CRITERIA, LossFn
from prunejax.filters import FILTER_CRITERIA
from prunejax.network import Network, Plan


class Subject(NamedTuple):
    """A network that is to be pruned, and what a method may look at.

    Attributes:
      params: its parameters.
      masks: which weights can be pruned.
      batch: examples to score on, ``(images, labels)``.
      training_loss: ``(params, batch) -> (loss, logits)``, normalising by the batch's statistics.
      softened_loss: the same with the logits divided by 200, as GraSP's authors do.
      evaluation_loss: the training loss, normalising by the running statistics.
      network: what tracing it on one image gave.
      batch_stats: its running statistics, ``{}`` without any.
      key: a key from ``jax.random.key``.
      on_round: told (round, rounds) as an iterative method goes on.
    """

    params: PyTree
    masks: PyTree
    batch: Any
    training_loss: LossFn
    softened_loss: LossFn
    evaluation_loss: LossFn
    network: Network
    batch_stats: PyTree
    key: PRNGKeyArray
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


MAPPED = 100
"""Of how many images feature maps are taken (Yang et al. 2025, Section 4.1)."""


def channels(subject: Subject, sparsity: float, *, criterion: str) -> PyTree:
    """Prunes whole channels by a criterion of ``prunejax.filters``, the same share of each layer.

    Those of convolutions; of dense layers in a network without any. As many weights as come
    nearest to the sparsity go, both those that make the channels and those that read them.
    """
    kinds = [layer.kind for layer in subject.network.layers.values()]
    ranking = channels_lib.rank(
        subject.network,
        _variables(subject),
        subject.batch[0][:MAPPED],
        criterion=criterion,
        key=subject.key,
        kinds=CONVOLUTIONS if set(CONVOLUTIONS).intersection(kinds) else ("dense",),
    )
    plan = ranking.plan_for(sparsity, reduction=partial(_weight_reduction, subject))
    return masks_lib.restrict(plan.masks(subject.params), subject.masks)


def redundant_channels(
    subject: Subject, sparsity: float, *, representative: Literal["entropy", "random", "l1"]
) -> PyTree:
    """Prunes redundant channels by the k-core method, at the threshold nearest to the sparsity."""
    measured = channels_lib.measure(subject.network, _variables(subject), subject.batch[0][:MAPPED])
    options = {"representative": representative, "key": subject.key}
    plan = measured.plan_for(sparsity, reduction=partial(_weight_reduction, subject), **options)
    return masks_lib.restrict(plan.masks(subject.params), subject.masks)


def _variables(subject: Subject) -> PyTree:
    return {"params": subject.params, **training.stats_collection(subject.batch_stats)}


def _weight_reduction(subject: Subject, plan: Plan) -> float:
    """The fraction of prunable weights that a plan removes."""
    prunable = jax.tree.map(
        lambda mask: jax.ShapeDtypeStruct(mask.shape, mask.dtype), subject.masks
    )
    left = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(plan.slice(prunable)))
    return 1 - left / sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(prunable))


REDUNDANCY = (
    filters.perceptual_hash,
    filters.similarity,
    filters.entropy,
    filters.select,
    channels_lib.keep_representatives,
)
"""The parts of the k-core method, whose files say what it does."""

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
    "entropy_kcore": partial(redundant_channels, representative="entropy"),
    "kcore_random": partial(redundant_channels, representative="random"),
    "kcore_l1": partial(redundant_channels, representative="l1"),
    "channels_random": partial(channels, criterion="random"),
    "channels_entropy": partial(channels, criterion="entropy"),
    "channels_l1": partial(channels, criterion="l1"),
    "channels_l2": partial(channels, criterion="l2"),
    "channels_fpgm": partial(channels, criterion="fpgm"),
    "channels_apoz": partial(channels, criterion="apoz"),
    "channels_hrank": partial(channels, criterion="hrank"),
    "channels_bn_scale": partial(channels, criterion="bn_scale"),
    "channels_chip": partial(channels, criterion="chip"),
}
"""Name -> method. "uniform", "er" and "erk" are random pruning within layers; "grasp_unsoftened" is
GraSP on the plain loss, without its authors' temperature. Names with "kcore" or "channels" remove
whole channels: redundant ones, or the worst of each layer."""


NAMES: tuple[str, ...] = (*METHODS, *DURING)
"""All methods of the comparison: those that prune before training, and those that do it then."""


def settings(name: str) -> dict[str, Any]:
    """What a method's name stands for, so that a record of another meaning is not taken for it.

    That is its function, its settings, and a digest of the files of its criterion and of what
    shares the weights or channels among layers.
    """
    if name in DURING:
        return DURING[name].settings()
    method = METHODS[name]
    if not isinstance(method, partial):
        return {"function": method.__name__, "source": digest(method)}
    chosen = dict(method.keywords)
    scored_by = _criterion(method.func, chosen)
    if chosen.get("rounds") is None and "criterion" in chosen:
        criterion = CRITERIA.get(chosen["criterion"])
        chosen["rounds"] = 1 if criterion is None else criterion.rounds
        chosen["float64"] = criterion is not None and criterion.float64
    if method.func is not unstructured:
        chosen["images"] = MAPPED
    return {"function": method.func.__name__, "source": digest(*scored_by), **chosen}


def _criterion(function: Method, chosen: dict[str, Any]) -> list[Callable[..., Any]]:
    """The functions whose files say what a method does."""
    if function is unstructured:
        shared = [pruning.prune, allocation.allocate, allocation.leaf_counts]
        return [CRITERIA[chosen["criterion"]].score, *shared]
    of_network = [collecting.collect, channels_lib.deciding_layers, targets.reach]
    if function is channels:
        score = FILTER_CRITERIA[chosen["criterion"]].score
        return [score, channels_lib.rank, channels_lib.keep_best, *of_network]
    if function is redundant_channels:
        return [*REDUNDANCY, channels_lib.measure, *of_network]
    return [function]
