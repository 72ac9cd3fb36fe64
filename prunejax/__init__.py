"""Pruning neural networks in JAX: score, mask, allocate, train and compare, on plain pytrees.

Submodules load when they are first used, so that ``import prunejax`` costs little more than
importing jax itself.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunejax import (
        allocation,
        channels,
        checkpoint,
        criteria,
        data,
        filters,
        layerwise,
        masks,
        models,
        network,
        pruning,
        rewiring,
        robustness,
        sparse,
        spiking,
        topology,
        training,
    )

__version__ = "0.1.0"

__all__ = [
    "allocation",
    "channels",
    "checkpoint",
    "criteria",
    "data",
    "filters",
    "layerwise",
    "masks",
    "models",
    "network",
    "pruning",
    "rewiring",
    "robustness",
    "sparse",
    "spiking",
    "topology",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
