"""The rule of sums: two branches make one layer, or one is added to the other's nodes."""

import numpy as np

from prunejax.topology.relations import Relation
from prunejax.topology.steps import Draft, Shortcut


def summed(draft: Draft, given: list[Relation]) -> Relation | None:
    """A residual sum: two branches make one layer, or one is added to the other's nodes.

    Nodes that nothing has read yet take what is added to them: of two such branches the deeper one
    keeps its nodes, and those of the other become one with them; what is an earlier layer leads to
    them by edges of weight 1. Otherwise what reads the sum reads both.
    """
    if given[0].layers == given[1].layers:
        return None
    ends = [each for each in given if _unread(draft, each)]
    if not ends:
        return None
    end = max(ends, key=lambda each: draft.layers[min(each.layers)].depth)
    other = given[1] if given[0] is end else given[0]
    (layer,) = end.layers
    if any(other is each for each in ends):
        (gone,) = other.layers
        pairs = np.stack((other.ids[..., 0].ravel(), end.ids[..., 0].ravel()))
        draft.merged[gone] = (layer, pairs)
        return end
    if draft.identity_skips:
        sources = other.ids.reshape(-1, other.ids.shape[-1])
        targets = end.ids[..., 0].ravel()
        name = f"{draft.layers[layer].name} (identity)"
        draft.steps.append(Shortcut(name, sources, targets, other.layers, layer))
    draft.read |= other.layers
    return end


def _unread(draft: Draft, relation: Relation) -> bool:
    """Whether a relation is all of one layer's nodes, each once, and nothing has read them yet."""
    if len(relation.layers) != 1 or relation.ids.shape[-1] != 1:
        return False
    (layer,) = relation.layers
    nodes = draft.layers[layer]
    if layer in draft.read or nodes.role == "input" or relation.ids.size != nodes.ids.size:
        return False
    return np.array_equal(np.sort(relation.ids, axis=None), np.sort(nodes.ids, axis=None))
