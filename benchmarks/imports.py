"""What ``import prunejax`` adds to ``import jax``, in processes of their own."""

import statistics
import subprocess
import sys
import time
from typing import Any

STATEMENTS = (
    "import jax",
    "import jax, prunejax",
    "import jax, prunejax.masks, prunejax.allocation, prunejax.criteria",
    "import jax, prunejax.training, prunejax.models, prunejax.data",
)


def run() -> list[dict[str, Any]]:
    """Rows: statement, seconds (median of 5), seconds beyond ``import jax`` (wanted <= 0.5)."""
    seconds: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for turn in range(6):
        for statement in STATEMENTS:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            if turn:
                seconds[statement].append(time.perf_counter() - started)
    medians = {statement: statistics.median(values) for statement, values in seconds.items()}
    return [
        {"statement": statement, "s": value, "beyond jax s": value - medians["import jax"]}
        for statement, value in medians.items()
    ]
