"""Wanda: a weight matters as much as it is large and as its input is."""

from collections.abc import Iterable

import jax.numpy as jnp
from jaxtyping import PyTree

from prunejax.layerwise import trees
from prunejax.layerwise.statistics import input_statistics, prepared
from prunejax.network import Structure


def wanda(
    network: Structure,
    variables: PyTree,
    batches: Iterable[PyTree],
    *,
    masks: PyTree | None = None,
) -> PyTree:
    """Scores a weight by ``S_ij = |W_ij| * ||X_j||_2`` (Sun et al. 2024, equation 1).

    ``||X_j||_2`` is the norm of the weight's input over all samples of all batches. The paper
    compares scores within an output alone: ``layerwise.allocate(network, scores, 0.5)``, or
    ``pattern="2:4"``. Across layers scores mean little, because they grow with the number of
    samples, of which a convolution sees more than a dense layer.

    A Simple and Effective Pruning Approach for Large Language Models. ICLR 2024, arXiv 2306.11695.

    Args:
      network: the traced network.
      variables: its variables.
      batches: inputs to calibrate with; see ``input_statistics``. No labels are needed.
      masks: parallel to the parameters: which kernels to score; a pruned weight scores 0, also as
        the inputs are measured. By default all that ``kernels(network)`` covers.

    Returns:
      Scores parallel to the parameters, None for what has none; higher means keep. Can be called
      inside jit. The parameters are ``variables["params"]`` of Flax linen's collections, elsewhere
      the variables themselves.

    Raises:
      ValueError: as ``input_statistics``.

    >>> from prunejax.network import trace
    >>> params = {"first": jnp.array([[2.0, 1.0], [-3.0, 1.0]]), "last": jnp.ones((2, 1))}
    >>> network = trace(lambda p, x: x @ p["first"] @ p["last"], params, jnp.ones((1, 2)))
    >>> wanda(network, params, [jnp.array([[3.0, 1.0], [4.0, 0.0]])])["first"].tolist()
    [[10.0, 5.0], [3.0, 1.0]]
    """
    found = input_statistics(network, variables, batches, masks=masks, gram=False)
    variables, kernels = prepared(network, variables, masks)
    params = trees.params_of(network, variables)
    leaves = trees.leaves_by_name(params)
    scores = {}
    for key, kernel in kernels.items():
        norms = jnp.sqrt(found[key].squared_norms)[:, :, None]
        scores[key] = jnp.abs(trees.cut(leaves, kernel)).astype(norms.dtype) * norms
    return trees.parallel_to(params, trees.joined(kernels, scores, leaves))
