"""The linear map of a layer that holds only its links, in several ways that compute the same."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prunejax import names
from prunejax.sparse import native
from prunejax.sparse.links import Links

COO_FROM = 0.985
"""The sparsity from which on gathering beats a dense product on CPUs (docs/results/speed.md)."""

LARGEST_PART = 3 * 2**19
"""How many numbers ``coo`` makes at once: fresh memory for more costs a CPU more than the sums."""


def sparse_linear(
    weights: Float[Array, " links"],
    links: Links,
    x: Float[Array, "*batch inputs"],
    backend: str = "auto",
) -> Float[Array, "*batch outputs"]:
    """Multiplies by the matrix whose entries are the links' weights, and 0 elsewhere.

    It is a plain function: differentiable in ``weights`` and ``x``, forwards and backwards and as
    often as one likes, for use under ``jit``, ``vmap`` (over any of the three) and ``scan``. A
    gradient with respect to the weights has one number per link. In an nnx or an Equinox module:

        self.weights = nnx.Param(0.1 * jax.random.normal(key, (len(links),)))   # nnx
        self.weights = 0.1 * jax.random.normal(key, (len(links),))              # Equinox
        y = sparse_linear(self.weights[...], self.links, x) + self.bias

    (``links`` are integers, no parameters: in nnx an ``nnx.Variable``, read by ``get_value()``.)

    Args:
      weights: one per link, in the order of ``links``.
      links: which input leads to which output.
      x: any leading axes.
      backend: a key of ``BACKENDS``, or "auto": what ``choose`` says. ``masked`` is the reference,
        computed as a masked network does; ``densify`` puts the weights into a dense matrix for each
        call; ``coo`` gathers and sums by target; ``native`` runs compiled kernels, on CPUs alone.

    Returns:
      The outputs, in the wider of both types. In bfloat16 and float16, ``coo`` and ``native`` sum
      in float32 and round once.

    Raises:
      ValueError: the shapes do not fit, a type is not floating point, or no back end has this name.
      native.UnavailableError: ``backend="native"`` without a compiler, or not on a CPU.

    >>> links = Links.from_mask(jnp.array([[True, False], [True, True]]))
    >>> sparse_linear(jnp.array([1.0, 2.0, 3.0]), links, jnp.array([10.0, 1.0]))
    Array([12.,  3.], dtype=float32)
    """
    if backend != "auto":
        names.choose("back end", backend, ["auto", *BACKENDS])
    inputs, outputs = links.shape
    if jnp.shape(weights) != (len(links),):
        raise ValueError(f"{len(links)} links need as many weights, got shape {weights.shape}")
    if x.shape[-1:] != (inputs,):
        raise ValueError(f"the layer has {inputs} inputs, but x has the shape {x.shape}")
    dtype = jnp.promote_types(weights.dtype, x.dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"weights and x must be floating point, got {weights.dtype}, {x.dtype}")
    flat = x.astype(dtype).reshape(math.prod(x.shape[:-1]), inputs)
    name = choose(links) if backend == "auto" else backend
    y = BACKENDS[name](weights.astype(dtype), links, flat)
    return y.reshape(*x.shape[:-1], outputs)


def choose(links: Links, platform: str | None = None) -> str:
    """The back end that ``sparse_linear`` takes by itself.

    On GPUs and TPUs a dense product is fastest. On CPUs the compiled kernels are, from 90 %
    sparsity on at least; where they cannot be compiled, which is logged once, it is ``coo`` from
    ``COO_FROM`` on.

    Args:
      links: of which layer.
      platform: "cpu", "gpu", ...; by default the one that JAX computes on.

    Returns:
      A key of ``BACKENDS``.
    """
    platform = jax.default_backend() if platform is None else platform
    if platform != "cpu":
        return "densify"
    if native.is_available():
        return "native"
    native.log_absence()
    sparsity = 1 - len(links) / math.prod(links.shape)
    return "coo" if sparsity >= COO_FROM else "densify"


def _masked(weights: Array, links: Links, x: Array) -> Array:
    return x @ jnp.where(links.to_mask(), links.scatter(weights), 0)


def _densify(weights: Array, links: Links, x: Array) -> Array:
    return x @ links.scatter(weights)


def _coo(weights: Array, links: Links, x: Array) -> Array:
    """Part by part of the batch: what it makes on the way has a row for each link."""
    batch = len(x)
    parts = math.ceil(batch * len(links) / LARGEST_PART)
    if parts < 2:
        return _gathered(weights, links, x)
    size = math.ceil(batch / parts)
    padded = jnp.pad(x, ((0, parts * size - batch), (0, 0)))
    # without what one part made on the way, which is as large as all parts in the backward pass
    one = jax.checkpoint(lambda part: _gathered(weights, links, part))
    made = jax.lax.map(one, padded.reshape(parts, size, -1))
    return made.reshape(parts * size, -1)[:batch]


def _gathered(weights: Array, links: Links, x: Array) -> Array:
    # batch last: a link is one row of each side; looking for indices below 0 takes a fifth longer
    inside = "promise_in_bounds"
    rows = _wide(x).T.at[links.sources].get(mode=inside)
    sums = jax.ops.segment_sum(
        _wide(weights)[:, None] * rows,
        links.targets,
        num_segments=links.shape[1],
        indices_are_sorted=True,
        mode=inside,
    )
    return sums.T.astype(x.dtype)


def _native(weights: Array, links: Links, x: Array) -> Array:
    if jax.default_backend() != "cpu":
        raise native.UnavailableError(
            f"the back end native runs on CPUs, and JAX computes on {jax.default_backend()} here: "
            "take densify, or auto"
        )
    return native.product(native.OUTPUTS, _wide(weights), _wide(x), links).astype(x.dtype)


def _wide(array: Array) -> Array:
    """The same values in float32 at least."""
    return array.astype(jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array


BACKENDS: dict[str, Callable[[Array, Links, Array], Array]] = {
    "masked": _masked,
    "densify": _densify,
    "coo": _coo,
    "native": _native,
}
"""Back end -> ``(weights [links], links, x [batch, inputs]) -> [batch, outputs]``."""
