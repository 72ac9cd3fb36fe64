"""Spiking neurons as plain functions: what the spiking models are made of.

``prunejax.spiking`` has all of it under one name, beside what prunes spiking networks.
"""

from prunejax.neurons.activity import ACTIVITY, Neuron
from prunejax.neurons.coding import CODINGS, encode
from prunejax.neurons.lif import lif, lif_step, neuron
from prunejax.neurons.surrogates import (
    SURROGATES,
    Surrogate,
    atan,
    rectangle,
    sigmoid,
    tanh_window,
    triangle,
)
from prunejax.neurons.time import check_timesteps, fold, unfold

__all__ = [
    "ACTIVITY",
    "CODINGS",
    "SURROGATES",
    "Neuron",
    "Surrogate",
    "atan",
    "check_timesteps",
    "encode",
    "fold",
    "lif",
    "lif_step",
    "neuron",
    "rectangle",
    "sigmoid",
    "tanh_window",
    "triangle",
    "unfold",
]
