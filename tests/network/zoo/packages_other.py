"""Networks of Haiku, Equimo, Jraph, FlowJAX and Diffrax."""

import warnings

import jax
import jax.numpy as jnp

from tests.network.zoo.entry import (
    Built,
    Entry,
    described,
    function,
    image,
    one_more,
    perturbed,
    words,
)
from tests.network.zoo.graphs import ring
from tests.support.slicing_checks import randomise


def haiku(network, x, training=False):
    """A Haiku network, called with whether it trains; it then returns its updated state."""
    import haiku as hk

    made = hk.transform_with_state(lambda x, train: network(hk)(x, train))
    key = jax.random.key(3)
    params, state = jax.eval_shape(lambda x: made.init(key, x, True), x)
    state = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), state)

    def apply_fn(variables, x):
        outputs, state = made.apply(variables["params"], variables["state"], key, x, training)
        return (outputs, {"state": state}) if training else outputs

    return Built(apply_fn, {"params": randomise(params), "state": perturbed(state)}, x, one_more(x))


def haiku_resnet(hk):
    return hk.nets.ResNet(
        (1, 1, 1, 1), 4, resnet_v2=True, channels_per_group=(8, 8, 12, 12), strides=(1, 1, 2, 2)
    )


def haiku_mobilenet(hk):
    return hk.nets.MobileNetV1((1, 2, 1), (6, 8, 10), 4)


def haiku_lstm(hk):
    def network(tokens, train):
        x = jnp.swapaxes(hk.Embed(11, 6)(tokens), 0, 1)
        for width in (8, 7):
            core = hk.LSTM(width)
            x, _ = hk.dynamic_unroll(core, x, core.initial_state(tokens.shape[0]))
        return hk.Linear(11)(x)

    return network


def haiku_transformer(hk):
    def network(tokens, train):
        places = hk.get_parameter("positions", (5, 12), init=jnp.ones)
        x = hk.Embed(11, 12)(tokens) + places
        init = hk.initializers.VarianceScaling(1.0)
        for _ in range(2):
            y = hk.LayerNorm(-1, True, True)(x)
            x = x + hk.MultiHeadAttention(2, 6, w_init=init)(y, y, y)
            y = jax.nn.gelu(hk.Linear(16)(hk.LayerNorm(-1, True, True)(x)))
            y = hk.Linear(12)(y)
            x = x + (hk.dropout(hk.next_rng_key(), 0.1, y) if train else y)
        return hk.Linear(11)(hk.LayerNorm(-1, True, True)(x))

    return network


def equimo(make, x):
    """An Equimo model, which takes one example and a key."""
    import equinox as eqx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from equimo import models
    model = eqx.nn.inference_mode(eqx.filter_eval_shape(make, models, jax.random.key(0)))
    arrays, static = eqx.partition(model, described)
    key = jax.random.key(1)

    def apply_fn(variables, x):
        run = eqx.combine(variables, static)
        return jax.vmap(lambda x: run(x, key=key, inference=True))(x)

    return Built(apply_fn, randomise(arrays), x, one_more(x))


def equimo_vit(models, key):
    return models.VisionTransformer(8, 3, 12, 4, 2, [2], num_classes=4, key=key)


def equimo_dino(models, key):
    """With rotary positions, scaled branches and gated feed-forward layers."""
    return models.VisionTransformer(
        8,
        3,
        16,
        4,
        2,
        [2],
        num_classes=4,
        use_global_pos_embed=False,
        use_local_pos_embed=True,
        reg_tokens=0,
        ffn_layer="swiglu",
        init_values=1.0,
        key=key,
    )


def equimo_convnext(models, key):
    return models.ConvNeXt(depths=[1, 1], dims=[6, 8], num_classes=4, key=key)


def equimo_reduceformer(models, key):
    return models.ReduceFormer(
        3, [8, 8, 16], [1, 1, 1], ["conv", "conv", "attention"], head_dim=8, num_classes=4, key=key
    )


def equimo_mlla(models, key):
    return models.Mlla(
        16, 3, dim=8, patch_size=4, depths=[1, 1], num_heads=[2, 2], num_classes=4, key=key
    )


def graph_network(forward, shapes):
    """A network of Jraph, on the nodes, senders and receivers of a graph."""
    import jraph

    def apply_fn(variables, graph):
        count, edges = len(graph["nodes"]), len(graph["senders"])
        made = jraph.GraphsTuple(
            nodes=graph["nodes"],
            edges=None,
            senders=graph["senders"],
            receivers=graph["receivers"],
            n_node=jnp.array([count]),
            n_edge=jnp.array([edges]),
            globals=None,
        )
        return forward(jraph, variables, made)

    built = function(apply_fn, shapes, ring(6))
    return built._replace(another_x=ring(7))


def jraph_convolutions(jraph, variables, graph):
    graph = jraph.GraphConvolution(lambda n: n @ variables["a"], add_self_edges=True)(graph)
    graph = graph._replace(nodes=jax.nn.relu(graph.nodes))
    graph = jraph.GraphConvolution(lambda n: n @ variables["b"], add_self_edges=True)(graph)
    return jax.nn.relu(graph.nodes) @ variables["c"]


def jraph_network(jraph, variables, graph):
    """Edges hear both ends, nodes hear their edges, the whole hears all."""

    def concatenated(*parts):
        return jnp.concatenate(parts, axis=-1)

    graph = graph._replace(
        nodes=jax.nn.relu(graph.nodes @ variables["node"]),
        edges=jax.nn.relu(graph.nodes[graph.senders] @ variables["edge"]),
        globals=jnp.ones((1, 2)),
    )
    for layer in variables["layers"]:
        graph = jraph.GraphNetwork(
            lambda e, s, r, g, layer=layer: jax.nn.relu(concatenated(e, s, r) @ layer["edge"]),
            lambda n, s, r, g, layer=layer: jax.nn.relu(concatenated(n, r) @ layer["node"]),
            lambda n, e, g, layer=layer: jax.nn.relu(concatenated(n, e) @ layer["whole"]),
        )(graph)
    return graph.globals @ variables["last"]


JRAPH = {
    "node": (5, 8),
    "edge": (5, 6),
    "layers": [{"edge": (22, 6), "node": (14, 8), "whole": (14, 7)} for _ in range(2)],
    "last": (7, 4),
}


def flow(kind):
    """The density of a normalising flow."""
    import equinox as eqx
    import flowjax.flows
    from flowjax.distributions import Normal
    from paramax import NonTrainable

    make = getattr(flowjax.flows, kind)
    model = make(
        jax.random.key(0), base_dist=Normal(jnp.zeros(4)), flow_layers=2, nn_width=8, nn_depth=2
    )
    arrays, static = eqx.partition(
        model, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, NonTrainable)
    )
    x = image(3, 4)
    return Built(
        lambda variables, x: eqx.combine(variables, static).log_prob(x),
        perturbed(arrays),
        x,
        one_more(x),
    )


def diffrax_ode():
    """The flow of a network with steps of fixed size."""
    import diffrax

    def field(time, x, variables):
        return jnp.tanh(x @ variables["up"] + variables["bias"]) @ variables["down"]

    def apply_fn(variables, x):
        x = jax.nn.relu(x @ variables["first"])
        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Heun(),
            0.0,
            1.0,
            0.25,
            x,
            args=variables,
            stepsize_controller=diffrax.ConstantStepSize(),
            max_steps=8,
        )
        return solved.ys[-1] @ variables["last"]

    shapes = {"first": (5, 8), "up": (8, 10), "bias": (10,), "down": (10, 8), "last": (8, 4)}
    return function(apply_fn, shapes, image(3, 5))


def entry(name, package, build, returned=4, **details):
    return Entry(name, package, build, returned=returned, package=package, **details)


def haiku_entry(name, network, x, returned=4, training=False, **details):
    return entry(
        name,
        "haiku",
        lambda: haiku(network, x(), training),
        returned,
        training=training,
        state=(lambda outputs: outputs) if training else None,
        **details,
    )


def equimo_entry(name, make, size=8, **details):
    return entry(name, "equimo", lambda: equimo(make, image(2, 3, size, size)), **details)


def tokens():
    return words(2, 5, 11)


def pixels():
    return image(2, 8, 8, 3)


ENTRIES = (
    haiku_entry("haiku_resnet", haiku_resnet, pixels),
    haiku_entry("haiku_resnet_training", haiku_resnet, pixels, training=True),
    haiku_entry("haiku_mobilenet", haiku_mobilenet, pixels),
    haiku_entry("haiku_lstm", haiku_lstm, tokens, 11, channels=6 + 4 * (8 + 7) + 11),
    haiku_entry("haiku_transformer", haiku_transformer, tokens, 11),
    equimo_entry("equimo_vit", equimo_vit),
    equimo_entry("equimo_dino", equimo_dino),
    equimo_entry("equimo_convnext", equimo_convnext, 16),
    equimo_entry("equimo_reduceformer", equimo_reduceformer, 16),
    equimo_entry("equimo_mlla", equimo_mlla, 16),
    entry(
        "jraph_convolutions",
        "jraph",
        lambda: graph_network(jraph_convolutions, {"a": (5, 8), "b": (8, 9), "c": (9, 4)}),
    ),
    entry("jraph_network", "jraph", lambda: graph_network(jraph_network, JRAPH)),
    entry("flowjax_coupling", "flowjax", lambda: flow("coupling_flow"), 4, channels=20),
    entry(
        "flowjax_autoregressive",
        "flowjax",
        lambda: flow("masked_autoregressive_flow"),
        8,
        channels=24,
    ),
    entry("diffrax_ode", "diffrax", diffrax_ode, channels=8 + 10 + 8 + 4),
)
