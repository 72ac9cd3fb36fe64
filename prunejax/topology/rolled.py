"""Layers on their own, whatever the image's size: one node per row and column of a kernel."""

from collections.abc import Sequence

import numpy as np

from prunejax.topology.edges import Weights
from prunejax.topology.graph import EdgeBlock, Graph, NodeLayer
from prunejax.topology.steps import Step


def rolled(steps: Sequence[Step], weights: Weights, *, channels: bool, compat: bool) -> Graph:
    """Each kernel as a bipartite graph of its own (Pal et al. 2022; Prabhu et al. 2018).

    Left are the entries of a kernel that one output channel reads, input channels times taps, right
    the output channels, an edge per weight. With ``channels`` left are the input channels, an edge
    per slice of a kernel that is not masked whole, with the slice's L2 norm for a weight.

    Args:
      steps: the kernels.
      weights: the parameters.
      channels: whether the taps of a slice are one edge.
      compat: goes into the graph.

    Returns:
      The graph, whose layers are not connected with each other.
    """
    layers: list[NodeLayer] = []
    blocks, sources, targets, sizes = [], [], [], []
    nodes = edges = 0
    for step in steps:
        kept: np.ndarray = weights.kept[step.kernel]
        size = np.where(kept, weights.size[step.kernel], 0)
        left = step.keys
        if channels:
            kept = kept.reshape(len(kept), -1, step.taps)
            size = np.sqrt((size.reshape(kept.shape) ** 2).sum(axis=-1))
            left = left.reshape(kept.shape)[..., 0] // step.taps
            kept = np.logical_or.reduce(kept, axis=-1)
        columns = int(left.max()) + 1
        layers.append(NodeLayer(f"{step.name} (reads)", nodes, (columns,), "input"))
        layers.append(NodeLayer(step.name, nodes + columns, (len(kept),), "output"))
        rows, places = np.nonzero(kept)
        sources.append(nodes + left[rows, places])
        targets.append(nodes + columns + rows)
        sizes.append(size[rows, places])
        place = len(layers) - 2
        blocks.append(
            EdgeBlock(step.name, edges, edges + len(rows), kept.size, (place,), place + 1)
        )
        nodes, edges = nodes + columns + len(kept), edges + len(rows)
    return Graph(
        tuple(layers),
        tuple(blocks),
        np.concatenate(sources).astype(np.int32),
        np.concatenate(targets).astype(np.int32),
        np.concatenate(sizes).astype(np.float32),
        "rolled_channel" if channels else "rolled",
        compat,
    )
