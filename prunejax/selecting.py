"""Which leaves of a tree of parameters can be pruned: by name, by pattern, by a function."""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from prunejax.names import listed, suggestion

Select = str | Sequence[str] | Callable[[str, Any], bool]
"""Regular expression(s) searched for in a leaf's path, or ``(path, leaf) -> bool``."""

KERNELS = r"(^|/)(kernel|weight|w)$"
"""The names that Flax, Equinox and Haiku give to the weights of a dense or convolutional layer."""

NO_KERNELS = r"(^|/)(bias\w*|b|scale|mean|var|embedding|pos_embedding)$"
"""Names of what nobody expects among the kernels, whatever its axes."""


def select_leaves(paths: list[str], leaves: list[Any], select: Select | None) -> list[bool]:
    """Which leaves a selection picks.

    Args:
      paths: the leaves' paths.
      leaves: the leaves, in the same order.
      select: as in ``masks.make``; None picks the kernels.

    Returns:
      For each leaf whether it is picked.

    Raises:
      ValueError: the selection, or one of its patterns, picks none.
    """
    if select is None:
        chosen = [
            bool(re.search(KERNELS, key)) and len(np.shape(leaf)) >= 2 and is_floating(leaf)
            for key, leaf in zip(paths, leaves, strict=True)
        ]
        if not any(chosen):
            raise ValueError(
                "no leaf is a kernel (called kernel, weight or w, of two or more axes); say which "
                f"leaves to prune with select=. {_known(paths)}"
            )
        return chosen
    if callable(select):
        chosen = [bool(select(key, leaf)) for key, leaf in zip(paths, leaves, strict=True)]
        if not any(chosen):
            raise ValueError(f"select picked none of the leaves. {_known(paths)}")
        return chosen
    patterns = _patterns(select)
    if not patterns:
        raise ValueError("select holds no pattern")
    chosen = [False] * len(paths)
    for pattern in patterns:
        try:
            matches = [bool(re.search(pattern, key)) for key in paths]
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if not any(matches):
            near = suggestion(pattern, _parts(paths)) or "."
            raise ValueError(f"the pattern {pattern!r} matches no leaf{near} {_known(paths)}")
        chosen = [before or now for before, now in zip(chosen, matches, strict=True)]
    return chosen


BIASES = r"(^|/)(bias\w*|b|scale|mean|var)$"
"""Names of what stands beside kernels and is pruned by mistake more often than on purpose."""


def warn_of_biases(paths: list[str], chosen: list[bool], select: Select) -> None:
    """Names biases and scales that a pattern picks along with kernels, though it names none."""
    if callable(select):
        return
    patterns = _patterns(select)
    picked = [path for path, one in zip(paths, chosen, strict=True) if one]
    others = [path for path in picked if re.search(BIASES, path)]
    meant = any(
        path.rpartition("/")[2] in pattern or pattern in ("", ".", ".*")
        for path in others
        for pattern in patterns
    )
    if len(others) < len(picked) and others and not meant:
        warnings.warn(
            f"select={select!r} takes biases or scales too, which are pruned as kernels are: "
            f"{listed(others, 4)}. End the pattern in /kernel$ to prune kernels alone",
            stacklevel=3,
        )


def warn_of_others(paths: list[str], leaves: list[Any], chosen: list[bool]) -> None:
    """Names weights of two or more axes that the default leaves out."""
    others = [
        key
        for key, leaf, picked in zip(paths, leaves, chosen, strict=True)
        if not picked
        and not re.search(NO_KERNELS, key)
        and sum(length > 1 for length in np.shape(leaf)) >= 2
        and jnp.issubdtype(getattr(leaf, "dtype", np.int32), jnp.inexact)
    ]
    if others:
        warnings.warn(
            f"{len(others)} arrays of two or more axes get no mask, because they are not called "
            f"kernel, weight or w, or are complex: {listed(others, 8)}. Name what is to be pruned "
            "with select= (complex arrays cannot be)",
            stacklevel=3,
        )


def _parts(paths: list[str]) -> list[str]:
    """The paths, and the names that they are made of."""
    return [*paths, *dict.fromkeys(part for path in paths for part in path.split("/"))]


def _patterns(select: Any) -> list[str]:
    if isinstance(select, str):
        return [select]
    if isinstance(select, Sequence) and all(isinstance(pattern, str) for pattern in select):
        return list(select)
    raise ValueError(
        "leaves are chosen by a regular expression, several of them, or (path, leaf) -> bool; got "
        f"{select!r}"
    )


def _known(paths: list[str]) -> str:
    nnx = any(key.endswith(("/value", ".value")) for key in paths)
    hint = " (for a Flax nnx state, pass nnx.to_pure_dict(state))" if nnx else ""
    return f"The leaves are: {listed(paths, 12)}{hint}."


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is a floating point array."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of random keys, typed ones from ``jax.random.key``."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_donated(leaf: Any) -> bool:
    """Whether a compiled program has taken over a leaf's memory, so that it holds nothing more."""
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and leaf.is_deleted()


def describe(leaf: Any) -> str:
    """A leaf in words: its dtype and shape, or its type."""
    if hasattr(leaf, "dtype"):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return type(leaf).__name__
