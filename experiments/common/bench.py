"""A network's setup, and its workbench: data, model and compiled steps, made once per process."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import PRNGKeyArray

from experiments.common.desk import Desk, Show
from experiments.common.during import During
from experiments.common.protocol import VERSION, Protocol, decisive
from prunejax import data, models, network, training


@dataclasses.dataclass(frozen=True)
class Setup:
    """A network, its data and how it is trained: what runs of all studies share.

    Attributes:
      dataset: a name in ``prunejax.data.DATASETS``.
      model: a name in ``prunejax.models.MODELS``.
      protocol: the settings of training.
      options: fields of the model, as pairs.
      dtype: of activations; parameters are float32 always.
    """

    dataset: str
    model: str
    protocol: Protocol
    options: tuple[tuple[str, Any], ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"

    def config(self) -> dict[str, Any]:
        """What of it names a record."""
        return {
            "version": VERSION,
            "dataset": self.dataset,
            "model": self.model,
            "model_options": dict(self.options),
            "dtype": self.dtype,
            "protocol": decisive(self.protocol),
        }

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.model} on {self.dataset}"

    def bench(self, desk: Desk) -> "Workbench":
        """The workbench, from the desk if it is there."""
        return desk.kept("bench", self, lambda: workbench(self, desk.show))


class Tools(NamedTuple):
    """An optimiser and compiled steps for one model.

    Attributes:
      tx: the masked optimiser.
      train_step: see ``training.make_train_step``.
      eval_step: see ``training.make_eval_step``.
    """

    tx: Any
    train_step: training.CompiledStep
    eval_step: training.CompiledEvaluation


class Workbench(NamedTuple):
    """Data, a model, and what it takes to train it.

    Attributes:
      model: the module, in the dtype that it computes in.
      precise: the same in the dtype of its parameters.
      train: training images and labels, as ``prepare`` takes them.
      test: test images and labels.
      protocol: the settings.
      prepare: from training images to what the model sees.
      augment: ``(key, images) -> images`` inside the training step, or None.
      placement: the devices that share a batch.
      tools: optimiser and steps of ``model`` under ``protocol``.
      losses: loss functions by the names of ``methods.Subject``.
      traced: the model's network, in evaluation mode, on one image.
      compiled: names of the methods that have been compiled.
      made: tools of methods that prune during training, and of other protocols, by what
        determines them.
    """

    model: nn.Module
    precise: nn.Module
    train: data.Split
    test: data.Split
    protocol: Protocol
    prepare: Callable[[Any], Any]
    augment: Callable[[Any, Any], Any] | None
    placement: training.Placement
    tools: Tools
    losses: dict[str, Any]
    traced: network.Network
    compiled: set[str]
    made: dict[Any, Tools]

    def tools_for(
        self,
        model: nn.Module,
        protocol: Protocol,
        wrapper: Callable[[Any], Any] = training.masked,
    ) -> Tools:
        """Optimiser and steps for another model, other settings or another wrapper."""
        return _tools(
            model,
            protocol,
            len(self.train.labels),
            augment=self.augment,
            placement=self.placement,
            wrapper=wrapper,
        )

    def tools_of(self, protocol: Protocol) -> Tools:
        """Optimiser and steps for the model under other settings, made once."""
        if protocol not in self.made:
            self.made[protocol] = self.tools_for(self.model, protocol)
        return self.made[protocol]

    def losses_of(self, batch_stats: Any) -> dict[str, Any]:
        """The loss functions of a trained network, which has running statistics of its own.

        (At initialisation they are the same for all seeds: ``losses``, compiled once.)
        """
        if not batch_stats:
            return self.losses
        evaluation = training.classification_loss(self.precise, batch_stats, train=False)
        return {**self.losses, "evaluation_loss": evaluation}

    def tools_during(self, method: During, sparsity: float, key: PRNGKeyArray) -> Tools:
        """Optimiser and steps of a method that prunes during training.

        The step is compiled once for all keys: only the optimiser's ``init`` uses the key.
        """
        examples = len(self.train.labels)
        per_epoch = data.batches_per_epoch(examples, self.protocol.batch_size)
        wrapper = method.wrapper(sparsity, self.protocol.epochs, per_epoch, key)
        if (method, sparsity) not in self.made:
            self.made[method, sparsity] = self.tools_for(self.model, self.protocol, wrapper)
        tx = wrapper(_optimizer(self.protocol, examples))
        return self.made[method, sparsity]._replace(tx=tx)


def workbench(setup: Setup, show: Show = lambda *_: None) -> Workbench:
    """Loads the data and builds model, optimiser and compiled steps.

    Args:
      setup: of which network.
      show: told how far a data set is decoded, which is done once on a machine.

    Returns:
      The workbench.

    Raises:
      ValueError: a name or a setting that is not allowed.
      FileNotFoundError: the data set is not on this machine; the message says how to get it.
    """
    dataset, protocol = setup.dataset, setup.protocol
    info = data.DATASETS[dataset]
    # Crops are padded before images are standardised, so that their border is black.
    told = functools.partial(show, f"decoding {dataset}, once on this machine")
    train = data.load(
        dataset,
        "train",
        limit=protocol.limit,
        normalize=not protocol.augment,
        on_progress=told,
    )
    statistics = data.statistics(dataset)

    def prepare(images: Any) -> Any:
        if not protocol.augment:
            return images
        return data.normalize(images, statistics, info.maximum)

    def augment(key: Any, images: Any) -> Any:
        return prepare(data.augment(key, images))

    # Without a dtype a layer computes in that of its parameters.
    precise = models.build(setup.model, num_classes=info.classes, **dict(setup.options))
    model = (
        precise if setup.dtype == "float32" else precise.clone(dtype=jnp.dtype(setup.dtype).type)
    )
    augmenting = augment if protocol.augment else None
    placement = _placement(protocol.batch_size)
    # Running statistics are 0 and 1 at initialisation whatever the seed, so that one pair of
    # loss functions, and what is compiled for them, serves all runs.
    shape = jax.ShapeDtypeStruct((1, *info.shape), jnp.float32)
    params, batch_stats = training.init_variables(model, jax.random.key(0), shape)
    variables = {"params": params, **training.stats_collection(batch_stats)}
    return Workbench(
        model=model,
        precise=precise,
        train=train,
        test=data.load(dataset, "test", on_progress=told),
        protocol=protocol,
        prepare=prepare,
        augment=augmenting,
        placement=placement,
        tools=_tools(model, protocol, len(train.labels), augment=augmenting, placement=placement),
        losses={
            "training_loss": training.classification_loss(model, batch_stats),
            "softened_loss": training.classification_loss(model, batch_stats, temperature=200.0),
            "evaluation_loss": training.classification_loss(precise, batch_stats, train=False),
        },
        traced=network.trace(precise.apply, variables, shape),
        compiled=set(),
        made={},
    )


def _tools(
    model: nn.Module,
    protocol: Protocol,
    examples: int,
    *,
    augment: Callable[[Any, Any], Any] | None,
    placement: training.Placement,
    wrapper: Callable[[Any], Any] = training.masked,
) -> Tools:
    tx = wrapper(_optimizer(protocol, examples))
    return Tools(
        tx=tx,
        train_step=training.make_train_step(
            model,
            tx,
            label_smoothing=protocol.label_smoothing,
            augment=augment,
            placement=placement,
        ),
        eval_step=training.make_eval_step(model),
    )


def _optimizer(protocol: Protocol, examples: int) -> Any:
    steps = protocol.epochs * data.batches_per_epoch(examples, protocol.batch_size)
    rate = training.learning_rate(protocol.schedule, protocol.learning_rate, max(steps, 1))
    return training.optimizer(
        protocol.optimizer,
        rate,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
    )


def _placement(batch_size: int) -> training.Placement:
    """As many local devices as share a batch evenly."""
    devices = jax.local_devices()
    sharing = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return training.data_parallel(devices[:sharing])
