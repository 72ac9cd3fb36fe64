"""Parameters and multiply-adds of a network, layer by layer."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from prunejax import names
from prunejax.network.layers import Layer

Convention = Literal["macs", "thop"]
GlobalPool = Literal["window", "adaptive"]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
      name: the layer's name.
      kind: its kind.
      parameters: the number of its trainable parameters; those of a layer that is used again
        are counted at its first use.
      multiply_adds: of the traced batch.
    """

    name: str
    kind: str
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
      layers: layer by layer, in topological order.
      parameters: all trainable parameters, those outside any layer included.
      multiply_adds: the sum over the layers, of the traced batch.
    """

    layers: tuple[LayerCost, ...]
    parameters: int
    multiply_adds: int


def measure(
    layers: Mapping[str, Layer],
    leaves: Mapping[str, Any],
    trainable: frozenset[str],
    convention: str,
    global_pool: str,
) -> Cost:
    """Counts parameters and multiply-adds; see ``Structure.cost``.

    Args:
      layers: the layers by name.
      leaves: the variables by path.
      trainable: the paths of those that are parameters.
      convention: "macs" or "thop".
      global_pool: "window" or "adaptive".

    Returns:
      The cost.

    Raises:
      ValueError: ``convention`` or ``global_pool`` is none of these words.
    """
    names.choose("convention", convention, get_args(Convention))
    names.choose("global_pool", global_pool, get_args(GlobalPool))
    sizes = {path: math.prod(leaf.shape) for path, leaf in leaves.items() if path in trainable}
    left = dict(sizes)
    rows = []
    for layer in layers.values():
        parameters = sum(left.pop(path, 0) for path in layer.parameters)
        products = (
            layer.multiply_adds if convention == "macs" else _thop(layer, global_pool, parameters)
        )
        rows.append(LayerCost(layer.name, layer.kind, parameters, products))
    return Cost(tuple(rows), sum(sizes.values()), sum(row.multiply_adds for row in rows))


def _thop(layer: Layer, global_pool: str, parameters: int) -> int:
    entries = math.prod(layer.output_shape)
    if layer.kind in ("conv", "conv_transpose", "dense"):
        return layer.multiply_adds
    if layer.kind == "norm":
        return (4 if parameters else 2) * entries
    whole = all(
        window in (1, size) for window, size in zip(layer.window, layer.input_shape, strict=False)
    )
    if layer.kind == "avg_pool" and whole:
        return entries * (1 if global_pool == "window" else math.prod(layer.window) + 1)
    return 0
