"""A training step of spiking networks, beside snnTorch, SpikingJelly, spyx and plain torch.

The networks: 28x28 32C3-AP-64C3-AP-128-10, T = 4, 64 images; 784-512-512-10, T = 4, 128 images;
direct coding, an arc tangent for the gradient, cross entropy of logits averaged over time, SGD with
momentum. Each contestant is a process of its own on one core, in turns, three times; the median
step of the best time counts. Memory is the most that the process held, less what it held when the
network was made. The others join in where they are installed: pip install -e '.[spiking-rivals]'.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from typing import Any

NETWORKS = {"conv": 64, "mlp": 128}
"""Network -> images per step."""

RIVALS = {
    "prunejax": "jax",
    "prunejax, masked": "jax",
    "torch, all steps at once": "torch",
    "snntorch": "snntorch",
    "spikingjelly": "spikingjelly",
    "spyx": "spyx",
}
"""Contestant -> what has to be installed."""

ASKED = {"conv": 1.6, "mlp": 1.5}
"""How many times as fast as snnTorch at least."""

TURNS = 3
STEPS = (1, 2, 4, 8, 16)
"""Numbers of time steps for which time and memory are shown."""


def measured(contestant: str, network: str, timesteps: int) -> dict[str, float]:
    """Milliseconds per step and MB, of a process of its own."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "XLA_FLAGS": flags.strip()}
    asked = [sys.executable, "-m", "benchmarks.spiking_rivals", contestant, network, str(timesteps)]
    done = subprocess.run(
        asked, env={**os.environ, **one}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{contestant} failed: {done.stderr[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run() -> list[dict[str, Any]]:
    """Rows: network, T, contestant, milliseconds per step, times as fast as snnTorch, MB."""
    there = [name for name, needed in RIVALS.items() if importlib.util.find_spec(needed)]
    rows = []
    for network in NETWORKS:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in there}
        for _ in range(TURNS):
            for name in there:
                found[name].append(measured(name, network, 4))
        best = {name: min(one["ms"] for one in of) for name, of in found.items()}
        memory = {name: statistics.median(one["mb"] for one in of) for name, of in found.items()}
        for name in there:
            base = best.get("snntorch")
            rows.append(
                {
                    "network": network,
                    "T": 4,
                    "what": name,
                    "step ms": best[name],
                    "snntorch / this": "" if base is None else base / best[name],
                    "asked": ASKED[network] if name == "prunejax" and base is not None else "",
                    "MB": memory[name],
                }
            )
        for name in ("prunejax", *(["snntorch"] if "snntorch" in there else [])):
            for steps in STEPS:
                one = measured(name, network, steps)
                rows.append(
                    {
                        "network": network,
                        "T": steps,
                        "what": f"{name}, by T",
                        "step ms": one["ms"],
                        "snntorch / this": "",
                        "asked": "",
                        "MB": one["mb"],
                    }
                )
    missing = [name for name in RIVALS if name not in there]
    if missing:
        said = f"not installed: {', '.join(missing)}"
        rows.append({**dict.fromkeys(rows[-1], ""), "what": said})
    return rows
