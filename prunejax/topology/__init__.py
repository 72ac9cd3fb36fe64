"""Masked networks as graphs: encodings, topometrics, and what they say of pruning methods."""

from prunejax import extras

try:
    from prunejax.topology.encoding import ENCODINGS, encode
    from prunejax.topology.graph import EdgeBlock, Graph, Node, NodeLayer, load
    from prunejax.topology.local import Local, Tables, local, tables
    from prunejax.topology.measuring import measure
    from prunejax.topology.metrics import METRICS, Metric
    from prunejax.topology.ramanujan import Ramanujan, ramanujan
    from prunejax.topology.studies import (
        REGRESSORS,
        Regression,
        importance,
        rank,
        rank_biased_overlap,
        regress,
    )
except ModuleNotFoundError as error:
    raise extras.missing(error, __name__) from error

__all__ = [
    "ENCODINGS",
    "METRICS",
    "REGRESSORS",
    "EdgeBlock",
    "Graph",
    "Local",
    "Metric",
    "Node",
    "NodeLayer",
    "Ramanujan",
    "Regression",
    "Tables",
    "encode",
    "importance",
    "load",
    "local",
    "measure",
    "ramanujan",
    "rank",
    "rank_biased_overlap",
    "regress",
    "tables",
]
