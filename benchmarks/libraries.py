"""Our own lines against SciPy's and scikit-learn's, in the three places where we keep ours.

Milliseconds are those of the CPU, on one thread. "difference" is the largest difference of the
results; for a probe it is that of the objectives, relative to ours (positive: the library's is
higher). For a probe scikit-learn gets the loosest tolerance with which it comes within 1e-4 of our
objective. The matrix of the hashes is not about time: bits of hashes rest on its last digits.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import scipy.special
import threadpoolctl
from sklearn.linear_model import LogisticRegression

from benchmarks.timing import in_turns
from prunejax.filters.hashing import SIDE, dct_rows
from solvers.network.losses import cross_entropy
from solvers.network.probes import DECAY, Probe, fit_probe

CLASSES = 10

CALLS = 500
"""Of the loss at once, each takes microseconds."""

BATCHES = (10, 100, 1000)
"""Samples of the loss: a search has 10, or 10 for each of many masks."""

PROBES = {(1500, 64): 9, (1500, 512): 9, (100, 2048): 9, (200, 8192): 5, (50, 16384): 5}
"""(Samples, features) of a probe -> timed calls."""

TOLERANCES = [10.0**-power for power in range(2, 9)]

NEAR = 1e-4
"""So near scikit-learn's objective must come to ours, relative to ours."""

SIDES = range(2, 65)
"""Sides of feature maps."""


def library_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``cross_entropy`` by SciPy."""
    each = np.arange(len(logits))
    values = scipy.special.logsumexp(logits, axis=1) - logits[each, labels]
    slopes = scipy.special.softmax(logits, axis=1)
    slopes[each, labels] -= 1
    return values, slopes


def library_probe(activations: np.ndarray, labels: np.ndarray, tolerance: float) -> Probe:
    """``fit_probe`` by scikit-learn."""
    features = activations.reshape(len(activations), -1)
    scale = np.sqrt(np.square(features).sum(axis=1).mean())
    model = LogisticRegression(C=1 / (DECAY * len(features)), tol=tolerance, max_iter=20_000)
    model.fit(features / scale, labels)
    return Probe(np.asarray(model.coef_).T / scale, np.asarray(model.intercept_))


def objective(probe: Probe, activations: np.ndarray, labels: np.ndarray) -> float:
    """What a probe's fit minimises."""
    features = activations.reshape(len(activations), -1)
    scale = np.sqrt(np.square(features).sum(axis=1).mean())
    losses = cross_entropy(features @ probe.kernel + probe.bias, labels).values
    return float(losses.mean() + DECAY / 2 * np.square(probe.kernel * scale).sum())


def losses() -> list[dict[str, Any]]:
    """Rows of the cross-entropy and its gradient."""
    rows = []
    random = np.random.default_rng(0)
    for batch in BATCHES:
        logits = 3 * random.normal(size=(batch, CLASSES))
        labels = random.integers(0, CLASSES, batch)
        seconds = in_turns(
            {
                "ours": lambda given=(logits, labels): _often(cross_entropy, *given),
                "library": lambda given=(logits, labels): _often(library_cross_entropy, *given),
            },
            repeats=15,
            clock=time.process_time,
        )
        ours, library = cross_entropy(logits, labels), library_cross_entropy(logits, labels)
        difference = max(float(np.abs(a - b).max()) for a, b in zip(ours, library, strict=True))
        rows.append(_row("cross-entropy", f"{batch} samples", seconds, difference, calls=CALLS))
    return rows


def fits() -> list[dict[str, Any]]:
    """Rows of linear probes."""
    rows = []
    for (samples, features), repeats in PROBES.items():
        random = np.random.default_rng(0)
        labels = np.arange(samples) % CLASSES
        centres = random.normal(size=(CLASSES, features))
        activations = np.maximum(centres[labels] / 2 + random.normal(size=(samples, features)), 0)
        activations = activations[:, None]
        ours = objective(fit_probe(activations, labels, CLASSES), activations, labels)
        tolerance, difference = _loosest(activations, labels, ours)
        seconds = in_turns(
            {
                "ours": lambda given=(activations, labels): fit_probe(*given, CLASSES),
                "library": lambda given=(activations, labels, tolerance): library_probe(*given),
            },
            repeats=repeats,
            warmup=1,
            clock=time.process_time,
        )
        rows.append(
            _row("linear probe", f"{samples} samples, {features} features", seconds, difference)
        )
    return rows


def _loosest(activations: np.ndarray, labels: np.ndarray, ours: float) -> tuple[float, float]:
    """The loosest of scikit-learn's tolerances that comes near our objective, and how near."""
    for tolerance in TOLERANCES:
        fitted = library_probe(activations, labels, tolerance)
        difference = objective(fitted, activations, labels) / ours - 1
        if difference <= NEAR:
            return tolerance, difference
    raise ValueError(f"scikit-learn does not come within {NEAR:g} of our objective")


def matrices() -> list[dict[str, Any]]:
    """The row of the DCT-II's matrix."""
    ours = [_our_dct(side) for side in SIDES]
    library = [_library_dct(side) for side in SIDES]
    differences = [float(np.abs(a - b).max()) for a, b in zip(ours, library, strict=True)]
    seconds = in_turns(
        {
            "ours": lambda: [_our_dct(side) for side in SIDES],
            "library": lambda: [_library_dct(side) for side in SIDES],
        },
        repeats=15,
        clock=time.process_time,
    )
    unequal = sum(difference > 0 for difference in differences)
    size = f"sides {SIDES[0]} to {SIDES[-1]}: {unequal} of {len(SIDES)} differ"
    return [_row("matrix of the DCT-II", size, seconds, max(differences))]


def _our_dct(side: int) -> np.ndarray:
    return dct_rows(side, min(SIDE, side))


def _library_dct(side: int) -> np.ndarray:
    return np.asarray(scipy.fft.dct(np.eye(side), axis=0))[: min(SIDE, side)]


def _often(function: Callable[..., Any], *arguments: Any) -> None:
    for _ in range(CALLS):
        function(*arguments)


def _row(
    what: str, size: str, seconds: dict[str, float], difference: float, calls: int = 1
) -> dict[str, Any]:
    return {
        "what": what,
        "size": size,
        "ours ms": 1e3 * seconds["ours"] / calls,
        "library ms": 1e3 * seconds["library"] / calls,
        "library / ours": seconds["library"] / seconds["ours"],
        "difference": difference,
    }


def run() -> list[dict[str, Any]]:
    """Rows: what, its size, milliseconds of ours and the library's, their ratio, the difference."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        return [*losses(), *fits(), *matrices()]
