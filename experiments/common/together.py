"""Runs that train a network: one after the other, or several as one program.

Such a run is a generator: it asks for a training, is given what came of it, and ends with its
outcome. Who drives it decides whether the network is trained alone or with those of other runs.
"""

import abc
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from experiments.common.bench import Tools, Workbench
from experiments.common.desk import Desk, Show
from experiments.common.profiling import watched
from experiments.common.protocol import Protocol
from experiments.common.run import Outcome, Run
from prunejax import data, training


class Training(NamedTuple):
    """A training that a run asks for.

    Attributes:
      bench: data and devices.
      state: from ``training.init_state``.
      tools: optimiser and steps.
      protocol: how it is trained.
      on_epoch: told after each epoch.
      checkpoints: a folder for this run's checkpoints, or None.
      between: what changes after an epoch, see ``training.fit``.
      evaluate_with: what a row of the history says besides, see ``training.fit``.
    """

    bench: Workbench
    state: training.TrainState
    tools: Tools
    protocol: Protocol
    on_epoch: Callable[[training.Progress], None]
    checkpoints: Path | None
    between: Callable[[training.TrainState, int], training.TrainState] | None = None
    evaluate_with: Callable[[training.TrainState], dict[str, float]] | None = None

    @property
    def kind(self) -> Hashable:
        """Trainings of one kind can be one program."""
        leaves, tree = jax.tree.flatten(self.state)
        arrays = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        return id(self.tools.train_step), id(self.bench.train), self.protocol, tree, arrays

    @property
    def settings(self) -> dict[str, Any]:
        """What trainings of one kind share, as ``training.fit`` takes it."""
        protocol = self.protocol
        per_epoch = data.batches_per_epoch(len(self.bench.train.labels), protocol.batch_size)
        return {
            "epochs": protocol.epochs,
            "batch_size": protocol.batch_size,
            "checkpoint_every": max(protocol.checkpoint_epochs, 1) * per_epoch,
        }


class Fitted(NamedTuple):
    """What came of a training.

    Attributes:
      state: after the last step.
      history: one row per epoch.
      seconds: this network's share of the time.
    """

    state: training.TrainState
    history: training.History
    seconds: float


Made = TypeVar("Made")
Name = TypeVar("Name", bound=Hashable)
Work = Generator[Training, Fitted, Made]
"""Asks for trainings, and ends with what is made."""


class TrainingRun(Run):
    """A run that trains networks; others of its kind can be done together with it."""

    @property
    @abc.abstractmethod
    def kind(self) -> Hashable:
        """Runs of one kind probably ask for trainings of one kind."""

    @abc.abstractmethod
    def work(self, desk: Desk) -> Work[Outcome]:
        """Does it, asking for trainings; what it raises is as of ``do``."""

    def do(self, desk: Desk) -> Outcome:
        """Does it alone."""
        return alone(self.work(desk))


def alone(work: Work[Made]) -> Made:
    """Drives a work, whose networks are trained one after the other."""
    try:
        asked = next(work)
        while True:
            asked = work.send(fitted(asked))
    except StopIteration as end:
        return end.value


def fitted(asked: Training) -> Fitted:
    """Trains one network, going on from a checkpoint of the same run.

    A run's folder is its own, so that a checkpoint that began otherwise comes from another machine
    or version, where initial weights differ in their last bits: training begins anew.
    """
    started = time.perf_counter()
    try:
        state, history = _fit(asked)
    except training.AnotherRunError as error:
        warnings.warn(f"training begins anew: {error}", stacklevel=2)
        shutil.rmtree(asked.checkpoints or "", ignore_errors=True)
        state, history = _fit(asked)
    return Fitted(state, history, time.perf_counter() - started)


def _fit(asked: Training) -> tuple[training.TrainState, training.History]:
    return training.fit(
        asked.state,
        asked.tools.train_step,
        asked.bench.train,
        placement=asked.bench.placement,
        between=asked.between,
        evaluate_with=asked.evaluate_with,
        on_epoch=watched(asked.on_epoch, asked.protocol.epochs),
        checkpoints=asked.checkpoints,
        **asked.settings,
    )


def together(
    works: Mapping[Name, Work[Outcome]],
    show: Show,
    ended: Callable[[Name, Outcome | Exception], None],
) -> None:
    """Drives works side by side; what they ask for at the same time and is of one kind is one.

    Args:
      works: by any names.
      show: told how the common trainings go on.
      ended: told of each, as soon as it ends, what it gave, or why it failed. One that fails leaves
        the others.

    Raises:
      OSError: a file could not be read or written, which no other run would escape either.
    """
    waiting: dict[Name, Training] = {}

    def go_on(run: Name, answer: Fitted | None) -> None:
        work = works[run]
        try:
            waiting[run] = next(work) if answer is None else work.send(answer)
        except StopIteration as end:
            ended(run, end.value)
        except OSError:
            raise
        except Exception as error:
            ended(run, error)

    for run in works:
        go_on(run, None)
    while waiting:
        kind = next(iter(waiting.values())).kind
        chosen = {run: asked for run, asked in waiting.items() if asked.kind == kind}
        for run in chosen:
            del waiting[run]
        for run, answer in _trained(chosen, show).items():
            if isinstance(answer, Exception):
                works[run].close()
                ended(run, answer)
            else:
                go_on(run, answer)


def _trained(asked: Mapping[Name, Training], show: Show) -> dict[Name, Fitted | Exception]:
    """Trains networks as one program; each by itself where that fails, so that one fails alone."""
    several = list(asked.values())
    if len(several) > 1:
        started = time.perf_counter()
        title = f"{len(several)} networks together: training"
        folders = [one.checkpoints for one in several if one.checkpoints is not None]
        try:
            made = training.fit_many(
                [one.state for one in several],
                several[0].tools.train_step,
                several[0].bench.train,
                between=[one.between for one in several],
                evaluate_with=[one.evaluate_with for one in several],
                on_epoch=watched(
                    lambda progress: show(title, progress.epoch, progress.epochs),
                    several[0].protocol.epochs,
                ),
                checkpoints=folders or None,
                **several[0].settings,
            )
        except OSError:
            raise
        except training.AnotherRunError:
            pass  # alone, that one begins anew
        except Exception as error:
            warnings.warn(
                f"{len(several)} networks are trained one after the other: {error}", stacklevel=2
            )
        else:
            share = (time.perf_counter() - started) / len(several)
            return {
                run: Fitted(state, history, share)
                for run, (state, history) in zip(asked, made, strict=True)
            }
    answers: dict[Name, Fitted | Exception] = {}
    for run, one in asked.items():
        try:
            answers[run] = fitted(one)
        except OSError:
            raise
        except Exception as error:
            answers[run] = error
    return answers
