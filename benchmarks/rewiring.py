"""Updates of the topology: their time, against sorting the dense matrix, and as layers grow.

Layers are those of 784-1000-1000-1000 at 99 % sparsity, or of n x n neurons with ten links per
neuron. Asked: random regrowth of the three layers <= 15 ms; CH3-L3 of one of 1000 x 1000 <= 40 ms;
an update of a million entries at least 50 times faster than to sort them once. "exponent" is that
of the neurons in the seconds, from 1,000 to 10,000. The last rows are training steps of ResNet-20,
between two changes of its masks, by ``during_training.sparsified`` against ``training.masked``.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turns
from prunejax import models, rewiring, sparse, training
from prunejax.rewiring import State, during_training, l3

WIDTHS = (784, 1000, 1000, 1000)
DEGREE = 10
SIZES = (1000, 4000, 10_000)
ASKED = {"random, 3 layers": 15.0, "ch3_l3, 1000 x 1000": 40.0}
"""Name -> milliseconds at most."""


def network(shapes: list[tuple[int, int]], share: float) -> State:
    """Layers of random links and weights, with slots of momentum."""
    params, topology = {}, {}
    keys = iter(jax.random.split(jax.random.key(0), 2 * len(shapes)))
    for position, shape in enumerate(shapes):
        links = sparse.erdos_renyi(next(keys), shape, round(share * shape[0] * shape[1]))
        topology[f"layer{position}"] = {"kernel": links}
        params[f"layer{position}"] = {"kernel": jax.random.normal(next(keys), (len(links),))}
    return State(params, topology, jax.tree.map(jnp.zeros_like, params))


def updating(state: State, regrowth: str, **options: Any) -> Callable[[], Any]:
    """One update per call, always of the same network."""
    chain = tuple(f"{name}/kernel" for name in state.params)
    return functools.partial(
        rewiring.evolve, jax.random.key(1), state, regrowth=regrowth, chain=chain, **options
    )


@jax.jit
def sorting(scores: Any) -> Any:
    """The order of all entries: what an update by sorting needs at least once."""
    return jnp.argsort(scores.ravel())


def resnet_steps() -> dict[str, Callable[[], Any]]:
    """A training step of ResNet-20 per call, by wrapper."""
    model = models.build("resnet20", num_classes=10)
    images = jax.random.normal(jax.random.key(0), (64, 32, 32, 3))
    labels = jnp.arange(64) % 10
    params, stats = training.init_variables(model, jax.random.key(1), images)
    plain = training.optimizer("sgd", 0.01)
    never = 10**9
    wrapped = {
        "masked": training.masked(plain),
        "sparsified, gradual": during_training.sparsified(
            plain, "gradual", sparsity=0.9, every=never, end=never
        ),
        "sparsified, rigl": during_training.sparsified(
            plain, "rigl", sparsity=0.9, every=never, end=never
        ),
    }

    def stepper(tx: Any) -> Callable[[], Any]:
        step = training.make_train_step(model, tx)
        kept = training.init_state(params, stats, tx, key=jax.random.key(2))

        def call() -> Any:
            nonlocal kept
            kept = step(kept, (images, labels))
            return kept.params

        return call

    return {name: stepper(tx) for name, tx in wrapped.items()}


def run() -> list[dict[str, Any]]:
    """Measures; one row per task and way."""
    rows = []

    def add(task: str, seconds: dict[str, float], baseline: str | None = None) -> None:
        for way, taken in seconds.items():
            ratio = "" if baseline in (None, way) else seconds[baseline] / taken
            milliseconds = 1000 * taken
            row = {"task": task, "way": way, "ms": milliseconds, "times faster": ratio}
            asked = ASKED.get(f"{way}, {task}", "")
            rows.append(row | {"asked ms": asked, "exponent": ""})

    three = network([*itertools.pairwise(WIDTHS)], 0.01)
    ways = ("random", "ch3_l3")
    add("3 layers", in_turns({way: updating(three, way) for way in ways}, repeats=15))

    one = network([(1000, 1000)], 0.01)
    links = one.topology["layer0"]["kernel"]
    ours = jax.jit(functools.partial(l3.l3_scores, rule="ch3_l3"))
    dense = jax.jit(functools.partial(l3.path_scores, rule="ch3_l3"))
    scored = {
        "ch3_l3": lambda: ours(links),
        "ch3_l3 by matrix products": lambda: dense(links),
    }
    add("1000 x 1000", in_turns(scored, repeats=9), "ch3_l3 by matrix products")

    weights, mask = sparse.to_dense(one.params, one.topology)
    as_mask = State(weights, mask, jax.tree.map(jnp.zeros_like, weights))
    scores = jax.random.uniform(jax.random.key(2), (1000, 1000))
    contestants = {
        "argsort, once": lambda: sorting(scores),
        "random, as a mask": updating(as_mask, "random"),
        "random, as links": updating(one, "random"),
    }
    add("a million entries", in_turns(contestants, repeats=7), "argsort, once")

    for way in ways:
        taken = {}
        for size in SIZES:
            grown = network([(size, size)], DEGREE / size)
            taken[size] = in_turns({way: updating(grown, way)}, repeats=5)[way]
            add(f"{size:,} x {size:,}, {DEGREE} links per neuron", {way: taken[size]})
        steepness = math.log(taken[SIZES[-1]] / taken[SIZES[0]]) / math.log(SIZES[-1] / SIZES[0])
        rows[-1]["exponent"] = steepness
    add("a step of ResNet-20, 64 images", in_turns(resnet_steps(), repeats=7), "masked")
    return rows
