"""Layer-wise pruning of trained networks by what their layers take in: Wanda and SparseGPT.

They need some calibration batches, no labels and no training. A criterion of ``prunejax.criteria``
sees a loss; those here see a ``Network``, because they need to know what each kernel multiplies:

    network = trace(model.apply, variables, x)
    scores = layerwise.wanda(network, variables, batches)
    masks = layerwise.allocate(network, scores, 0.5)            # or pattern="2:4"
    pruned = layerwise.sparsegpt(network, variables, batches, 0.5)

``kernels(network)`` says which kernels are covered, and why the others are not.
"""

from prunejax.layerwise.allocating import allocate
from prunejax.layerwise.layer_by_layer import LayerInfo, Pruned
from prunejax.layerwise.reading import Kernels, kernels
from prunejax.layerwise.sparsegpt import reconstruct, sparsegpt
from prunejax.layerwise.statistics import InputStatistics, input_statistics
from prunejax.layerwise.wanda import wanda

__all__ = [
    "InputStatistics",
    "Kernels",
    "LayerInfo",
    "Pruned",
    "allocate",
    "input_statistics",
    "kernels",
    "reconstruct",
    "sparsegpt",
    "wanda",
]
