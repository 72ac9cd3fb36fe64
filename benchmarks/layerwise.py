"""Layer-wise criteria on one layer of 1024 inputs and 1024 outputs, beside plain NumPy."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from benchmarks.timing import in_turns
from prunejax import layerwise
from prunejax.network import trace

WIDTH, SAMPLES, BLOCK = 1024, 4096, 128


def run() -> list[dict[str, Any]]:
    """Rows: what is done, from 4096 samples to weights or scores; seconds; NumPy's seconds."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "kernel": jax.random.normal(keys[0], (WIDTH, WIDTH)) / math.sqrt(WIDTH),
        "last": jnp.ones((WIDTH, 1)),
    }
    mixing = jax.random.normal(keys[1], (WIDTH, WIDTH)) / math.sqrt(WIDTH)
    x = jax.random.normal(keys[2], (SAMPLES, WIDTH)) @ mixing
    network = trace(lambda params, x: x @ params["kernel"] @ params["last"], params, x)
    made = {"kernel": jnp.ones((WIDTH, WIDTH), bool), "last": None}
    kernel, samples = jax.device_get((params["kernel"], x))

    def sparsegpt(**how: Any) -> Any:
        return layerwise.sparsegpt(network, params, [x], masks=made, **how).variables["kernel"]

    contestants: dict[str, Any] = {
        "SparseGPT, 0.5": lambda: sparsegpt(sparsity=0.5),
        "SparseGPT, 0.5, NumPy": lambda: in_numpy(kernel, samples),
        "SparseGPT, 2:4": lambda: sparsegpt(pattern="2:4"),
        "Wanda": lambda: layerwise.wanda(network, params, [x], masks=made),
        "Wanda, NumPy": lambda: np.abs(kernel) * np.linalg.norm(samples, axis=0)[:, None],
    }
    seconds = in_turns(contestants, repeats=9, warmup=1)
    rows = []
    for name, ours in seconds.items():
        if not name.endswith("NumPy"):
            theirs = seconds.get(f"{name}, NumPy")
            ratio = "-" if theirs is None else theirs / ours
            rows.append({"what": name, "s": ours, "NumPy s": theirs or "-", "NumPy / ours": ratio})
    return rows


def in_numpy(kernel: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """SparseGPT at a sparsity of 0.5, line by line as the paper's algorithm 1 has it."""
    weights, hessian = kernel.copy(), samples.T @ samples
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(len(hessian), dtype=hessian.dtype)
    upper = scipy.linalg.cholesky(np.linalg.inv(hessian))
    diagonal = np.diag(upper)
    for start in range(0, len(weights), BLOCK):
        end = start + BLOCK
        saliency = (weights[start:end] / diagonal[start:end, None]) ** 2
        threshold = np.partition(saliency.ravel(), saliency.size // 2)[saliency.size // 2]
        keep, errors = saliency >= threshold, np.empty_like(saliency)
        for at in range(start, end):
            left = np.where(keep[at - start], weights[at], 0)
            errors[at - start] = (weights[at] - left) / diagonal[at]
            weights[at:end] -= np.outer(upper[at, at:end], errors[at - start])
            weights[at] = left
        weights[end:] -= upper[start:end, end:].T @ errors
    return weights
