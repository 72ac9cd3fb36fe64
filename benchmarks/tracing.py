"""How long ``network.trace`` takes, and to cut after it, beside Torch-Pruning and on 1.1 billion.

Seconds of the CPU and those that pass; the first run, which compiles, stands apart from the median
of the others. ResNet-50 is ranked by the L1 norm of the kernels that make its channels, and 30 %
of every group is cut, here and by Torch-Pruning, whose part "trace" is making its pruner: it builds
the graph and lists the groups. "Whole" is trace, rank and cut. The language model has 22 layers of
width 2048 and is traced from shapes alone; then its 2.2 GB of bfloat16 are cut. Each of these is a
process of its own; the first two take turns. MB is the most that the process held.
Targets: ResNet-110 within 1 s; ResNet-50 within 1.3 of ``jax.make_jaxpr``, the whole ahead of
Torch-Pruning, which joins in where it is installed: pip install -e '.[tracing-rivals]'.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from prunejax import models, network

CASES = {
    "resnet20": 32,
    "resnet56": 32,
    "resnet110": 32,
    "vgg16": 32,
    "densenet40": 32,
    "resnet50": 224,
}
"""Model -> side of the image."""

COLUMNS = ("network", "what", "first CPU s", "CPU s", "s", "times", "of", "asked", "MB", "about")
TURNS = 2

Rows = list[dict[str, Any]]


def row(**entries: Any) -> dict[str, Any]:
    """A row of the table; what is not given stays empty."""
    return {column: entries.get(column.replace(" ", "_"), "") for column in COLUMNS}


def measured(name: str) -> dict[str, Any]:
    """The row of a model: seconds of its second trace."""
    model = models.build(name, num_classes=10)
    x = jax.ShapeDtypeStruct((1, CASES[name], CASES[name], 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    seconds, traced = [], None
    for _ in range(2):
        started, busy = time.perf_counter(), time.process_time()
        traced = network.trace(
            lambda variables, x: model.apply(variables, x, train=False), variables, x
        )
        seconds.append((time.process_time() - busy, time.perf_counter() - started))
    assert traced is not None
    return row(
        network=name,
        what="trace",
        first_CPU_s=seconds[0][0],
        CPU_s=seconds[1][0],
        s=seconds[1][1],
        asked="1 s" if name == "resnet110" else "",
        about=f"{len(traced.layers)} layers, {len(traced.groups)} groups",
    )


def contestant(name: str) -> dict[str, Any]:
    """What a process of its own measures, on one thread."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "XLA_FLAGS": flags.strip()}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tracing_contestants", name],
        env={**os.environ, **one},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])


def resnet50() -> Rows:
    """ResNet-50: the trace in units of ``jax.make_jaxpr``, and everything beside Torch-Pruning."""
    needed = ("torch", "torchvision", "torch_pruning")
    missing = [name for name in needed if not importlib.util.find_spec(name)]
    names = ["resnet50"] if missing else ["resnet50", "torch-pruning"]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(TURNS):
        for name in names:
            runs[name].append(contestant(name))
    seconds = {name: _together([run["seconds"] for run in of]) for name, of in runs.items()}
    ours, theirs = seconds["resnet50"], seconds.get("torch-pruning")
    traced = ours["trace"]["CPU s"] / ours["jax.make_jaxpr"]["CPU s"]
    rows = [_row("jax.make_jaxpr", ours["jax.make_jaxpr"])]
    rows.append(_row("trace", ours["trace"], times=traced, of="make_jaxpr", asked=1.3))
    for part in ("rank", "cut", "whole"):
        ratio: dict[str, Any] = {"about": f"{runs['resnet50'][0]['kept']:.3f} of the weights stay"}
        ratio = ratio if part == "cut" else {}
        if theirs is not None:
            ratio |= {"times": ours[part]["CPU s"] / theirs[part]["CPU s"], "of": "Torch-Pruning"}
        rows.append(_row(part, ours[part], asked=1.0 if part == "whole" else "", **ratio))
    if theirs is None:
        said = f"not installed: {', '.join(missing)}"
        return [*rows, row(network="resnet50 (1000)", what="Torch-Pruning", about=said)]
    kept = f"{runs['torch-pruning'][0]['kept']:.3f} of the weights stay"
    return rows + [
        _row(f"Torch-Pruning: {part}", theirs[part], about=kept if part == "cut" else "")
        for part in ("trace", "rank", "cut", "whole")
    ]


def _together(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The medians of several processes, part by part, and the sum of trace, rank and cut."""
    found = {
        part: {kind: statistics.median(run[part][kind] for run in runs) for kind in runs[0][part]}
        for part in runs[0]
    }
    parts = [found[part] for part in ("trace", "rank", "cut")]
    return found | {"whole": {kind: sum(part[kind] for part in parts) for kind in parts[0]}}


def _row(what: str, seconds: dict[str, float], **entries: Any) -> dict[str, Any]:
    named = {kind.replace(" ", "_"): value for kind, value in seconds.items()}
    return row(**{"network": "resnet50 (1000)", "what": what, **named, **entries})


def decoder() -> Rows:
    """The language model: traced from shapes, then cut with and without giving up its arrays."""
    run = contestant("decoder")
    seconds, name = run["seconds"], f"decoder, {run['parameters'] / 1e9:.2f} billion"
    ratio = seconds["trace"]["CPU s"] / seconds["jax.make_jaxpr"]["CPU s"]
    stay = f"{run['groups']} groups; {run['share']:.1%} of the channels can go"
    reasons = "".join(f"; {reason}" for reason in run["frozen"][:2])
    rows = [
        _row("jax.make_jaxpr", seconds["jax.make_jaxpr"], network=name, MB=run["MB before"]),
        _row(
            "trace",
            seconds["trace"],
            network=name,
            times=ratio,
            of="make_jaxpr",
            MB=run["MB"],
            about=stay + reasons,
        ),
    ]
    for what, title in (("slice", "plan.slice"), ("donate", "plan.slice, donate=True")):
        run = contestant(what)
        model, cut = run["MB of the model"], run["seconds"]["cut"]
        rows.append(
            row(
                network=name,
                what=title,
                first_CPU_s=cut["first CPU s"],
                times=(run["MB"] - run["MB held before"] + model) / model,
                of="the model's size at most",
                MB=run["MB"],
                about=f"{model:.0f} MB, of which {run['MB kept']:.0f} stay; before "
                f"{run['MB held before']:.0f}, after {run['MB held after']:.0f}",
            )
        )
    return rows


def run() -> Rows:
    """Rows: network, what, CPU-seconds of the first run and of the others, seconds, ratios, MB."""
    return [*(measured(name) for name in CASES), *resnet50(), *decoder()]
