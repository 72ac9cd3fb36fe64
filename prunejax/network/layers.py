"""What a layer of a traced network is, as far as its equations show."""

import dataclasses
from collections.abc import Mapping

ACTIVATIONS = frozenset(
    (
        "relu",
        "relu6",
        "gelu",
        "silu",
        "swish",
        "sigmoid",
        "hard_sigmoid",
        "hard_swish",
        "hard_silu",
        "hard_tanh",
        "elu",
        "selu",
        "celu",
        "leaky_relu",
        "softplus",
        "soft_sign",
        "softmax",
        "log_softmax",
        "log_sigmoid",
        "tanh",
        "mish",
        "squareplus",
    )
)
"""The functions of ``jax.nn`` that are one layer when they are called by name."""

BARE_ACTIVATIONS = {"tanh": "tanh", "logistic": "sigmoid", "erf": "gelu", "exp": "softmax"}
"""Primitives that stand for an activation whose call was inlined when it was traced."""

SPIKING = "lif"
"""The function of an activation that is a layer of spiking neurons."""

ACTIVITY = "spiking_activity"
"""The primitive that marks their spikes and potentials, see ``prunejax.neurons``."""

KERNELS = ("conv", "conv_transpose", "dense")
"""The kinds of layer that make channels."""

POOLS = {
    "reduce_window_sum": "avg_pool",
    "reduce_window_max": "max_pool",
    "reduce_sum": "avg_pool",
    "reduce_max": "max_pool",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One step of a network.

    Attributes:
      name: the path of the module its parameters belong to, or its kind and a number.
      kind: "dense", "conv", "conv_transpose", "embedding", "norm", "affine" (an elementwise
        product or sum with parameters), "activation", "avg_pool", "max_pool", "add",
        "multiply", "concatenate", "matmul", "parameters" (a product in which the input takes
        no part), or the name of another primitive.
      function: for an activation which one, for example "relu".
      parameters: the paths of the leaves it reads, in the order of their use.
      inputs: the names of the layers that feed it; "input" is what the network is given.
      input_shape: the shape of the first of its operands.
      output_shape: the shape of its result.
      kernel_shape: for a dense layer or a convolution, as it is multiplied.
      strides: the step of a convolution or of a pool along each spatial axis.
      padding: what is padded before and behind each spatial axis.
      dilation: the distance between a convolution's taps along each spatial axis.
      feature_groups: into how many groups a convolution divides its channels.
      window: the window of a pool, one number per axis of its input.
      multiply_adds: of the whole traced batch, for dense, conv, matmul, and loops and branches
        that hold such; 0 elsewhere.
      note: what that number leaves out: of a ``while`` loop one iteration is counted, because the
        number of iterations is not known; of a ``cond`` the costliest branch.
    """

    name: str
    kind: str
    function: str = ""
    parameters: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    kernel_shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    feature_groups: int = 1
    window: tuple[int, ...] = ()
    multiply_adds: int = 0
    note: str = ""


def following(layers: Mapping[str, Layer], layer: str, kind: str) -> Layer:
    """The next layer of a kind that reads a layer's channels before another kernel does.

    Args:
      layers: the layers of a network by name, in topological order.
      layer: the name of one.
      kind: see ``Layer``, for example "activation" or "norm".

    Returns:
      The layer.

    Raises:
      ValueError: no such layer follows.
    """
    reached = {layer}
    for name, other in layers.items():
        if reached.intersection(other.inputs):
            if other.kind == kind:
                return other
            if other.kind not in KERNELS:
                reached.add(name)
    raise ValueError(f"no {kind} follows {layer!r}")
