"""Checkpoints of any pytree (parameters, masks, optimiser state, keys): one file per step.

A file is an ``.npz`` of the leaves' bytes and a manifest of their paths, dtypes and shapes. It
takes its name only when it is complete, so that a process may be killed at any moment. Each part of
it carries a checksum (CRC-32, as in every zip file), so that a damaged file is not restored.
"""

import contextlib
import hashlib
import json
import operator
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import jax
import numpy as np
from jaxtyping import PyTree

from prunejax import masks as masks_lib
from prunejax.files import DAMAGED, locked, read_arrays, remove_unfinished, written_atomically

MANIFEST = "manifest"
ASIDE = ".damaged"


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
    directory: str | os.PathLike[str],
    step: SupportsIndex,
    tree: PyTree,
    extra: Any = None,
    *,
    keep: int = 2,
) -> None:
    """Saves a pytree as the checkpoint of a step; it counts only when it is complete.

    Several processes may save to one directory: they take turns.

    Args:
      directory: the folder of a run's checkpoints; made where it is missing.
      step: the step; an older checkpoint of the same step is replaced in one atomic step.
      tree: any pytree of arrays of any dtype, typed random keys and Python numbers included.
      extra: anything that JSON can hold.
      keep: how many checkpoints stay, this one included; those of lower steps go first.

    Raises:
      ValueError: ``step`` is negative or no integer, ``keep`` is below 1, two leaves have one path,
        or a leaf is no array.
      OSError: the disk refused; earlier checkpoints are unchanged.
    """
    try:
        step = operator.index(step)
    except TypeError as error:
        raise ValueError(f"step must be a whole number, got {step!r}") from error
    if step < 0:
        raise ValueError(f"step must not be negative, got {step}")
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    leaves = _by_name(tree)
    manifest = {
        "step": int(step),
        "leaves": [[name, leaf.dtype.name, list(leaf.shape)] for name, leaf in leaves.items()],
        "kinds": _kinds(tree),
        "extra": extra,
    }
    arrays = {MANIFEST: np.frombuffer(json.dumps(manifest).encode(), np.uint8)}
    # Bytes and not the arrays themselves: the format knows nothing of bfloat16.
    arrays |= {f"leaf{index}": _bytes(leaf) for index, leaf in enumerate(leaves.values())}
    folder = Path(directory)
    try:
        with locked(folder):
            remove_unfinished(folder)
            with written_atomically(_path(folder, step)) as file:
                np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
            others = [other for other in _steps(folder) if other != step]
            for other in others[keep - 1 :]:
                _path(folder, other).unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write the checkpoint of step {step} to {directory}; earlier ones are "
            f"unchanged: {error}",
        ) from error


def restore(directory: str | os.PathLike[str], template: PyTree) -> Checkpoint | None:
    """Restores the latest whole checkpoint of a folder.

    A damaged one is set aside as ``<step>.npz.damaged``, with a warning, and the one before is
    taken.

    Args:
      directory: the folder.
      template: a pytree of the same structure, shapes and dtypes; its values are not used. A leaf
        that is a NumPy array there comes back as one, a Python number as a number.

    Returns:
      The checkpoint, or None where the folder holds none.

    Raises:
      ValueError: every checkpoint is damaged, the latest whole one is of another structure (the
        message says what differs), or two of the template's leaves have one path.
      OSError: a file cannot be read now; it is not taken for damaged.
    """
    folder = Path(directory)
    if not folder.is_dir():
        return None
    expected = _kinds(template)
    try:
        with locked(folder):
            return _latest(folder, template, expected)
    except PermissionError:  # a folder that can be read only is nobody's to write to
        return _latest(folder, template, expected)


def _latest(folder: Path, template: PyTree, expected: dict[str, str]) -> Checkpoint | None:
    """The latest checkpoint that is whole; see ``restore``."""
    damage = None
    for step in _steps(folder):
        try:
            manifest, stored = _read(_path(folder, step))
        except ValueError as error:
            damage = _set_aside(folder, step, error)
            continue
        kinds = {name: manifest["kinds"][name] for name in stored}
        if kinds != expected:
            raise _of_another_model(folder, step, kinds, expected)
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        restored = [_like(leaf, stored[masks_lib.name(path)]) for path, leaf in leaves]
        return Checkpoint(
            step, jax.tree_util.tree_unflatten(structure, restored), manifest["extra"]
        )
    if damage is not None:
        raise ValueError(f"{damage}; there is no earlier one, the next start is from the beginning")
    _refuse_former_format(folder)
    return None


def fingerprint(tree: PyTree) -> str:
    """A digest of a tree's paths, dtypes, shapes and values: 16 hexadecimal digits (SHA-256).

    Raises:
      ValueError: two leaves have one path, or a leaf is no array.
    """
    digest = hashlib.sha256()
    kinds = _kinds(tree)
    for name, leaf in _by_name(tree).items():
        digest.update(f"{name}\n{kinds[name]}\n".encode())
        digest.update(_bytes(leaf).data)
    return digest.hexdigest()[:16]


def _path(folder: Path, step: int) -> Path:
    return folder / f"{step}.npz"


def _steps(folder: Path) -> list[int]:
    """The steps that are saved, the latest first."""
    names = (re.fullmatch(r"(\d+)\.npz", path.name) for path in folder.iterdir())
    return sorted((int(match[1]) for match in names if match), reverse=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A checkpoint's manifest and leaves by path.

    Raises:
      ValueError: the file is damaged.
      FileNotFoundError: there is none.
    """
    contents = read_arrays(path)
    try:
        manifest = json.loads(contents[MANIFEST].tobytes())
        leaves = {
            name: contents[f"leaf{index}"].view(np.dtype(dtype)).reshape(shape)
            for index, (name, dtype, shape) in enumerate(manifest["leaves"])
        }
        if {"step", "leaves", "kinds", "extra"} != set(manifest) or manifest["step"] != int(
            path.stem
        ):
            raise ValueError("its manifest is not of this checkpoint")
        if len(leaves) != len(contents) - 1:
            raise ValueError("it has other arrays than its manifest says")
    except DAMAGED as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return manifest, leaves


def _set_aside(folder: Path, step: int, error: ValueError) -> str:
    """Renames a damaged checkpoint where the folder allows it; returns and warns of what it did."""
    path = _path(folder, step)
    aside = path.with_name(path.name + ASIDE)
    said = f"the checkpoint of step {step} in {folder} cannot be read ({error})"
    with contextlib.suppress(OSError):
        path.replace(aside)
        said += f"; it is kept as {aside.name}"
    warnings.warn(said, stacklevel=3)
    return said


def _of_another_model(
    directory: str | os.PathLike[str], step: int, stored: dict[str, str], expected: dict[str, str]
) -> ValueError:
    differing = sorted(
        name for name in {*stored, *expected} if stored.get(name) != expected.get(name)
    )
    shown = ", ".join(
        f"{name} (saved {stored.get(name, 'not at all')}, expected "
        f"{expected.get(name, 'not at all')})"
        for name in differing[:3]
    )
    return ValueError(
        f"the checkpoint of step {step} in {directory} is of another model or optimiser: "
        f"{len(differing)} arrays differ, among them {shown}"
    )


def _refuse_former_format(folder: Path) -> None:
    """Raises where a folder holds checkpoints that prunejax wrote by orbax, a folder per step."""
    if any(path.name.isdigit() and (path / "tree").is_dir() for path in folder.iterdir()):
        raise ValueError(
            f"the checkpoints in {folder} are of an earlier format, a folder per step, which this "
            "version does not read: finish that run with the version that began it, or remove them"
        )


def _by_name(tree: PyTree) -> dict[str, np.ndarray]:
    """The tree's leaves by path, as host arrays of this machine's byte order, keys as raw data."""
    arrays: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = masks_lib.name(path)
        if name in arrays:
            raise ValueError(f"two leaves have the path {name!r}: rename one")
        array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        if array.dtype.hasobject or array.dtype.names or array.dtype.kind in "USMm":
            raise ValueError(f"only arrays can be saved, but {name!r} is a {type(leaf).__name__}")
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays


def _kinds(tree: PyTree) -> dict[str, str]:
    """What each leaf is: its dtype and shape, of a random key its implementation too."""
    kinds: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = masks_lib.name(path)
        if name in kinds:
            raise ValueError(f"two leaves have the path {name!r}: rename one")
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        shape = list(np.shape(leaf))
        kinds[name] = f"{dtype.name if isinstance(dtype, np.dtype) else dtype}{shape}"
    return kinds


def _bytes(leaf: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)


def _like(template: Any, stored: np.ndarray) -> Any:
    """The stored leaf as what the template is: a key, a NumPy array, a number, a JAX array."""
    if _is_key(template):
        shape = isinstance(template, jax.ShapeDtypeStruct)  # which `key_impl` does not take
        impl = template.dtype._impl if shape else jax.random.key_impl(template)
        return jax.random.wrap_key_data(jax.numpy.asarray(stored), impl=impl)
    if isinstance(template, bool | int | float | complex):
        return stored.item()
    if isinstance(template, np.ndarray | np.generic):
        return stored
    restored = jax.numpy.asarray(stored)
    # Without x64 JAX would cut float64 and int64 to half.
    return restored if restored.dtype == stored.dtype else stored


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
