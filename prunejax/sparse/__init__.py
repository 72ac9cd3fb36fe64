"""Layers that hold only their links: a weight, its gradient and its optimiser slots per link."""

from prunejax.sparse.dense import SparseDense
from prunejax.sparse.linear import BACKENDS, choose, sparse_linear
from prunejax.sparse.links import Links
from prunejax.sparse.topologies import correlated, erdos_renyi
from prunejax.sparse.trees import from_masks, to_dense

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
