"""A network in units in which the outputs of every layer are about 1; its logits stay the same.

ReLUs and maxima pass positive factors on. So no logit changes if a unit's output is multiplied by a
positive factor and the next layer's weights of that unit are divided by it. Programs are written in
these units, because a solver's tolerances are absolute: now they mean the same for weights of 1e-6
and of 1e6.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.bounds import Interval
from solvers.network.chain import Chain, Linear, Maximum
from solvers.network.units import units


class Normal(NamedTuple):
    """A network in other units.

    Attributes:
      chain: the network.
      units: for each step, the old size of what is 1 now, [entries]; powers of 2.
    """

    chain: Chain
    units: list[np.ndarray]


def normalised(chain: Chain, bounds: list[Interval]) -> Normal:
    """Measures every entry except the logits in units of the largest value that its bounds allow.

    Args:
      chain: the network.
      bounds: on what each step puts out, see ``bounds.interval``.

    Returns:
      The network in these units. They are powers of 2, so nothing is rounded.
    """
    steps, scales = list(chain.steps), []
    now = np.ones(chain.inputs)
    for index, step in enumerate(chain.steps):
        match step:
            case Linear(matrix, offset):
                own = np.ones(len(offset))
                if index < len(steps) - 1:
                    own = _shared(chain, index, bounds[index])
                scaled = scipy.sparse.csr_array(
                    scipy.sparse.diags_array(1 / own) @ matrix @ scipy.sparse.diags_array(now)
                )
                steps[index] = step._replace(matrix=scaled, offset=offset / own)
                now = own
            case Maximum(windows):
                now = now[windows[:, 0]]
        scales.append(now)
    return Normal(Chain(tuple(steps), chain.gates, chain.inputs, chain.classes), scales)


def _shared(chain: Chain, index: int, bound: Interval) -> np.ndarray:
    """The units of a linear step's entries; entries that compete in a later maximum share one."""
    sizes = np.maximum(np.abs(bound.lower), np.abs(bound.upper)).max(axis=0)
    count = len(sizes)
    stands_for, ties = np.arange(count), []
    for step in chain.steps[index + 1 :]:
        if isinstance(step, Linear):
            break
        if isinstance(step, Maximum):
            entries = stands_for[step.windows]
            ties += [(entries[:, 0], other) for other in entries.T[1:]]
            stands_for = entries[:, 0]
    if ties:
        one, other = (np.concatenate(each) for each in zip(*ties, strict=True))
        graph = scipy.sparse.coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
        parts, member = scipy.sparse.csgraph.connected_components(graph, directed=False)
        largest = np.zeros(parts)
        np.maximum.at(largest, member, sizes)
        sizes = largest[member]
    return units(sizes)
