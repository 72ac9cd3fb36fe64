"""The pruning methods that experiments compare, by name."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import PRNGKeyArray, PyTree

from experiments.common.during import DURING
from experiments.common.plugins import is_plugin, load
from experiments.common.shape import EVERYTHING, Shape
from experiments.common.sources import digest
from prunejax import allocation, filters, layerwise, names, pruning, training
from prunejax import channels as channels_lib
from prunejax import masks as masks_lib
from prunejax.channels import CONVOLUTIONS, collecting, targets
from prunejax.criteria import CRITERIA, Criterion, LossFn, Score, as_criterion
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
      shape: what of the network is pruned, in what shape.
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
    shape: Shape = EVERYTHING


Method = Callable[[Subject, float], PyTree]
"""``(subject, sparsity) -> masks``."""


def unstructured(
    subject: Subject,
    sparsity: float,
    *,
    criterion: str | Criterion | Score,
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
        sparsity=subject.shape.sparsity(sparsity),
        loss_fn=getattr(subject, loss),
        key=subject.key,
        rounds=rounds,
        distribution=distribution,
        pattern=subject.shape.pattern,
        exclude=subject.shape.exclude or None,
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


def wanda(subject: Subject, sparsity: float) -> PyTree:
    """Prunes the weights that do least to the sums they enter, as many of each output."""
    network, images = subject.network, subject.batch[0]
    scores = layerwise.wanda(network, _variables(subject), [images], masks=subject.masks)
    shape = subject.shape
    return layerwise.allocate(
        network,
        scores,
        shape.sparsity(sparsity),
        pattern=shape.pattern or "per_output",
        exclude=shape.exclude or None,
    )


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


class Listed(NamedTuple):
    """A method, and what ``--help`` says of it.

    Attributes:
      method: the function.
      about: one line: what it goes by, and its paper.
    """

    method: Method
    about: str


def _weights(criterion: str, about: str, **more: Any) -> Listed:
    return Listed(partial(unstructured, criterion=criterion, **more), about)


def _channels(criterion: str, about: str) -> Listed:
    return Listed(partial(channels, criterion=criterion), about)


LISTED: dict[str, Listed] = {
    "random": _weights("random", "any weights"),
    "magnitude": _weights("magnitude", "|w| (Han et al. 2015)"),
    "snip": _weights("snip", "|w dL/dw| (Lee et al. 2019)"),
    "grasp": _weights(
        "grasp", "w (H g), logits divided by 200 (Wang et al. 2020)", loss="softened_loss"
    ),
    "synflow": _weights(
        "synflow", "synaptic flow, 100 rounds (Tanaka et al. 2020)", loss="evaluation_loss"
    ),
    "prospr": _weights("prospr", "the loss after three steps (Alizadeh et al. 2022)"),
    "wanda": Listed(wanda, "|w| times the norm of its input, per output (Sun et al. 2024)"),
    "grasp_unsoftened": _weights("grasp", "GraSP on the plain loss"),
    "iterative_snip": _weights("snip", "SNIP in 100 rounds (de Jorge et al. 2021)", rounds=100),
    "uniform": _weights("random", "any weights, as many of each layer", distribution="uniform"),
    "er": _weights("random", "any weights, layers as Mocanu et al. 2018", distribution="er"),
    "erk": _weights("random", "any weights, layers as Evci et al. 2020", distribution="erk"),
    "magnitude_uniform": _weights("magnitude", "|w| within layers", distribution="uniform"),
    "magnitude_erk": _weights("magnitude", "|w|, layers as Evci et al. 2020", distribution="erk"),
    "entropy_kcore": Listed(
        partial(redundant_channels, representative="entropy"),
        "channels like others, but for the one of highest entropy (Yang et al. 2025)",
    ),
    "kcore_random": Listed(
        partial(redundant_channels, representative="random"), "the same, but for any one"
    ),
    "kcore_l1": Listed(
        partial(redundant_channels, representative="l1"), "the same, but for the largest in L1"
    ),
    "channels_random": _channels("random", "any channels, as many of each layer"),
    "channels_entropy": _channels("entropy", "channels by the entropy of their maps"),
    "channels_l1": _channels("l1", "channels by the L1 norm of their filters (Li et al. 2017)"),
    "channels_l2": _channels("l2", "channels by the L2 norm of their filters (He et al. 2018)"),
    "channels_fpgm": _channels("fpgm", "distance to the other filters (He et al. 2019)"),
    "channels_apoz": _channels("apoz", "share of zeros in the maps (Hu et al. 2016)"),
    "channels_hrank": _channels("hrank", "rank of the maps (Lin et al. 2020)"),
    "channels_bn_scale": _channels("bn_scale", "scale of normalisation (Liu et al. 2017)"),
    "channels_chip": _channels("chip", "independence of the maps (Sui et al. 2021)"),
}
"""Name -> method, and what is said of it. Those called "kcore" or "channels" remove whole channels:
redundant ones, or the worst of each layer."""

METHODS: dict[str, Method] = {name: listed.method for name, listed in LISTED.items()}

NAMES: tuple[str, ...] = (*METHODS, *DURING)
"""All methods of the comparison: those that prune before training, and those that do it then."""


def find(name: str) -> Method:
    """A method by its name, or the criterion from outside that a name stands for.

    Raises:
      ValueError: there is none; see ``plugins.load``.
    """
    if is_plugin(name):
        return partial(unstructured, criterion=load(name))
    if name.endswith(".py"):
        raise ValueError(f"name the function too: {name}:score, if it is called score")
    return METHODS[names.choose("method", name, NAMES)]


def prunes_weights(name: str) -> bool:
    """Whether a method prunes single weights by scores, so that a ``Shape`` can be asked of it."""
    method = None if name in DURING else find(name)
    return method is wanda or getattr(method, "func", None) is unstructured


def said_of_all() -> str:
    """One line for each method, for ``--help``."""
    lines = {name: listed.about for name, listed in LISTED.items()}
    lines |= {name: during.about for name, during in DURING.items()}
    return "\n".join(f"    {name:<18} {about}" for name, about in lines.items())


def settings(name: str) -> dict[str, Any]:
    """What a method's name stands for, so that a record of another meaning is not taken for it.

    That is its function, its settings, and a digest of the files of its criterion and of what
    shares the weights or channels among layers.
    """
    if name in DURING:
        return DURING[name].settings()
    method = find(name)
    if not isinstance(method, partial):
        return {"function": method.__name__, "source": digest(*_criterion(method, {}))}
    chosen = dict(method.keywords)
    scored_by = _criterion(method.func, chosen)
    if chosen.get("rounds") is None and "criterion" in chosen:
        criterion = _entry(chosen["criterion"])
        chosen["rounds"] = 1 if criterion is None else criterion.rounds
        chosen["float64"] = criterion is not None and criterion.float64
    if is_plugin(name):
        chosen["criterion"] = name
    if method.func is not unstructured:
        chosen["images"] = MAPPED
    return {"function": method.func.__name__, "source": digest(*scored_by), **chosen}


def _entry(criterion: Any) -> Criterion | None:
    """What a criterion of weights needs; None for one of channels."""
    if isinstance(criterion, str):
        return CRITERIA.get(criterion)
    return as_criterion(criterion)


def _criterion(function: Method, chosen: dict[str, Any]) -> list[Callable[..., Any]]:
    """The functions whose files say what a method does."""
    if function is unstructured:
        shared = [pruning.prune, allocation.allocate, allocation.leaf_counts]
        return [as_criterion(chosen["criterion"]).score, *shared]
    of_network = [collecting.collect, channels_lib.deciding_layers, targets.reach]
    if function is channels:
        score = FILTER_CRITERIA[chosen["criterion"]].score
        return [score, channels_lib.rank, channels_lib.keep_best, *of_network]
    if function is redundant_channels:
        return [*REDUNDANCY, channels_lib.measure, *of_network]
    if function is wanda:
        return [wanda, layerwise.wanda, layerwise.input_statistics, layerwise.allocate]
    return [function]
