"""Masked networks as graphs: encodings, topometrics, and what they say of pruning methods."""

from prunejax.topology.encoding import ENCODINGS, encode
from prunejax.topology.graph import EdgeBlock, Graph, Node, NodeLayer, load
from prunejax.topology.local import Local, Tables, local, tables
from prunejax.topology.ramanujan import Ramanujan, ramanujan

__all__ = [
    "ENCODINGS",
    "EdgeBlock",
    "Graph",
    "Local",
    "Node",
    "NodeLayer",
    "Ramanujan",
    "Tables",
    "encode",
    "load",
    "local",
    "ramanujan",
    "tables",
]
