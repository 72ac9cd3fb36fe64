"""A dense layer of linen that holds only its links."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from prunejax import names
from prunejax.sparse.linear import BACKENDS, sparse_linear
from prunejax.sparse.links import Links
from prunejax.sparse.topologies import erdos_renyi

FAN_INS = ("inputs", "links")

COLLECTION = "links"
"""The collection of variables in which links stand."""


class SparseDense(nn.Module):
    """A dense layer of which only some links are there: their weights are all its kernel.

    Parameters are ``kernel`` [links] and ``bias`` [features]. Which links these are stands in the
    collection "links", under the kernel's path: ``variables["links"]["hidden1"]["kernel"]`` is a
    ``Links``. ``init`` draws it, uniformly, from the key of the parameters.

        variables = layer.init(key, x)
        params, links = variables["params"], variables["links"]
        y = layer.apply({"params": params, "links": links}, x)   # other links: no recompilation

    A forward pass that is given no collection "links" uses links drawn from ``seed`` and the
    layer's path, always the same. So code that knows parameters alone trains this layer, on a fixed
    topology. Whoever trains on the links that ``init`` drew must pass them each time.

    Args:
      features: the number of output neurons.
      sparsity: the fraction of links removed, in [0, 1); links given may be another number.
      use_bias: whether to add a bias, which starts at 0.
      fan_in: weights start as N(0, 2 / n) (He et al. 2015, Eq. 10) with n the inputs, "inputs", as
        Sulyok et al. 2026 do, or the mean number of links that lead to a neuron, "links", which
        keeps the size of activations and learns sooner.
      backend: see ``sparse_linear``.
      dtype: the type to compute in; None leaves it to the input and the parameters.
      param_dtype: the type of the parameters.
      seed: of the links where none are given.

    Raises:
      ValueError: a field is not allowed, no link is left, or links given belong to a layer of
        another shape; the message names the layer.
    """

    features: int
    sparsity: float = 0.99
    use_bias: bool = True
    fan_in: str = "inputs"
    backend: str = "auto"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    seed: int = 0

    def __post_init__(self) -> None:
        names.choose("fan_in", self.fan_in, FAN_INS)
        names.choose("back end", self.backend, ["auto", *BACKENDS])
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must be in [0, 1), got {self.sparsity}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """Applies the layer.

        Args:
          x: any leading axes.

        Returns:
          The outputs, in ``dtype``.
        """
        links = self._links((x.shape[-1], self.features))
        fan_in = x.shape[-1] if self.fan_in == "inputs" else len(links) / self.features
        start = nn.initializers.normal((2 / fan_in) ** 0.5)
        kernel = self.param("kernel", start, (len(links),), self.param_dtype)
        zeros = nn.initializers.zeros_init()
        bias = (
            self.param("bias", zeros, (self.features,), self.param_dtype) if self.use_bias else None
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = sparse_linear(kernel, links, x, self.backend)
        return y if bias is None else y + bias

    def _links(self, shape: tuple[int, int]) -> Links:
        """The links given; else those that ``init`` draws, or those of the seed."""
        layer = "/".join(self.path) or "this layer"
        if self.has_variable(COLLECTION, "kernel"):
            links = self.get_variable(COLLECTION, "kernel")
            if not isinstance(links, Links) or links.shape != shape:
                given = links.shape if isinstance(links, Links) else type(links).__name__
                raise ValueError(f"{layer} needs Links of shape {shape}, got {given}")
            return links
        count = round((1 - self.sparsity) * shape[0] * shape[1])
        if count == 0:
            raise ValueError(
                f"no link is left of {layer}: sparsity {self.sparsity} of {shape[0]} x {shape[1]}"
            )
        if self.is_mutable_collection(COLLECTION) and self.has_rng("params"):
            key = self.make_rng("params")
            return self.variable(COLLECTION, "kernel", erdos_renyi, key, shape, count).value
        return _of_seed(self.seed, self.path, shape, count)


@functools.lru_cache(maxsize=64)
def _of_seed(seed: int, path: tuple[str, ...], shape: tuple[int, int], count: int) -> Links:
    """The links of a seed and a layer's path: constants, also while a program is traced."""
    with jax.ensure_compile_time_eval():
        key = jax.random.key(seed)
        for part in "/".join(path).encode():
            key = jax.random.fold_in(key, part)
        return erdos_renyi(key, shape, count)
