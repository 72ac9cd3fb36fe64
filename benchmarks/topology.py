"""Graphs of real networks: encoding, the metrics, degrees without edges; networkx where it can.

Masks are random, all layers as sparse as each other; images 32 x 32 in colour. Each network has a
process of its own, whose largest memory is told. Metrics are all but motif4. Asked: encoding Conv-6
with 19 million edges <= 1.5 s and 1.6 GB, 128 million edges in 2.5 GB; local metrics on Conv-6 <=
50 ms; metrics of ResNet-20 at .98 <= 1.5 s, at .9 <= 10 s, of Conv-6 <= 50 s and 2.5 GB. The last
rows are a lenet5 at .98 by networkx. "exponent" is that of the edges in the seconds, from ResNet-20
at .98 to Conv-6. (Motifs by networkx would take hours.)
"""

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

from prunejax import masks as masks_lib
from prunejax import models, network, topology
from prunejax.topology.views import Views

CASES = (
    ("resnet20", 0.98, True),
    ("resnet20", 0.9, True),
    ("conv6", 0.92, True),
    ("wide_resnet28_2", 0.34, False),
)
"""Model, sparsity, whether its graph is measured. The last two have the 19 and 128 million edges
that methods leave at .9 and at .6, where layers are not all as sparse."""


def case(name: str, sparsity: float, shape: tuple[int, ...] = (32, 32, 3)) -> Any:
    """A traced network, masks and parameters."""
    model = models.build(name, num_classes=10)
    x = jnp.zeros((1, *shape))
    described = jax.eval_shape(model.init, jax.random.key(0), x)
    traced = network.trace(model.apply, described, x)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), described["params"]
    )
    made = jax.tree.map(lambda leaf: rng.random(leaf.shape) >= sparsity, masks_lib.make(params))
    return traced, made, params


def measured(name: str, sparsity: float, metrics: bool) -> dict[str, Any]:
    """Seconds and memory of one network, in this process."""
    traced, made, params = case(name, sparsity)
    tiny = topology.encode(*case("lenet5", 0.98, (12, 12, 1)))
    topology.measure(tiny)  # compiles what numba compiles
    started = time.perf_counter()
    graph = topology.encode(traced, made, params)
    found: dict[str, Any] = {"encoding": time.perf_counter() - started}
    found["encoding_memory"] = _memory()
    if metrics:
        tables = topology.tables(traced)
        on_device = jax.tree.map(jnp.asarray, (made, params))
        times = []
        for _ in range(9):
            started = time.perf_counter()
            jax.block_until_ready(topology.local(tables, *on_device))
            times.append(time.perf_counter() - started)
        found["local"] = statistics.median(times[2:])
        for _ in range(2):
            started = time.perf_counter()
            jax.block_until_ready(topology.local(tables, *on_device, two_hops=True))
            found["two_hops"] = time.perf_counter() - started
        started = time.perf_counter()
        topology.measure(graph, [each for each in topology.METRICS if each != "motif4"])
        found["metrics"] = time.perf_counter() - started
    return found | {"nodes": graph.nodes, "edges": graph.edges, "memory": _memory()}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def by_networkx() -> list[dict[str, Any]]:
    """The same of a small network by networkx, as one would write it."""
    traced, made, params = case("lenet5", 0.98, (28, 28, 1))
    graph = topology.encode(traced, made, params)
    views = Views(graph)
    ours, theirs = {}, {}
    started = time.perf_counter()
    way, both = graph.to_networkx(), nx.Graph()
    both.add_nodes_from(way)
    both.add_edges_from(way.edges)
    built = time.perf_counter() - started
    plain = {
        "n2": lambda: [len(nx.single_source_shortest_path_length(way, node, 2)) for node in way],
        "k_core": lambda: nx.core_number(both),
        "components": lambda: nx.number_connected_components(both),
        "cut_edges": lambda: list(nx.bridges(both)),
        "cut_nodes": lambda: list(nx.articulation_points(both)),
    }
    rows = [
        {"what": f"lenet5 at .98, {graph.edges:,} edges: graph in networkx", "s": built},
    ]
    for name, call in plain.items():
        topology.METRICS[name].of(Views(graph))
        started = time.perf_counter()
        topology.METRICS[name].of(views)
        ours[name] = time.perf_counter() - started
        started = time.perf_counter()
        call()
        theirs[name] = time.perf_counter() - started
        rows.append(
            {"what": f"{name} by networkx", "s": theirs[name], "faster": theirs[name] / ours[name]}
        )
    return rows


def run() -> list[dict[str, Any]]:
    """Rows of the table."""
    rows: list[dict[str, Any]] = []
    times: dict[tuple[str, float], dict[str, Any]] = {}
    for name, sparsity, metrics in CASES:
        command = [sys.executable, "-m", "benchmarks.topology", name, str(sparsity), str(metrics)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        times[name, sparsity] = found
        said = f"{name} at {sparsity:g}, {found['edges']:,} edges"
        rows.append({"what": f"{said}: encoding", "s": found["encoding"],
                     "memory GB": found["encoding_memory"]})  # fmt: skip
        if metrics:
            rows.append({"what": f"{said}: local metrics", "s": found["local"]})
            rows.append({"what": f"{said}: the same with n2", "s": found["two_hops"]})
            rows.append({"what": f"{said}: metrics", "s": found["metrics"],
                         "memory GB": found["memory"]})  # fmt: skip
    few, many = times["resnet20", 0.98], times["conv6", 0.92]
    spread = math.log(many["edges"] / few["edges"])
    for part in ("encoding", "metrics"):
        rows.append(
            {"what": f"{part}: exponent", "exponent": math.log(many[part] / few[part]) / spread}
        )
    rows += by_networkx()
    columns = ("what", "s", "memory GB", "faster", "exponent")
    return [{column: row.get(column, "") for column in columns} for row in rows]


if __name__ == "__main__":
    model, level, also = sys.argv[1:]
    print(json.dumps(measured(model, float(level), also == "True")))
