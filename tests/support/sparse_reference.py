"""Sparse layers and scores of their pairs in plain NumPy: dense matrices, masks, brute force."""

import itertools
import math

import numpy as np

# inputs, outputs, density, leading axes of x; a layer always has its last output empty if it can
LAYERS = {
    "ordinary": (30, 20, 0.2, (9,)),
    "one link": (6, 5, 0.0, (3,)),
    "one pair": (1, 1, 1.0, (2,)),
    "full": (7, 9, 1.0, (4,)),
    "batch of 1": (12, 8, 0.3, (1,)),
    "no batch axis": (12, 8, 0.3, ()),
    "two axes": (12, 8, 0.3, (2, 3)),
    "empty batch": (5, 4, 0.4, (0,)),
    "two blocks of lanes and a rest": (33, 17, 0.1, (150,)),
}


def layer(name, seed=0):
    """A mask, a matrix that is 0 where nothing is kept, x, and what multiplies the outputs."""
    inputs, outputs, density, batch = LAYERS[name]
    random = np.random.default_rng(seed)
    mask = random.random((inputs, outputs)) < density
    if density < 1:
        mask[:, -1] = False
        mask[0] = False
        mask[inputs // 2, 0] = True
    matrix = np.where(mask, random.normal(size=mask.shape), 0).astype(np.float32)
    x = random.normal(size=(*batch, inputs)).astype(np.float32)
    pulled = random.normal(size=(*batch, outputs)).astype(np.float32)
    return mask, matrix, x, pulled


def by_links(matrix, mask):
    """A matrix's entries where the mask keeps, ordered by column and then by row."""
    inputs, outputs = mask.shape
    pairs = [(u, v) for v in range(outputs) for u in range(inputs) if mask[u, v]]
    return np.array([matrix[pair] for pair in pairs], matrix.dtype)


def l3_scores(mask, rule):
    """The sum over all paths u - z1 - z2 - v, path by path, in double precision."""
    inputs, outputs = mask.shape
    of_inputs = [set(np.flatnonzero(mask[u])) for u in range(inputs)]
    of_outputs = [set(np.flatnonzero(mask[:, v])) for v in range(outputs)]

    def factor(neighbours, end):
        degree, common = len(neighbours), len(neighbours & end)
        outside = max(degree - common, 1)
        return {
            "path_count": 1.0,
            "ra_l3": 1 / math.sqrt(degree),
            "ch1_l3": math.sqrt(common / degree),
            "ch2_l3": math.sqrt((1 + common) / outside),
            "ch3_l3": 1 / math.sqrt(outside),
        }[rule]

    scores = np.zeros(mask.shape)
    for u, v in itertools.product(range(inputs), range(outputs)):
        for z1 in of_inputs[u] - {v}:
            for z2 in (of_outputs[z1] & of_outputs[v]) - {u}:
                scores[u, v] += factor(of_outputs[z1], of_outputs[v]) * factor(
                    of_inputs[z2], of_inputs[u]
                )
    return scores
