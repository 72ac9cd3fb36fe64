"""Which leaves share one sparsity: all of them, or those that a path pattern names."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, SupportsFloat

from prunejax.distributions import check_sparsity
from prunejax.selecting import Select, select_leaves

Sparsity = SupportsFloat | Mapping[str, SupportsFloat]
"""The fraction of weights removed, or one for each pattern of leaf paths."""


class Share(NamedTuple):
    """Leaves that are ranked together.

    Attributes:
      leaves: their places in the tree.
      sparsity: the fraction of their weights that goes; None where the pattern says it.
    """

    leaves: tuple[int, ...]
    sparsity: float | None


def shares(
    paths: Sequence[str], sparsity: Sparsity | None, exclude: Select | None = None
) -> list[Share]:
    """Which leaves are pruned, and how far.

    Args:
      paths: of the leaves that can be pruned.
      sparsity: one number, or one for each regular expression that is searched for in a leaf's
        path. Of several that match, the first one counts; a leaf that none matches stays whole.
      exclude: the leaves that stay whole whatever ``sparsity`` says: a regular expression, several
        of them, or ``(path, None) -> bool``.

    Returns:
      One share per number, without leaves that stay whole.

    Raises:
      ValueError: a sparsity outside [0, 1), a pattern that is no regular expression or that matches
        no leaf, or nothing left to prune.
    """
    out = [False] * len(paths)
    if exclude is not None:
        out = _matching("exclude", list(paths), exclude)
        if all(out):
            raise ValueError(f"exclude names every leaf: {', '.join(paths)}")
    if not isinstance(sparsity, Mapping):
        number = None if sparsity is None else check_sparsity(sparsity)
        return [Share(tuple(at for at, gone in enumerate(out) if not gone), number)]
    if not sparsity:
        raise ValueError("sparsity names no layer: {} says nothing of what to prune")
    found = []
    for pattern, number in sparsity.items():
        if not isinstance(pattern, str):
            raise ValueError(
                f"sparsity by name takes patterns of leaf paths, text, got {pattern!r}"
            )
        try:
            number = check_sparsity(number)
        except (TypeError, ValueError) as error:
            raise ValueError(f"of {pattern!r}: {error}") from error
        matching = _matching("sparsity", list(paths), pattern)
        taken = [at for at, fits in enumerate(matching) if fits and not out[at]]
        if not taken and pattern == "":  # the rest, of which there is none
            continue
        if not taken:
            raise ValueError(
                f"sparsity: {pattern!r} matches only leaves that an earlier pattern or exclude "
                "takes: the first one that matches counts"
            )
        found.append(Share(tuple(taken), number))
        out = [gone or fits for gone, fits in zip(out, matching, strict=True)]
    return found


def _matching(what: str, paths: list[str], pattern: Select) -> list[bool]:
    try:
        return select_leaves(paths, [None] * len(paths), pattern)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
