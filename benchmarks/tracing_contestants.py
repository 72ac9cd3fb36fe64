"""One contestant of ``benchmarks.tracing`` in a process of its own: prints what it took as JSON.

python -m benchmarks.tracing_contestants torch-pruning
"""

import copy
import functools
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 3
SIDE, CLASSES, CUT = 224, 1000, 0.3
LENGTH = 128
"""Tokens that the language model is traced with."""


class Clock:
    """Seconds of the parts of a run, the first run apart from the others."""

    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, part: str, call: Callable[[], Any]) -> Any:
        """What a call returns; its seconds are kept."""
        began, busy = time.perf_counter(), time.process_time()
        result = call()
        self.add(part, time.process_time() - busy, time.perf_counter() - began)
        return result

    def add(self, part: str, busy: float, passed: float) -> None:
        """Keeps the seconds of a part: of the CPU, and those that passed."""
        self._parts.setdefault(part, []).append((busy, passed))

    def medians(self) -> dict[str, dict[str, float]]:
        """By part: seconds of the first run, medians of the others."""
        found = {}
        for part, runs in self._parts.items():
            later = runs[1:] or runs
            found[part] = {
                "first CPU s": runs[0][0],
                "CPU s": statistics.median(busy for busy, _ in later),
                "s": statistics.median(passed for _, passed in later),
            }
        return found


def resnet50() -> dict[str, Any]:
    """ResNet-50 here: its program, the trace, ranking by L1, cutting."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from prunejax import channels, models, network

    model = models.build("resnet50", num_classes=CLASSES)
    x = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    random, clock = np.random.default_rng(0), Clock()
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape).astype(leaf.dtype)), shapes
    )

    def forward() -> Callable[..., Any]:  # a new function each time: JAX remembers those it traced
        return lambda variables, x: model.apply(variables, x, train=False)

    def rank(traced: Any) -> Any:
        return channels.rank(traced, variables, None, criterion="l1")

    def cut(scores: Any) -> Any:
        return jax.block_until_ready(scores.plan(1 - CUT).slice(variables))

    left = None
    for _ in range(1 + REPEATS):
        clock("jax.make_jaxpr", lambda: jax.make_jaxpr(forward())(variables, x))
        traced = clock("trace", lambda: network.trace(forward(), variables, x))
        scores = clock("rank", functools.partial(rank, traced))
        left = clock("cut", functools.partial(cut, scores))
    return {"seconds": clock.medians(), "kept": _size(left, "params") / _size(variables, "params")}


def _size(variables: Any, collection: str) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(variables[collection]))


def torch_pruning() -> dict[str, Any]:
    """ResNet-50 in torch: the graph of dependencies, ranking by L1, cutting.

    Its pruner ranks and cuts group by group: ranking is what its criterion takes.
    """
    import torch  # pyright: ignore[reportMissingImports]
    import torch_pruning as tp  # pyright: ignore[reportMissingImports]
    import torchvision  # pyright: ignore[reportMissingImports]

    whole, clock = torchvision.models.resnet50(), Clock()
    images = torch.randn(1, 3, SIDE, SIDE)
    model: Any = whole

    def counted(module: Any) -> int:
        return sum(each.numel() for each in module.parameters())

    for _ in range(1 + REPEATS):
        model = copy.deepcopy(whole)
        l1, spent = tp.importance.MagnitudeImportance(p=1), [0.0, 0.0]

        def importance(group: Any, l1: Any = l1, spent: list[float] = spent) -> Any:
            began, busy = time.perf_counter(), time.process_time()
            found = l1(group)
            spent[0] += time.process_time() - busy
            spent[1] += time.perf_counter() - began
            return found

        def pruner(importance: Any = importance, model: Any = model) -> Any:
            return tp.pruner.MetaPruner(
                model,
                images,
                importance=importance,
                pruning_ratio=CUT,
                ignored_layers=[model.fc],
            )

        made = clock("trace", pruner)
        began, busy = time.perf_counter(), time.process_time()
        made.step()
        clock.add("rank", *spent)
        passed = time.perf_counter() - began
        clock.add("cut", time.process_time() - busy - spent[0], passed - spent[1])
    return {"seconds": clock.medians(), "kept": counted(model) / counted(whole)}


def decoder() -> dict[str, Any]:
    """The language model from shapes alone."""
    import jax
    import jax.numpy as jnp

    from benchmarks.decoder import Decoder
    from prunejax import network

    model, clock = Decoder(), Clock()
    params, tokens = model.shapes(), jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)
    before, peaks, traced = peak(), list[float](), None
    for _ in range(3):
        clock(
            "jax.make_jaxpr",
            lambda: jax.make_jaxpr(lambda *given: model.apply(*given))(params, tokens),
        )
        before = before if peaks else peak()
        traced = clock(
            "trace", lambda: network.trace(lambda *given: model.apply(*given), params, tokens)
        )
        peaks.append(peak())
    assert traced is not None
    return {
        "seconds": clock.medians(),
        "MB before": before,
        "MB": peaks[0],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "groups": len(traced.groups),
        "share": traced.staying.share,
        "stuck": traced.staying.stuck,
        "frozen": [str(each) for each in traced.frozen() if not each.returned],
    }


def slicing(*, donate: bool) -> dict[str, Any]:
    """Cuts the language model, 2.2 GB of bfloat16, every group by the same fraction."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks.decoder import Decoder
    from prunejax import network

    model, clock = Decoder(), Clock()
    shapes = model.shapes()
    traced = network.trace(model.apply, shapes, jax.ShapeDtypeStruct((1, LENGTH), jnp.int32))
    random = np.random.default_rng(0)
    keep = {
        name: random.permutation(group.width) >= CUT * group.width
        for name, group in traced.groups.items()
    }
    plan = traced.plan(keep)
    began = peak()
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)
    jax.block_until_ready(params)
    held = resident()
    if peak() > held * 1.02:
        raise RuntimeError(f"tracing needed more ({began:.0f} MB) than the model ({held:.0f} MB)")
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params)) / 1e6
    left = clock("cut", lambda: jax.block_until_ready(plan.slice(params, donate=donate)))
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(left)) / 1e6
    return {
        "seconds": clock.medians(),
        "MB of the model": size,
        "MB kept": kept,
        "MB held before": held,
        "MB": peak(),
        "MB held after": resident(),
    }


def peak() -> float:
    """The most that the process has held in memory so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def resident() -> float:
    """What the process holds in memory now, in MB; elsewhere than on Linux the most it held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return peak()
    return pages * resource.getpagesize() / 1e6


CONTESTANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "resnet50": resnet50,
    "torch-pruning": torch_pruning,
    "decoder": decoder,
    "slice": lambda: slicing(donate=False),
    "donate": lambda: slicing(donate=True),
}

if __name__ == "__main__":
    print(json.dumps(CONTESTANTS[sys.argv[1]]()))
