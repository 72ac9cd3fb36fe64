"""Channels of a whole traced network: scored, and the ones that stay chosen.

Everything here gives ``ChannelScores``, one float per channel, which give a plan:

- ``measure(network, variables, images)``: the entropy-guided k-core method, at any threshold;
- ``rank(network, variables, images, criterion=...)``: any of ``filters.FILTER_CRITERIA``;
- ``critical_neurons(network, variables, inputs, labels)``: a mixed-integer program;
- ``sum_weights(network, scores)``: scores of single weights, summed over each channel's own.
"""

from prunejax.channels.chain_reading import describe
from prunejax.channels.critical_neurons import critical_neurons
from prunejax.channels.deciding import (
    CONVOLUTIONS,
    GroupSource,
    deciding_layer,
    deciding_layers,
)
from prunejax.channels.decoupling import representations
from prunejax.channels.measuring import measure
from prunejax.channels.ranking import rank
from prunejax.channels.redundancies import (
    Measured,
    Redundancies,
    keep_representatives,
    rank_redundant,
    score_by_redundancy,
)
from prunejax.channels.scores import ChannelScores, Rule
from prunejax.channels.selection import at_random, best_of_each, keep_above, keep_best
from prunejax.channels.targets import (
    Reduction,
    flops_reduction,
    parameter_reduction,
)
from prunejax.channels.weights import sum_weights

__all__ = [
    "CONVOLUTIONS",
    "ChannelScores",
    "GroupSource",
    "Measured",
    "Reduction",
    "Redundancies",
    "Rule",
    "at_random",
    "best_of_each",
    "critical_neurons",
    "deciding_layer",
    "deciding_layers",
    "describe",
    "flops_reduction",
    "keep_above",
    "keep_best",
    "keep_representatives",
    "measure",
    "parameter_reduction",
    "rank",
    "rank_redundant",
    "representations",
    "score_by_redundancy",
    "sum_weights",
]
