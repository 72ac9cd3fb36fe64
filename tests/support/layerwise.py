"""SparseGPT, told slowly: one weight at a time, an inverse for each."""

import numpy as np


def optimal_brain_surgeon(weights, gram, keep, dampening=0.0):
    """Removes weights input by input, the rest of each output makes up for it.

    Before each input the inverse of the Hessian of the inputs that are left is taken afresh.
    ``weights`` and ``keep`` are [inputs, outputs].
    """
    weights, hessian = np.array(weights, np.float64), np.array(gram, np.float64)
    dead = np.diag(hessian) == 0
    mean = np.diag(hessian)[~dead].mean() if not dead.all() else 1.0
    hessian += np.diag(np.where(dead, mean, dampening * mean))
    weights[dead] = 0
    for at in range(len(weights)):
        inverse = np.linalg.inv(hessian[at:, at:])
        for output in np.flatnonzero(~keep[at]):
            weights[at:, output] -= weights[at, output] / inverse[0, 0] * inverse[0]
            weights[at, output] = 0
    return weights


def adaptive(weights, gram, counts, block, dampening=0.0):
    """The same, with the masks chosen block by block: the ``counts`` of the highest saliency."""
    weights, hessian = np.array(weights, np.float64), np.array(gram, np.float64)
    hessian += dampening * np.diag(hessian).mean() * np.eye(len(hessian))
    keep = np.ones(weights.shape, bool)
    for start, count in zip(range(0, len(weights), block), counts, strict=True):
        end = min(start + block, len(weights))
        saliency = np.stack(
            [weights[at] ** 2 / np.linalg.inv(hessian[at:, at:])[0, 0] for at in range(start, end)]
        )
        highest = np.argsort(-saliency.ravel(), kind="stable")[:count]
        keep[start:end] = np.isin(np.arange(saliency.size), highest).reshape(saliency.shape)
        for at in range(start, end):
            inverse = np.linalg.inv(hessian[at:, at:])
            for output in np.flatnonzero(~keep[at]):
                weights[at:, output] -= weights[at, output] / inverse[0, 0] * inverse[0]
                weights[at, output] = 0
    return weights, keep


def n_of_m(weights, gram, n, m):
    """The same, with N of each M inputs of an output."""
    weights, hessian = np.array(weights, np.float64), np.array(gram, np.float64)
    keep = np.ones(weights.shape, bool)
    for at in range(len(weights)):
        if at % m == 0:
            saliency = np.stack(
                [
                    weights[each] ** 2 / np.linalg.inv(hessian[each:, each:])[0, 0]
                    for each in range(at, at + m)
                ]
            )
            ranks = np.argsort(np.argsort(-saliency, axis=0, kind="stable"), axis=0)
            keep[at : at + m] = ranks < n
        inverse = np.linalg.inv(hessian[at:, at:])
        for output in np.flatnonzero(~keep[at]):
            weights[at:, output] -= weights[at, output] / inverse[0, 0] * inverse[0]
            weights[at, output] = 0
    return weights, keep


def least_squares(weights, gram, keep):
    """For each output the best weights on the inputs that it keeps."""
    best = np.zeros(weights.shape)
    for output in range(weights.shape[1]):
        kept = np.flatnonzero(keep[:, output])
        wanted = gram[kept] @ weights[:, output]
        best[kept, output] = np.linalg.solve(gram[np.ix_(kept, kept)], wanted)
    return best


def error(weights, other, gram):
    """The squared error of what they put out."""
    difference = np.asarray(other, np.float64) - np.asarray(weights, np.float64)
    return float(np.sum(difference * (gram @ difference)))


def patches(images, window, stride, padding):
    """Images [n, height, width, channels] as rows [samples, window places x channels]."""
    padded = np.pad(images, ((0, 0), padding[0], padding[1], (0, 0)))
    rows = []
    for image in padded:
        for top in range(0, image.shape[0] - window[0] + 1, stride):
            for left in range(0, image.shape[1] - window[1] + 1, stride):
                rows.append(image[top : top + window[0], left : left + window[1]].ravel())
    return np.stack(rows)
