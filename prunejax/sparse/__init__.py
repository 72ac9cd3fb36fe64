"""Layers that hold only their links: a weight, its gradient and its optimiser slots per link."""

from prunejax.sparse.linear import BACKENDS, choose, sparse_linear
from prunejax.sparse.links import Links

__all__ = ["BACKENDS", "Links", "choose", "sparse_linear"]
