"""Masked networks as graphs: encodings, topometrics, and what they say of pruning methods."""

from prunejax.topology.encoding import ENCODINGS, encode
from prunejax.topology.graph import EdgeBlock, Graph, Node, NodeLayer, load
from prunejax.topology.local import Local, Tables, local, tables
from prunejax.topology.measuring import measure
from prunejax.topology.metrics import METRICS, Metric
from prunejax.topology.ramanujan import Ramanujan, ramanujan

__all__ = [
    "ENCODINGS",
    "METRICS",
    "EdgeBlock",
    "Graph",
    "Local",
    "Metric",
    "Node",
    "NodeLayer",
    "Ramanujan",
    "Tables",
    "encode",
    "load",
    "local",
    "measure",
    "ramanujan",
    "tables",
]
