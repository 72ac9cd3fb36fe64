"""Filter selection for VGG-16's 13 layers on 100 images, against the usual loop over pairs.

Seconds are CPU-seconds of all threads, after compilation, the median of several. The loop is timed
on 400 maps and 25 pairs of each layer (0.04 % of the pairs) and multiplied up. Targets: hashes and
similarity of all layers within 1 s, with entropy and selection within 1.5 s, a selection among 512
filters within 10 ms.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from prunejax import filters

VGG16 = [(64, 32)] * 2 + [(128, 16)] * 2 + [(256, 8)] * 3 + [(512, 4)] * 3 + [(512, 2)] * 3
"""Channels and side of each convolution's output at 32 x 32 inputs."""

IMAGES = 100
TAU = 0.7
MAPS_TIMED = 400
"""Feature maps that the loop hashes in each layer."""

PAIRS_TIMED = 25
"""Pairs of filters that it compares in each layer."""

VERTICES = 512


def random_maps(channels: int, side: int, seed: int) -> jax.Array:
    """Maps that share a part, so that some filters are similar and the graph has cores."""
    keys = jax.random.split(jax.random.key(seed), 3)
    common = jax.random.normal(keys[0], (IMAGES, side, side, 1))
    own = jax.random.normal(keys[1], (IMAGES, side, side, channels))
    return own + 2 * jax.random.uniform(keys[2], (channels,)) * common


def pair_loop_seconds(maps: np.ndarray) -> float:
    """What the usual loop would take on a layer: hash each map, then compare each pair's.

    Args:
      maps: [images, height, width, channels].

    Returns:
      CPU-seconds for all maps and pairs, from a share of them.
    """
    images, height, _, channels = maps.shape
    side = min(8, height)

    started = time.process_time()
    for index in range(MAPS_TIMED):
        one_map = maps[index // channels, :, :, index % channels]
        block = np.asarray(scipy.fft.dctn(one_map, type=2))[:side, :side]
        _ = block >= block.mean()
    hashing = (time.process_time() - started) / MAPS_TIMED

    bits = np.random.default_rng(0).random((channels, images, side * side)) < 0.5
    started = time.process_time()
    for j in range(1, 1 + PAIRS_TIMED):
        total = 0.0
        for t in range(images):
            total += np.count_nonzero(bits[0, t] == bits[j, t]) / bits[0, t].size
        _ = total / images
    comparing = (time.process_time() - started) / PAIRS_TIMED

    return images * channels * hashing + channels * (channels - 1) / 2 * comparing


def cpu_seconds(call: Callable[[], Any], *, repeats: int = 5) -> float:
    """The median CPU-seconds of a call, all threads together, after one that compiles."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        jax.block_until_ready(call())
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def redundancy_graphs() -> dict[str, jax.Array]:
    """Similarity matrices of many shapes of graph: random ones, clusters, nested cores, a path."""
    random = np.random.default_rng(0)
    graphs: dict[str, np.ndarray] = {}
    for density in (0.01, 0.1, 0.5, 0.9):
        upper = np.triu(random.random((VERTICES, VERTICES)) < density, 1)
        graphs[f"random, density {density}"] = upper | upper.T
    points = random.normal(size=(VERTICES, 1)) + 0.8 * random.normal(size=(VERTICES, 30))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for angle in (0.3, 0.5, 0.7):
        graphs[f"vectors, cosine above {angle}"] = points @ points.T > angle
    index = np.arange(VERTICES)
    graphs["nested cores"] = index[:, None] + index >= VERTICES
    order = random.permutation(VERTICES)
    path = np.zeros((VERTICES, VERTICES), bool)
    path[order[:-1], order[1:]] = True
    graphs["path"] = path | path.T
    return {name: jnp.asarray(edges, jnp.float32) for name, edges in graphs.items()}


def run() -> list[dict[str, Any]]:
    """Rows: what, its CPU-seconds, those of the pair loop and their ratio, and the target."""
    layers = [random_maps(channels, side, seed) for seed, (channels, side) in enumerate(VGG16)]
    loop = sum(pair_loop_seconds(np.asarray(maps)) for maps in layers)

    def similarities() -> list[jax.Array]:
        return [filters.similarity(maps) for maps in layers]

    def selections() -> list[jax.Array]:
        return [
            filters.select(filters.similarity(maps), filters.entropy(maps), TAU) for maps in layers
        ]

    rows: list[dict[str, Any]] = []
    for what, call, target in (
        ("hashes and similarity, 13 layers", similarities, 1.0),
        ("the whole selection, 13 layers", selections, 1.5),
    ):
        seconds = cpu_seconds(call)
        rows.append(
            {
                "what": what,
                "CPU s": seconds,
                "target s": target,
                "pair loop s": loop,
                "times as fast": loop / seconds,
            }
        )
    entropy = jax.random.normal(jax.random.key(0), (VERTICES,))
    for name, graph in redundancy_graphs().items():
        seconds = cpu_seconds(lambda graph=graph: filters.select(graph, entropy, 0.5), repeats=21)
        rows.append(
            {
                "what": f"Algorithm 2, {VERTICES} filters: {name}",
                "CPU s": seconds,
                "target s": 0.01,
                "pair loop s": "",
                "times as fast": "",
            }
        )
    return rows
