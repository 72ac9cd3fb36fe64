"""Filter pruning of a whole traced network: from feature maps to a plan.

``measure(network, variables, images)`` reads the feature maps once; what it returns gives the plan
of the entropy-guided k-core method at any threshold (``plan(tau)``), or the threshold for a given
reduction (``tau_for``). ``rank(network, variables, images, criterion=...)`` scores channels by any
of ``filters.FILTER_CRITERIA`` and keeps the best of each group.
"""

from prunejax.filter_pruning.collecting import CONVOLUTIONS, sources
from prunejax.filter_pruning.rankings import Ranking, rank
from prunejax.filter_pruning.redundancies import Measured, Redundancies, measure
from prunejax.filter_pruning.sources import GroupSource, source
from prunejax.filter_pruning.targets import (
    Reduction,
    flops_reduction,
    parameter_reduction,
)

__all__ = [
    "CONVOLUTIONS",
    "GroupSource",
    "Measured",
    "Ranking",
    "Reduction",
    "Redundancies",
    "flops_reduction",
    "measure",
    "parameter_reduction",
    "rank",
    "source",
    "sources",
]
