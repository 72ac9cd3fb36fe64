"""The k-core method once more, slowly, from the paper: NumPy, SciPy and networkx."""

import networkx as nx
import numpy as np
import scipy.fft


def intermediates(model, variables, x):
    """What a linen model's modules return, by the path of the module."""
    _, state = model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
    found = {}

    def visit(path, tree):
        for key, value in tree.items():
            if key == "__call__":
                found["/".join(path)] = np.asarray(value[0])
            else:
                visit((*path, key), value)

    visit((), state["intermediates"])
    return found


def kernel(variables, layer):
    """The kernel of a linen layer, in double precision."""
    tree = variables["params"]
    for part in layer.split("/"):
        tree = tree[part]
    return np.asarray(tree["kernel"], np.float64)


def l1(variables, layer):
    """The sum of each filter's absolute weights."""
    weights = kernel(variables, layer)
    return np.array([np.abs(weights[..., c]).sum() for c in range(weights.shape[-1])])


def entropy(values):
    """Eq. 3 with 256 bins from the lowest to the highest value."""
    counts, _ = np.histogram(np.asarray(values, np.float64).ravel(), bins=256)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def entropies(maps):
    """Eq. 3 for each filter of [images, height, width, channels]."""
    return np.array([entropy(maps[..., c]) for c in range(maps.shape[-1])])


def similarity(maps):
    """Eq. 1: in which share of the bits two filters' hashes agree."""
    images, height, width, channels = maps.shape
    bits = []
    for c in range(channels):
        of_filter = []
        for t in range(images):
            columns = scipy.fft.dct(maps[t, :, :, c].astype(np.float64), type=2, axis=0)
            block = scipy.fft.dct(columns, type=2, axis=1)[: min(8, height), : min(8, width)]
            of_filter += (block >= block.mean()).ravel().tolist()
        bits.append(of_filter)
    bits = np.array(bits)
    agreeing = np.array([[np.sum(one == other) for other in bits] for one in bits])
    return agreeing.astype(np.float32) / np.float32(bits.shape[1])


def graph(matrix, tau, *, inclusive=False):
    """Algorithm 1."""
    made = nx.empty_graph(len(matrix))
    tau = np.float32(tau)
    for i in made:
        for j in range(i):
            if matrix[i, j] > tau or (inclusive and matrix[i, j] == tau):
                made.add_edge(i, j)
    return made


def select(matrix, worth, tau, *, inclusive=False, least=1):
    """Algorithm 2, then the best of the removed until there are enough; a bool array."""
    left = graph(matrix, tau, inclusive=inclusive)
    while left.number_of_edges():
        k = max(degree for _, degree in left.degree)
        while not len(core := nx.k_core(left, k)):
            k -= 1
        for component in list(nx.connected_components(core)):
            best = max(sorted(component), key=lambda vertex: worth[vertex])
            left.remove_nodes_from(component - {best})
    kept = set(left)
    removed = sorted(set(range(len(matrix))) - kept, key=lambda vertex: (-worth[vertex], vertex))
    kept.update(removed[: max(0, least - len(kept))])
    return np.isin(np.arange(len(matrix)), list(kept))
