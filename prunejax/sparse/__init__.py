"""Layers that hold only their links: a weight, its gradient and its optimiser slots per link."""

from typing import TYPE_CHECKING, Any

from prunejax import extras
from prunejax.sparse.linear import BACKENDS, choose, sparse_linear
from prunejax.sparse.links import Links
from prunejax.sparse.topologies import correlated, erdos_renyi
from prunejax.sparse.trees import from_masks, to_dense

if TYPE_CHECKING:
    from prunejax.sparse.dense import SparseDense

__all__ = [
    "BACKENDS",
    "Links",
    "SparseDense",
    "choose",
    "correlated",
    "erdos_renyi",
    "from_masks",
    "sparse_linear",
    "to_dense",
]


def __getattr__(name: str) -> Any:
    """``SparseDense`` is a linen module, and Flax is not needed for the rest."""
    if name != "SparseDense":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from prunejax.sparse.dense import SparseDense
    except ModuleNotFoundError as error:
        raise extras.missing(error, f"{__name__}.{name}") from error
    return SparseDense
