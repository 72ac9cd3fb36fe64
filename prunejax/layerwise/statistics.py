"""What each kernel takes in over calibration batches: norms of inputs, and their Gram matrix."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree, Shaped

from prunejax import masks as masks_lib
from prunejax.layerwise import layouts, streaming, trees
from prunejax.layerwise.reading import Kernel, read
from prunejax.network import Structure
from prunejax.network.recording import check_variables


class InputStatistics(NamedTuple):
    """Sums over the samples that a kernel was multiplied by.

    ``groups`` is 1 but for products with a batch axis of kernels and for grouped convolutions. The
    Hessian of SparseGPT's squared error is twice the Gram matrix; the factor cancels everywhere.

    Attributes:
      samples: how many rows there were: batch entries times tokens, or times a convolution's
        positions, over all uses of the kernel.
      squared_norms: of each input the sum of its squares.
      gram: the sum over samples of the outer products of the inputs, ``X X^T``; None where it was
        not wanted.
    """

    samples: int
    squared_norms: Float[Array, "groups inputs"]
    gram: Float[Array, "groups inputs inputs"] | None


def input_statistics(
    network: Structure,
    variables: PyTree,
    batches: Iterable[PyTree],
    *,
    masks: PyTree | None = None,
    gram: bool = True,
) -> dict[str, InputStatistics]:
    """Measures what the kernels of a network take in, batch after batch, in one pass.

    Sums are in float32, in float64 where ``jax.enable_x64`` is on. Batch entries, tokens, positions
    and all uses of a shared kernel count as samples, padding too. All activations that feed kernels
    are in memory for one batch at a time; a convolution's as patches, as many times larger as its
    window has places.

    Args:
      network: the traced network.
      variables: its variables.
      batches: inputs as the network was traced with, of any batch size each; an iterator will do.
      masks: parallel to the parameters; only kernels that have a mask are measured, and pruned
        weights are 0 meanwhile. By default all that ``kernels(network)`` covers.
      gram: whether to sum the Gram matrices too, which SparseGPT needs: inputs^2 floats per group.

    Returns:
      The statistics by the kernels' names, in the order of the network; see ``kernels``.

    Raises:
      ValueError: there is no batch, a batch does not fit the network, no kernel is covered or one
        with a mask is not, the variables or the masks are not the network's, or what a kernel
        takes in is not finite.

    >>> from prunejax.network import trace
    >>> params = {"first": jnp.ones((2, 3)), "last": jnp.ones((3, 1))}
    >>> network = trace(lambda p, x: x @ p["first"] @ p["last"], params, jnp.ones((1, 2)))
    >>> batches = [jnp.array([[3.0, 1.0]]), jnp.array([[4.0, 0.0], [0.0, 1.0]])]
    >>> found = input_statistics(network, params, batches)["first"]
    >>> found.samples, found.squared_norms.tolist(), found.gram.tolist()
    (3, [[25.0, 2.0]], [[[25.0, 3.0], [3.0, 2.0]]])
    """
    variables, wanted = prepared(network, variables, masks)
    totals: dict[str, InputStatistics] = {}
    for batch in streaming.read_batches(network, variables, batches):
        streaming.require(batch.reading, wanted)
        inputs = streaming.inputs(batch, variables, list(wanted))
        totals = add(totals, inputs, batch, wanted, gram=gram)
    refuse_not_finite(totals)
    return totals


def prepared(
    network: Structure, variables: PyTree, masks: PyTree | None
) -> tuple[PyTree, dict[str, Kernel]]:
    """The variables with pruned weights 0, and the kernels that are asked for.

    Raises:
      ValueError: the variables or the masks are not the network's, or a kernel is not covered.
    """
    if not isinstance(network, Structure):
        raise ValueError(
            "the network must come from network.trace(apply, variables, x), got "
            f"{type(network).__name__}"
        )
    check_variables(network, variables)
    params = trees.params_of(network, variables)
    reading = read(network, variables, network.traced.example)
    if masks is None:
        return variables, trees.chosen(reading, None)
    pruned = trees.with_params(network, variables, masks_lib.apply(params, masks))
    return pruned, trees.chosen(reading, trees.leaves_by_name(masks))


def add(
    totals: Mapping[str, InputStatistics],
    inputs: Mapping[int, Array],
    batch: streaming.Batch,
    wanted: Iterable[str],
    *,
    gram: bool,
) -> dict[str, InputStatistics]:
    """Adds a batch to the statistics.

    Args:
      totals: those so far, by kernel.
      inputs: what kernels take in, by number of the value.
      batch: the batch.
      wanted: the kernels' names.
      gram: whether to sum Gram matrices.

    Returns:
      The new statistics.
    """
    summed = dict(totals)
    for key in wanted:
        for use in batch.reading.kernels[key].uses:
            shape = batch.reading.program.shapes[use.op.inputs[use.side]]
            activations = jnp.asarray(inputs[use.op.inputs[1 - use.side]]).astype(_precision())
            rows = layouts.samples(use.op, use.side, shape, activations)
            new = _of_rows(rows, gram=gram)
            before = summed.get(key)
            summed[key] = InputStatistics(
                rows.shape[1] + (before.samples if before else 0),
                *(jax.tree.map(jnp.add, before[1:], new) if before else new),
            )
    return summed


def refuse_not_finite(totals: Mapping[str, InputStatistics]) -> None:
    """Refuses statistics of nothing, and those that are NaN or infinite, where they are known now.

    Raises:
      ValueError: some are; the message names the kernel.
    """
    for key, total in totals.items():
        if not total.samples:
            raise ValueError(f"no sample reaches {key!r}: the batches are empty")
        summed = jnp.sum(total.squared_norms)
        if not isinstance(summed, Tracer) and not bool(jnp.isfinite(summed)):
            raise ValueError(
                f"what {key!r} takes in is not finite, or its squares are not: look at the batches "
                "and at the parameters of the layers before it"
            )


@partial(jax.jit, static_argnames="gram")
def _of_rows(rows: Shaped[Array, "groups samples inputs"], *, gram: bool) -> tuple[Any, Any]:
    norms = jnp.sum(jnp.square(rows), axis=1)
    if not gram:
        return norms, None
    return norms, jnp.einsum("gsi,gsj->gij", rows, rows, precision=jax.lax.Precision.HIGHEST)


def _precision() -> Any:
    """The widest float there is: float32, or float64 where x64 is on."""
    return jnp.result_type(float)
