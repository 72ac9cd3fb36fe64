"""How a network is trained, pruned and tested: the same for every method of a comparison."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from experiments.methods import METHODS, Subject
from prunejax import data, models, training
from prunejax import masks as masks_lib

DENSE = "dense"
VERSION = 2
"""Part of every run's configuration; raised when what a run does changes."""


@dataclass(frozen=True)
class Protocol:
    """The settings that all runs of a comparison share; None takes the data set's own default.

    Attributes:
      epochs: passes over the training data, after pruning.
      batch_size: examples a step.
      optimizer: a name in ``prunejax.training.OPTIMIZERS``.
      learning_rate: the initial one.
      schedule: of the learning rate, a name in ``prunejax.training.SCHEDULES``.
      momentum: of the optimiser.
      weight_decay: off biases and normalisation.
      label_smoothing: in [0, 1).
      augment: random crops and flips.
      score_examples: how many training examples a criterion sees.
      limit: train on so many examples only.
      checkpoint_epochs: save a run's state every so many epochs; 0: never.
    """

    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augment: bool = False
    score_examples: int = 512
    limit: int | None = None
    checkpoint_epochs: int = 0


_GREY = Protocol(epochs=10, batch_size=128, score_examples=1024)
_COLOUR = Protocol(
    epochs=160,
    batch_size=128,
    schedule="step",
    weight_decay=1e-4,
    augment=True,
    score_examples=1024,
    checkpoint_epochs=10,
)

PROTOCOLS: dict[str, Protocol] = {
    "digits": Protocol(learning_rate=0.05),
    "mnist": _GREY,
    "fashion_mnist": _GREY,
    "kmnist": _GREY,
    "emnist_letters": _GREY,
    "cifar10": _COLOUR,
    "cifar100": _COLOUR,
}
"""Each data set's default protocol; CIFAR's is that of Cunegatti et al. 2024, appendix A.3."""

OF_MODEL: dict[tuple[str, str], dict[str, Any]] = {
    ("mnist", "lenet5"): {"epochs": 12, "learning_rate": 0.02},
    ("cifar10", "wide_resnet28_2"): {"weight_decay": 5e-4},
    ("cifar100", "wide_resnet28_2"): {"weight_decay": 5e-4},
}
"""Where a model's protocol is not its data set's (CIFAR: appendix A.3 again)."""


def protocol_for(dataset: str, model: str, *, quick: bool, **given: Any) -> Protocol:
    """A network's protocol, with what was given in the place of its defaults.

    Args:
      dataset: a name in ``prunejax.data.DATASETS``.
      model: a name in ``prunejax.models.MODELS``.
      quick: a few epochs on at most 2,000 examples, to see that everything works.
      **given: fields of ``Protocol``; None keeps the default.

    Returns:
      The protocol.
    """
    protocol = replace(PROTOCOLS[dataset], **OF_MODEL.get((dataset, model), {}))
    if quick:
        protocol = replace(
            protocol, epochs=3, limit=None if dataset == "digits" else 2000, score_examples=256
        )
    return replace(protocol, **{name: value for name, value in given.items() if value is not None})


class Workbench(NamedTuple):
    """What the runs of a comparison share, so that everything is loaded and compiled once."""

    model: Any
    train: data.Split
    test: data.Split
    protocol: Protocol
    tx: Any
    train_step: training.TrainStep
    eval_step: training.EvalStep
    losses: dict[str, Any]
    prepare: Callable[[Any], Any]
    placement: training.Placement
    compiled: set[str]


def workbench(
    dataset: str,
    model_name: str,
    protocol: Protocol,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    **model_options: Any,
) -> Workbench:
    """Loads the data and builds model, optimiser and compiled steps.

    Args:
      dataset: a name in ``prunejax.data.DATASETS``.
      model_name: a name in ``prunejax.models.MODELS``.
      protocol: the settings.
      dtype: the dtype of activations; parameters are float32 always.
      **model_options: fields of the model.

    Returns:
      The workbench.

    Raises:
      ValueError: a name or a setting that is not allowed.
      FileNotFoundError: the data set is not on this machine; the message says how to get it.
    """
    info = data.DATASETS[dataset]
    # Crops are padded before images are standardised, so that their border is black.
    train = data.load(dataset, "train", limit=protocol.limit, normalize=not protocol.augment)
    statistics = data.statistics(dataset)

    def prepare(images: Any) -> Any:
        if not protocol.augment:
            return images
        return data.normalize(images, statistics, info.maximum)

    def augment(key: Any, images: Any) -> Any:
        return prepare(data.augment(key, images))

    placement = _placement(protocol.batch_size)
    test = data.load(dataset, "test")
    # Without a dtype a layer computes in that of its parameters.
    precise = models.build(model_name, num_classes=info.classes, **model_options)
    model = precise if dtype == "float32" else precise.clone(dtype=jnp.dtype(dtype).type)
    steps = protocol.epochs * data.batches_per_epoch(len(train.labels), protocol.batch_size)
    rate = training.learning_rate(protocol.schedule, protocol.learning_rate, max(steps, 1))
    tx = training.masked(
        training.optimizer(
            protocol.optimizer,
            rate,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
        )
    )
    # Running statistics are 0 and 1 at initialisation whatever the seed, so that one pair of
    # loss functions, and what is compiled for them, serves all runs.
    shape = jax.ShapeDtypeStruct((1, *info.shape), jnp.float32)
    _, batch_stats = training.init_variables(model, jax.random.key(0), shape)
    return Workbench(
        model=model,
        train=train,
        test=test,
        protocol=protocol,
        tx=tx,
        train_step=training.make_train_step(
            model,
            tx,
            label_smoothing=protocol.label_smoothing,
            augment=augment if protocol.augment else None,
            placement=placement,
        ),
        eval_step=training.make_eval_step(model),
        losses={
            "training_loss": training.classification_loss(model, batch_stats),
            "softened_loss": training.classification_loss(model, batch_stats, temperature=200.0),
            "evaluation_loss": training.classification_loss(precise, batch_stats, train=False),
        },
        prepare=prepare,
        placement=placement,
        compiled=set(),
    )


def _placement(batch_size: int) -> training.Placement:
    """As many local devices as share a batch evenly."""
    devices = jax.local_devices()
    sharing = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return training.data_parallel(devices[:sharing])


class Outcome(NamedTuple):
    """What one run gave.

    Attributes:
      metrics: accuracies in [0, 1], counts of weights, names of empty layers.
      history: one row an epoch.
      seconds: of scoring, of training.
      masks: the masks it trained under.
    """

    metrics: dict[str, Any]
    history: training.History
    seconds: dict[str, float]
    masks: Any


def run(
    bench: Workbench,
    method: str,
    sparsity: float,
    seed: int,
    *,
    on_stage: Callable[[str, int, int], None] = lambda *_: None,
    checkpoints: Path | None = None,
) -> Outcome:
    """Initialises, prunes, trains and tests one network.

    The seed alone determines initial weights, scored examples, random scores and the order of
    the data, so that methods differ in nothing else.

    Args:
      bench: from ``workbench``.
      method: a name in ``METHODS``, or "dense".
      sparsity: the fraction of prunable weights removed; 0 for "dense".
      seed: the seed.
      on_stage: told (stage, done, of) as the run goes on.
      checkpoints: a folder for this run's checkpoints.

    Returns:
      The outcome.

    Raises:
      ValueError: the method cannot prune this network so far.
    """
    init_key, batch_key, method_key, train_key = jax.random.split(jax.random.key(seed), 4)
    inputs = jax.ShapeDtypeStruct((1, *bench.train.images.shape[1:]), jnp.float32)
    params, batch_stats = training.init_variables(bench.model, init_key, inputs)
    masks = masks_lib.make(params)

    on_stage("scoring", 0, 1)
    batch_size = min(bench.protocol.score_examples, len(bench.train.labels))
    images, labels = next(data.batches(bench.train, batch_size=batch_size, key=batch_key))
    batch = (bench.prepare(images), labels)
    scoring = 0.0
    if method != DENSE:
        subject = Subject(
            params=params,
            masks=masks,
            batch=batch,
            **bench.losses,
            key=method_key,
            on_round=lambda done, of: on_stage("scoring", done, of),
        )
        if method not in bench.compiled:
            # Scoring is timed without compiling: the first time, it is done twice.
            METHODS[method](subject, sparsity)
            bench.compiled.add(method)
        started = time.perf_counter()
        masks = jax.block_until_ready(METHODS[method](subject, sparsity))
        scoring = time.perf_counter() - started

    state = training.init_state(params, batch_stats, bench.tx, key=train_key, masks=masks)
    started = time.perf_counter()
    state, history = training.fit(
        state,
        bench.train_step,
        bench.train,
        epochs=bench.protocol.epochs,
        batch_size=bench.protocol.batch_size,
        placement=bench.placement,
        on_epoch=lambda progress: on_stage("training", progress.epoch, progress.epochs),
        checkpoints=checkpoints,
        checkpoint_every=_checkpoint_steps(bench),
    )
    trained = time.perf_counter() - started
    masks = state.masks  # those it was trained under, also where it went on from a checkpoint
    tested = training.evaluate(bench.eval_step, state.params, state.batch_stats, bench.test)
    weights = sum(mask.size for mask in jax.tree.leaves(masks))
    return Outcome(
        metrics={
            "accuracy": tested["accuracy"],
            "loss": tested["loss"],
            "weights": weights,
            "kept_weights": masks_lib.count(masks),
            "kept_parameters": _kept_parameters(params, masks),
            "sparsity": 1 - masks_lib.count(masks) / weights,
            "layer_sparsity": {key: float(v) for key, v in masks_lib.sparsities(masks).items()},
            "empty_layers": masks_lib.empty(masks),
        },
        history=history,
        seconds={"scoring": scoring, "training": trained},
        masks=masks,
    )


def _checkpoint_steps(bench: Workbench) -> int | None:
    every = bench.protocol.checkpoint_epochs
    per_epoch = data.batches_per_epoch(len(bench.train.labels), bench.protocol.batch_size)
    return every * per_epoch if every else None


def _kept_parameters(params: Any, masks: Any) -> int:
    """Parameters left: kept weights, and all that no mask is for (biases, normalisation)."""
    unmasked = sum(leaf.size for leaf in jax.tree.leaves(params)) - sum(
        mask.size for mask in jax.tree.leaves(masks)
    )
    return masks_lib.count(masks) + unmasked
