"""Trained dense networks, one a seed, for experiments to prune: kept, or trained when needed."""

import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import claims, results
from experiments.workbench import Workbench
from prunejax import checkpoint, training


class Keys(NamedTuple):
    """What a seed stands for, one key a purpose."""

    weights: Any
    training: Any
    images: Any
    method: Any
    tuning: Any


def keys(seed: int) -> Keys:
    """The keys of a seed."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


class Dense(NamedTuple):
    """A trained network.

    Attributes:
      variables: ``params`` and running statistics.
      accuracy: on the test images, in [0, 1].
    """

    variables: dict[str, Any]
    accuracy: float


def obtain(
    bench: Workbench,
    seed: int,
    run: dict[str, Any],
    path: Path,
    show: Callable[[str, int, int], None],
) -> Dense:
    """The trained network of a seed: kept beside its record, or trained now and recorded.

    Args:
      bench: the workbench.
      seed: determines initial weights and the order of the data.
      run: the configuration of its record.
      path: of its record.
      show: told (what goes on, done, of).

    Returns:
      The network.

    Raises:
      ValueError: what was kept cannot be read, or training diverged.
    """
    folder, checkpoints = path.with_suffix(".variables"), path.with_suffix(".checkpoints")
    with claims.alone(path, lambda: show(f"waiting for the dense network, seed {seed}", 0, 1)):
        dense = _load(folder, bench) if results.load(path, run) is not None else None
        if dense is None:
            dense, history, seconds = _train(
                bench,
                seed,
                on_epoch=lambda now: show(f"dense, seed {seed}: training", now.epoch, now.epochs),
                checkpoints=checkpoints if bench.protocol.checkpoint_epochs else None,
            )
            _save(folder, dense)
            results.save(
                path,
                config=run,
                metrics={"accuracy": dense.accuracy},
                history=history,
                seconds={"training": seconds},
            )
        shutil.rmtree(checkpoints, ignore_errors=True)
    return dense


class DenseNetworks:
    """The trained networks of an experiment, each obtained once.

    Args:
      bench: the workbench.
      folder: of the experiment's records.
      experiment: its name.
      run_of: the configuration of a seed's record.
      show: told (what goes on, done, of).
    """

    def __init__(
        self,
        bench: Workbench,
        folder: Path,
        experiment: str,
        run_of: Callable[[int], dict[str, Any]],
        show: Callable[[str, int, int], None],
    ) -> None:
        self._bench, self._folder, self._experiment = bench, folder, experiment
        self._run_of, self._show = run_of, show
        self._known: dict[int, Dense] = {}

    def of(self, seed: int) -> Dense:
        """The trained network of a seed: kept, or trained now."""
        if seed not in self._known:
            run = self._run_of(seed)
            path = results.path_of(self._folder, self._experiment, run)
            self._known[seed] = obtain(self._bench, seed, run, path, self._show)
        return self._known[seed]


def initial(bench: Workbench, seed: int) -> dict[str, Any]:
    """A network at initialisation."""
    inputs = jax.ShapeDtypeStruct((1, *bench.train.images.shape[1:]), jnp.float32)
    params, batch_stats = training.init_variables(bench.model, keys(seed).weights, inputs)
    return {"params": params, **training.stats_collection(batch_stats)}


def _train(
    bench: Workbench,
    seed: int,
    *,
    on_epoch: Callable[[training.Progress], None],
    checkpoints: Path | None,
) -> tuple[Dense, training.History, float]:
    """Trains the dense network of a seed.

    Args:
      bench: the workbench.
      seed: determines initial weights and the order of the data.
      on_epoch: told after each epoch.
      checkpoints: a folder to save to and go on from, or None.

    Returns:
      The network, its history and the seconds it took.

    Raises:
      ValueError: it diverged: parameters are NaN or infinite.
    """
    variables = initial(bench, seed)
    state = training.init_state(
        variables["params"],
        variables.get("batch_stats", {}),
        bench.tools.tx,
        key=keys(seed).training,
    )
    started = time.perf_counter()
    state, history = bench.train_network(state, on_epoch=on_epoch, checkpoints=checkpoints)
    seconds = time.perf_counter() - started
    trained = {"params": state.params, **training.stats_collection(state.batch_stats)}
    if not training.is_finite(state):
        raise ValueError(
            f"the dense network of seed {seed} diverged: its variables are NaN or infinite; lower "
            f"the learning rate ({bench.protocol.learning_rate})"
        )
    return Dense(trained, accuracy(bench.tools, trained, bench)), history, seconds


def _save(folder: Path, dense: Dense) -> None:
    checkpoint.save(folder, 0, dense.variables, extra={"accuracy": dense.accuracy})


def _load(folder: Path, bench: Workbench) -> Dense | None:
    """A network that ``_save`` kept, or None, with a warning where it cannot be read."""
    template = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), bench.traced.variables)
    try:
        found = checkpoint.restore(folder, template)
    except ValueError as error:
        warnings.warn(f"the trained network in {folder} is trained again: {error}", stacklevel=2)
        return None
    return None if found is None else Dense(found.tree, found.extra["accuracy"])


def accuracy(tools: Any, variables: dict[str, Any], bench: Workbench) -> float:
    """On the test images, in [0, 1]."""
    return training.evaluate(
        tools.eval_step, variables["params"], variables.get("batch_stats", {}), bench.test
    )["accuracy"]
