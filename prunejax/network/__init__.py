"""Traces any network once: its layers, coupled channels, costs, and smaller networks.

``trace(apply_fn, variables, x)`` gives a ``Network``; ``network.plan(keep)`` a ``Plan``; the plan
slices variables, makes masks, and gives the forward function of what is left.

A ``Network`` is a ``Structure``, which is data, with methods for what can be done with it. Each of
them is a function too: ``plan``, ``record``, ``place``, ``following``, ``render``.
"""

from prunejax.network.artifact import SlicedModel, load_sliced, save_sliced
from prunejax.network.costs import Cost, LayerCost
from prunejax.network.groups import Group, Member
from prunejax.network.layers import KERNELS, Layer, following
from prunejax.network.network import Network
from prunejax.network.places import Place, place
from prunejax.network.plan import Plan, plan
from prunejax.network.recording import record
from prunejax.network.staying import Frozen, Staying
from prunejax.network.structure import Structure
from prunejax.network.table import render
from prunejax.network.tracing import trace

__all__ = [
    "KERNELS",
    "Cost",
    "Frozen",
    "Group",
    "Layer",
    "LayerCost",
    "Member",
    "Network",
    "Place",
    "Plan",
    "SlicedModel",
    "Staying",
    "Structure",
    "following",
    "load_sliced",
    "place",
    "plan",
    "record",
    "render",
    "save_sliced",
    "trace",
]
