"""Masks that change during training, slow and obvious, on one leaf or on a few."""

import math

import numpy as np


def largest(scores, count, among):
    """So many of the highest scores of those that are True; no two are equal."""
    order = [i for i in np.argsort(-scores.ravel(), kind="stable") if among.ravel()[i]]
    mask = np.zeros(scores.size, bool)
    mask[order[:count]] = True
    return mask.reshape(scores.shape)


def largest_together(scores, count, among):
    """The same over several leaves; each keeps its best one."""
    names = list(scores)
    flat = np.concatenate([scores[name].ravel() for name in names])
    alive = np.concatenate([among[name].ravel() for name in names])
    start, first = 0, []
    for name in names:
        here = slice(start, start + scores[name].size)
        first.append(start + int(np.argmax(np.where(alive[here], flat[here], -np.inf))))
        start += scores[name].size
    flat = flat.astype(np.float64)
    flat[first] = np.inf
    kept = largest(flat, count, alive)
    parts = np.split(kept, np.cumsum([scores[name].size for name in names])[:-1])
    return {name: part.reshape(scores[name].shape) for name, part in zip(names, parts, strict=True)}


def cubic(change, changes):
    """Which part of the sparsity is reached (Zhu & Gupta 2017, equation 1)."""
    return 1 - (1 - change / changes) ** 3


def drop_and_grow(weights, mask, growth, fraction):
    """The smallest links of a leaf go, and the free places of the highest growth come."""
    dropped = math.floor(fraction * mask.sum() + 1e-9)
    stay = largest(np.abs(weights), int(mask.sum()) - dropped, mask)
    return stay | largest(growth, dropped, ~stay)


def n_of_m(scores, kept, of, axis):
    """Loops over groups of neighbours along an axis."""
    moved = np.moveaxis(scores, axis, -1)
    mask = np.zeros(moved.shape, bool)
    for place in np.ndindex(*moved.shape[:-1]):
        for start in range(0, moved.shape[-1], of):
            best = np.argsort(-moved[place][start : start + of], kind="stable")[:kept]
            mask[place][start + best] = True
    return np.moveaxis(mask, -1, axis)
