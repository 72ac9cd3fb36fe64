"""Checkpoints of any pytree (parameters, masks, optimiser state, keys), through orbax."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from prunejax import masks as masks_lib


class Checkpoint(NamedTuple):
    """What was restored.

    Attributes:
      step: the step it was saved at.
      tree: the pytree, of the template's structure and dtypes.
      extra: what was saved beside it.
    """

    step: int
    tree: Any
    extra: Any


def save(
    directory: str | os.PathLike[str], step: int, tree: PyTree, extra: Any = None, *, keep: int = 2
) -> None:
    """Saves a pytree as the checkpoint of a step; it counts only when it is complete.

    Args:
      directory: the folder of a run's checkpoints; made where it is missing.
      step: the step; an older checkpoint of the same step is replaced.
      tree: any pytree of arrays, typed random keys included.
      extra: anything that JSON can hold.
      keep: how many checkpoints stay; older ones are removed.

    Raises:
      ValueError: ``step`` is negative.
      OSError: the disk refused; earlier checkpoints are unchanged.
    """
    if step < 0:
        raise ValueError(f"step must not be negative, got {step}")
    try:
        _save(directory, step, tree, extra, keep)
    except Exception as error:
        for unfinished in Path(directory).glob("*.orbax-checkpoint-tmp"):
            shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(
            f"cannot write the checkpoint of step {step} to {directory}; earlier ones are "
            f"unchanged: {error}"
        ) from error


def _save(
    directory: str | os.PathLike[str], step: int, tree: PyTree, extra: Any, keep: int
) -> None:
    import orbax.checkpoint as ocp

    with _manager(directory, keep) as manager:
        if step in manager.all_steps():
            manager.delete(step)
        manager.save(
            step,
            args=ocp.args.Composite(
                tree=ocp.args.StandardSave(_by_name(tree)),
                extra=ocp.args.JsonSave({"value": extra}),
            ),
        )
        manager.wait_until_finished()


def restore(directory: str | os.PathLike[str], template: PyTree) -> Checkpoint | None:
    """Restores the latest checkpoint of a folder.

    Args:
      directory: the folder.
      template: a pytree of the same structure, shapes and dtypes; its values are not used.

    Returns:
      The checkpoint, or None where the folder holds none.

    Raises:
      ValueError: the checkpoint is damaged or of another structure; the message says what differs.
    """
    import orbax.checkpoint as ocp

    if not Path(directory).is_dir():
        return None
    wanted = _by_name(template)
    with _manager(directory, keep=None) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        try:
            metadata = manager.item_metadata(step).tree
            stored = {key: _kind(leaf) for key, leaf in (metadata or {}).items()}
        except Exception as error:
            raise _damaged(directory, step, error) from error
        expected = {key: _kind(leaf) for key, leaf in wanted.items()}
        if stored != expected:
            differing = sorted(
                key for key in {*stored, *expected} if stored.get(key) != expected.get(key)
            )
            shown = ", ".join(
                f"{key} (saved {stored.get(key, 'not at all')}, expected "
                f"{expected.get(key, 'not at all')})"
                for key in differing[:3]
            )
            raise ValueError(
                f"the checkpoint of step {step} in {directory} is of another model or optimiser: "
                f"{len(differing)} arrays differ, among them {shown}"
            )
        try:
            loaded = manager.restore(
                step,
                args=ocp.args.Composite(
                    tree=ocp.args.StandardRestore(wanted), extra=ocp.args.JsonRestore()
                ),
            )
        except Exception as error:
            raise _damaged(directory, step, error) from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    restored = [_as_key_like(leaf, loaded.tree[masks_lib.name(path)]) for path, leaf in leaves]
    return Checkpoint(
        step, jax.tree_util.tree_unflatten(structure, restored), loaded.extra["value"]
    )


def _kind(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _damaged(directory: str | os.PathLike[str], step: int, error: Exception) -> ValueError:
    return ValueError(
        f"the checkpoint of step {step} in {directory} cannot be read ({error}); remove its folder "
        "to go on from the one before"
    )


def _manager(directory: str | os.PathLike[str], keep: int | None) -> Any:
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(
        Path(directory).absolute(),
        options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
        item_handlers={
            "tree": ocp.StandardCheckpointHandler(),
            "extra": ocp.JsonCheckpointHandler(),
        },
    )


def _by_name(tree: PyTree) -> dict[str, np.ndarray]:
    """The tree's leaves by path, as host arrays, keys as their raw data."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {masks_lib.name(path): np.asarray(_raw(leaf)) for path, leaf in leaves}


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as_key_like(template: Any, restored: Any) -> Any:
    if _is_key(template):
        return jax.random.wrap_key_data(restored, impl=jax.random.key_impl(template))
    return jax.numpy.asarray(restored)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
