"""Traces any network once: its layers, coupled channels, costs, and smaller networks.

``trace(apply_fn, variables, x)`` gives a ``Network``; ``network.plan(keep)`` a ``Plan``; the plan
slices variables, makes masks, and gives the forward function of what is left.
"""

from prunejax.network.artifact import SlicedModel, load_sliced, save_sliced
from prunejax.network.costs import Cost, LayerCost
from prunejax.network.groups import Group, Member
from prunejax.network.layers import KERNELS, Layer
from prunejax.network.network import Network
from prunejax.network.plan import Plan
from prunejax.network.tracing import trace

__all__ = [
    "KERNELS",
    "Cost",
    "Group",
    "Layer",
    "LayerCost",
    "Member",
    "Network",
    "Plan",
    "SlicedModel",
    "load_sliced",
    "save_sliced",
    "trace",
]
