"""Spiking networks: neurons, how close they sit to their threshold, and pruning by that.

Neurons are plain functions (``lif``, ``SURROGATES``, ``encode``). What reads a network takes one
that ``network.trace`` made, whatever it is written in:

- ``criticality``, ``firing_rates``, ``feature_entropy``, ``measure``: what neurons do and cost;
- ``regenerate``: one update of pruning and regeneration, by a rule of ``GROWTH``;
- ``to_nir``, ``from_nir``: the field's interchange format;
- ``scales``, ``l1_of_scales``, ``keep_and_regrow``: whole channels.
"""

from prunejax.neurons import (
    CODINGS,
    SURROGATES,
    Neuron,
    Surrogate,
    atan,
    encode,
    fold,
    lif,
    lif_step,
    neuron,
    rectangle,
    sigmoid,
    tanh_window,
    triangle,
    unfold,
)
from prunejax.spiking.growth import GROWTH, Growth
from prunejax.spiking.measuring import Measures, Separation, measure, separation
from prunejax.spiking.nir_reading import from_nir
from prunejax.spiking.nir_writing import to_nir
from prunejax.spiking.regenerating import Regenerated, Schedule, regenerate
from prunejax.spiking.statistics import (
    READINGS,
    Reading,
    Statistic,
    criticality,
    feature_entropy,
    firing_counts,
    firing_rates,
    streaming_criticality,
)
from prunejax.spiking.structured import (
    keep_and_regrow,
    l1_of_scales,
    of_channels,
    scale_paths,
    scales,
)
from prunejax.spiking.weights import of_weights, undriven

__all__ = [
    "CODINGS",
    "GROWTH",
    "READINGS",
    "SURROGATES",
    "Growth",
    "Measures",
    "Neuron",
    "Reading",
    "Regenerated",
    "Schedule",
    "Separation",
    "Statistic",
    "Surrogate",
    "atan",
    "criticality",
    "encode",
    "feature_entropy",
    "firing_counts",
    "firing_rates",
    "fold",
    "from_nir",
    "keep_and_regrow",
    "l1_of_scales",
    "lif",
    "lif_step",
    "measure",
    "neuron",
    "of_channels",
    "of_weights",
    "rectangle",
    "regenerate",
    "scale_paths",
    "scales",
    "separation",
    "sigmoid",
    "streaming_criticality",
    "tanh_window",
    "to_nir",
    "triangle",
    "undriven",
    "unfold",
]
