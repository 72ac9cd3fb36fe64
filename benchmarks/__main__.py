"""Runs the benchmarks named, or all, and prints a Markdown table of each.

python -m benchmarks                 all, some minutes on two cores
python -m benchmarks steps imports   these
"""

import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jax

from benchmarks import (
    accelerators,
    compilation,
    filters,
    imports,
    latency,
    layerwise,
    libraries,
    programs,
    rewiring,
    scoring,
    selection,
    sparse,
    spiking,
    steps,
    topology,
    tracing,
)
from prunejax.names import suggestion

BENCHMARKS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "steps": steps.run,
    "scoring": scoring.run,
    "selection": selection.run,
    "filters": filters.run,
    "imports": imports.run,
    "compilation": compilation.run,
    "tracing": tracing.run,
    "latency": latency.run,
    "layerwise": layerwise.run,
    "libraries": libraries.run,
    "programs": programs.run,
    "sparse": sparse.run,
    "rewiring": rewiring.run,
    "topology": topology.run,
    "spiking": spiking.run,
    "accelerators": accelerators.run,
}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [
        [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(names: list[str]) -> int:
    """Runs and prints; returns the process's exit status."""
    if {"-h", "--help"}.intersection(names):
        print((__doc__ or "").strip())
        for name, run in BENCHMARKS.items():
            about = (sys.modules[run.__module__].__doc__ or "").strip().partition("\n")[0]
            print(f"  {name:<12} {about}")
        return 0
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        near = suggestion(unknown[0], BENCHMARKS)
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}{near}")
        return 2
    device = jax.local_devices()[0].device_kind
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, jax {jax.__version__}, Python {platform.python_version()}, "
        f"{device}, {os.cpu_count()} {platform.machine()} cores\n"
    )
    for name in names or BENCHMARKS:
        print(f"## {name}\n\n{(sys.modules[BENCHMARKS[name].__module__].__doc__ or '').strip()}\n")
        print(table(BENCHMARKS[name]()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
