"""Networks of graphs, sets, and of other networks' kernels."""

import jax
import jax.numpy as jnp

from tests.network.zoo.entry import Built, Entry, function, image

WIDTH, HEADS = 8, 2


def ring(nodes, features=5):
    """A graph in which each node has two neighbours."""
    here = jnp.arange(nodes)
    return {
        "nodes": image(nodes, features),
        "senders": jnp.concatenate([here, here]),
        "receivers": jnp.concatenate([(here + 1) % nodes, (here + 2) % nodes]),
    }


def on_graphs(forward, shapes):
    built = function(forward, shapes, ring(6))
    return Built(built.apply_fn, built.variables, built.x, ring(7))


def gcn(variables, graph):
    """Kipf and Welling's: neighbours are summed, divided by the roots of both degrees."""
    x, senders, receivers = graph["nodes"], graph["senders"], graph["receivers"]
    here = jnp.arange(len(x))
    senders, receivers = (jnp.concatenate([ends, here]) for ends in (senders, receivers))
    ones = jnp.ones(len(senders))
    sent, received = (
        jax.lax.rsqrt(jnp.maximum(jax.ops.segment_sum(ones, ends, len(x)), 1.0))
        for ends in (senders, receivers)
    )
    for number, kernel in enumerate(variables["kernels"]):
        x = (x @ kernel) * sent[:, None]
        x = jax.ops.segment_sum(x[senders], receivers, len(x)) * received[:, None]
        x = jax.nn.relu(x) if number < 2 else x
    return x


GCN = {"kernels": [(5, WIDTH), (WIDTH, 9), (9, 4)]}


def gat(variables, graph):
    """Attention over the edges that a node receives, several heads."""
    x, senders, receivers = graph["nodes"], graph["senders"], graph["receivers"]
    nodes = len(x)
    for layer in variables["layers"]:
        y = jnp.einsum("ni,ihd->nhd", x, layer["kernel"])
        scores = (y * layer["from"]).sum(-1)[senders] + (y * layer["to"]).sum(-1)[receivers]
        scores = jax.nn.leaky_relu(scores, 0.2)
        largest = jax.ops.segment_max(scores, receivers, nodes)
        weights = jnp.exp(scores - jax.lax.stop_gradient(largest)[receivers])
        weights = weights / jax.ops.segment_sum(weights, receivers, nodes)[receivers]
        y = jax.ops.segment_sum(weights[..., None] * y[senders], receivers, nodes)
        x = jax.nn.elu(y.reshape(nodes, -1) + layer["bias"])
    return x @ variables["last"]


def gat_layer(fan_in):
    return {
        "kernel": (fan_in, HEADS, WIDTH),
        "from": (HEADS, WIDTH),
        "to": (HEADS, WIDTH),
        "bias": (HEADS * WIDTH,),
    }


GAT = {"layers": [gat_layer(5), gat_layer(HEADS * WIDTH)], "last": (HEADS * WIDTH, 4)}


def messages(variables, graph):
    """Message passing with edges that keep a state, as in graph networks and MeshGraphNet."""
    senders, receivers = graph["senders"], graph["receivers"]
    x = jax.nn.relu(graph["nodes"] @ variables["node"])
    edges = jax.nn.relu((graph["nodes"][senders] - graph["nodes"][receivers]) @ variables["edge"])
    for layer in variables["layers"]:
        told = jnp.concatenate([edges, x[senders], x[receivers]], axis=-1)
        edges = edges + jax.nn.relu(told @ layer["wide"]) @ layer["narrow"]
        heard = jnp.zeros((len(x), edges.shape[-1])).at[receivers].add(edges)
        heard = jnp.concatenate([x, heard], axis=-1)
        x = x + jax.nn.relu(heard @ layer["up"]) @ layer["down"]
    return x @ variables["last"]


MESSAGES = {
    "node": (5, 8),
    "edge": (5, 6),
    "layers": [
        {"wide": (22, 9), "narrow": (9, 6), "up": (14, 10), "down": (10, 8)} for _ in range(2)
    ],
    "last": (8, 4),
}


def points(variables, x):
    """PointNet: a layer for each point, edges to the nearest, and a maximum over all points."""
    distances = jnp.square(x[:, :, None] - x[:, None]).sum(axis=-1)
    _, nearest = jax.lax.top_k(-distances, 3)
    x = jax.nn.relu(x @ variables["first"])
    around = jax.vmap(lambda x, nearest: x[nearest])(x, nearest)
    apart = jnp.concatenate([jnp.broadcast_to(x[:, :, None], around.shape), around], axis=-1)
    x = jax.nn.relu(apart @ variables["edges"]).max(axis=2)
    return jax.nn.relu(x @ variables["second"]).max(axis=1) @ variables["last"]


POINTS = {"first": (3, 6), "edges": (12, 8), "second": (8, 9), "last": (9, 4)}


def sets(variables, x):
    """Deep sets: each member alone, the sum of all, then the whole."""
    for layer in variables["each"]:
        x = jax.nn.elu(x @ layer["kernel"] + layer["bias"])
    x = x.sum(axis=1)
    return jax.nn.elu(x @ variables["whole"]) @ variables["last"]


SETS = {
    "each": [{"kernel": (3, 8), "bias": (8,)}, {"kernel": (8, 9), "bias": (9,)}],
    "whole": (9, 7),
    "last": (7, 4),
}


def hypernetwork(variables, x):
    """The kernels of the second network are what the first makes of learned codes."""
    x = jnp.tanh(x @ variables["first"])
    for code in variables["codes"]:
        hidden = jax.nn.relu(code @ variables["read"])
        kernel = jnp.einsum("c,cio->io", hidden, variables["make"])
        x = x + jnp.tanh(x @ kernel)
    return x @ variables["last"]


HYPERNETWORK = {
    "first": (5, 8),
    "codes": [(4,), (4,)],
    "read": (4, 6),
    "make": (6, 8, 8),
    "last": (8, 4),
}


def conditioned(variables, x):
    """FiLM: a second input scales and shifts the channels of a convolutional network."""
    pixels, context = x["pixels"], x["context"]
    for layer in variables["layers"]:
        pixels = jax.lax.conv_general_dilated(
            pixels, layer["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        hidden = jax.nn.relu(context @ layer["read"])
        scale, shift = jnp.split(hidden @ layer["film"], 2, axis=-1)
        pixels = jax.nn.relu(pixels * (1 + scale[:, None, None]) + shift[:, None, None])
    return pixels.mean(axis=(1, 2)) @ variables["last"]


CONDITIONED = {
    "layers": [
        {"conv": (3, 3, 3, 6), "read": (4, 7), "film": (7, 12)},
        {"conv": (3, 3, 6, 8), "read": (4, 7), "film": (7, 16)},
    ],
    "last": (8, 4),
}


def entry(name, build, kind="graphs", **details):
    return Entry(name, kind, build, returned=4, **details)


def both():
    x = {"pixels": image(2, 5, 5, 3), "context": image(2, 4)}
    return function(conditioned, CONDITIONED, x)


ENTRIES = (
    entry("gcn", lambda: on_graphs(gcn, GCN), quick=True),
    entry("gat", lambda: on_graphs(gat, GAT)),
    entry("message_passing", lambda: on_graphs(messages, MESSAGES)),
    entry("pointnet", lambda: function(points, POINTS, image(2, 5, 3)), "sets"),
    entry("deep_sets", lambda: function(sets, SETS, image(2, 5, 3)), "sets", quick=True),
    entry("hypernetwork", lambda: function(hypernetwork, HYPERNETWORK, image(3, 5)), "kernels"),
    entry("film", both, "kernels"),
)
