"""Training pruned networks: a masked optimiser, compiled steps, and a loop that resumes exactly."""

from prunejax.training.course import AnotherRunError, History, Progress
from prunejax.training.evaluating import evaluate, is_finite
from prunejax.training.loop import fit
from prunejax.training.losses import classification_loss, cross_entropy
from prunejax.training.many import fit_many
from prunejax.training.masked_optimizer import masked
from prunejax.training.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    decayed,
    learning_rate,
    optimizer,
)
from prunejax.training.parallel import Placement, data_parallel
from prunejax.training.rewinding import rewind, snapshot
from prunejax.training.running import on_accelerator
from prunejax.training.state import (
    Metrics,
    TrainState,
    init_state,
    init_variables,
    stats_collection,
)
from prunejax.training.steps import (
    CompiledEvaluation,
    CompiledStep,
    EvalStep,
    TrainStep,
    make_eval_step,
    make_train_step,
)

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "AnotherRunError",
    "CompiledEvaluation",
    "CompiledStep",
    "EvalStep",
    "History",
    "Metrics",
    "Placement",
    "Progress",
    "TrainState",
    "TrainStep",
    "classification_loss",
    "cross_entropy",
    "data_parallel",
    "decayed",
    "evaluate",
    "fit",
    "fit_many",
    "init_state",
    "init_variables",
    "is_finite",
    "learning_rate",
    "make_eval_step",
    "make_train_step",
    "masked",
    "on_accelerator",
    "optimizer",
    "rewind",
    "snapshot",
    "stats_collection",
]
