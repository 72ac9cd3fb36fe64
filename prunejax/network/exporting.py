"""A forward function and its variables as bytes: ``jax.export`` and a dict of arrays by path."""

import io
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network.derivatives import RuleError

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def stored(variables: PyTree) -> dict[str, np.ndarray]:
    """The leaves by path as NumPy's files hold them; floats that NumPy lacks become float32.

    Args:
      variables: any pytree of arrays.

    Returns:
      The arrays, in the order of the leaves.

    Raises:
      ValueError: a leaf is no array of numbers that can be stored; its path is named.
    """
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        dtype = getattr(leaf, "dtype", None)
        native = isinstance(dtype, np.dtype) and dtype.kind in "biufc"
        if not native and (dtype is None or not jnp.issubdtype(dtype, jnp.floating)):
            raise ValueError(
                f"the leaf {name(path)!r} cannot be stored: it is {dtype or type(leaf).__name__}"
            )
        arrays[name(path)] = np.asarray(jnp.asarray(leaf, None if native else jnp.float32))
    return arrays


def archive(arrays: dict[str, np.ndarray]) -> bytes:
    """A ``.npz``, written out because ``np.savez`` would take a leaf "file" for its own argument.

    Args:
      arrays: arrays by path.

    Returns:
      The bytes of the file.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for path, array in arrays.items():
            with made.open(zipfile.ZipInfo(f"{path}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def export(
    forward: Callable[..., Any],
    variables: PyTree,
    arrays: dict[str, np.ndarray],
    x: PyTree,
    platforms: Sequence[str],
) -> tuple[bytes, PyTree]:
    """Serialises a function and its derivative, for batches of any size if that is possible.

    Args:
      forward: ``(variables, x) -> outputs``.
      variables: its first argument.
      arrays: ``stored(variables)``.
      x: its second argument, as ``jax.ShapeDtypeStruct``s.
      platforms: the platforms it is lowered for.

    Returns:
      The bytes, of a function of ``arrays`` and ``x``; and ``x`` with the sizes that it takes.

    Raises:
      ValueError: there is no such platform, or the function cannot be exported.
    """
    # JAX takes any word for the name of a platform
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise ValueError(
            f"platforms must be one or more of {', '.join(PLATFORMS)}, got {list(platforms)}"
        )
    leaves, structure = jax.tree.flatten(variables)
    dtypes = [jax.dtypes.canonicalize_dtype(leaf.dtype) for leaf in leaves]
    paths = list(arrays)

    # by path, because a tree of any other kind needs its library to be read again
    def run(arrays: dict[str, jax.Array], x: PyTree) -> PyTree:
        filled = [arrays[path].astype(dtype) for path, dtype in zip(paths, dtypes, strict=True)]
        return forward(jax.tree.unflatten(structure, filled), x)

    def serialised(x: PyTree) -> bytes:
        exported = jax.export.export(jax.jit(run), platforms=platforms)(arrays, x)
        try:
            return bytes(exported.serialize(vjp_order=1))
        except RuleError as error:
            warnings.warn(f"what is saved cannot be differentiated: {error}", stacklevel=4)
            return bytes(exported.serialize(vjp_order=0))

    try:
        any_batch = _any_batch(x)
        return serialised(any_batch), any_batch
    except Exception as error:  # whatever the function does with a size that is no number
        reason = error
    try:
        result = serialised(x)
    except Exception as error:
        raise ValueError(f"the sliced function cannot be exported: {error}") from error
    warnings.warn(f"what is saved takes batches of the size of x only: {reason}", stacklevel=3)
    return result, x


def _any_batch(x: PyTree) -> PyTree:
    """The first axes, all of one size, become one symbolic size."""
    if len({leaf.shape[0] for leaf in jax.tree.leaves(x) if leaf.shape}) != 1:
        raise ValueError("its arrays have no first axis in common")
    (batch,) = jax.export.symbolic_shape("batch")
    return jax.tree.map(
        lambda leaf: (
            jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype) if leaf.shape else leaf
        ),
        x,
    )
