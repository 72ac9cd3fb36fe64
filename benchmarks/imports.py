"""What importing the core, and more of it, adds to ``import jax.numpy``; processes of their own."""

import statistics
import subprocess
import sys
import time
from typing import Any

BASE = "import jax.numpy"

STATEMENTS = (
    BASE,
    f"{BASE}, prunejax",
    f"{BASE}; from prunejax import allocation, criteria, masks, pruning",
    f"{BASE}, optax",
    f"{BASE}; from prunejax import allocation, criteria, masks, pruning, training",
    f"{BASE}; from prunejax import channels, models, network, rewiring",
)


def run() -> list[dict[str, Any]]:
    """Rows: statement, seconds (median of 5), seconds beyond the first (wanted <= 0.2)."""
    seconds: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for turn in range(6):
        for statement in STATEMENTS:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            if turn:
                seconds[statement].append(time.perf_counter() - started)
    medians = {statement: statistics.median(values) for statement, values in seconds.items()}
    return [
        {"statement": statement, "s": value, "beyond jax s": value - medians[BASE]}
        for statement, value in medians.items()
    ]
