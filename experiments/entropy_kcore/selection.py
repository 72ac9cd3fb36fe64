"""Which channels of a trained network stay, by method and threshold."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import networks
from experiments.common.bench import Workbench
from experiments.common.methods import REDUNDANCY
from experiments.common.sources import digest
from experiments.common.trained import keys
from prunejax import channels, network
from prunejax.filters import FILTER_CRITERIA
from prunejax.filters.entropy_kcore import Representative

OURS = "entropy_kcore"

KCORE: dict[str, Representative] = {OURS: "entropy", "kcore_random": "random", "kcore_l1": "l1"}
"""Methods that select by a threshold -> what represents a redundant set."""

METHODS = (*KCORE, *(name for name in FILTER_CRITERIA if name not in KCORE))
"""All of them keep as many channels of each layer as the first, so that they differ in the choice
alone."""


def source(method: str) -> str:
    """A digest of the files that say what a method of ``METHODS`` does."""
    return digest(*REDUNDANCY, FILTER_CRITERIA[method].score, channels.measure)


def check_images(bench: Workbench, images: int) -> None:
    """Refuses to take feature maps of more training images than there are.

    Raises:
      ValueError: there are not so many.
    """
    if not 1 <= images <= len(bench.train.labels):
        raise ValueError(
            f"feature maps can be taken of 1 to {len(bench.train.labels)} images, not {images}"
        )


def mapped_images(bench: Workbench, seed: int, images: int) -> Any:
    """The training images that feature maps are taken of, the same for every method.

    Raises:
      ValueError: there are not so many.
    """
    check_images(bench, images)
    order = np.asarray(jax.random.permutation(keys(seed).images, len(bench.train.labels)))
    return jnp.asarray(bench.prepare(bench.train.images[np.sort(order[:images])]))


class Selection:
    """Plans for one trained network; what it was measured on is recorded once.

    Args:
      bench: the workbench.
      dense: the trained network.
      seed: its seed.
      images: how many images feature maps are taken of.
      group_source: which layer stands for channels that several share.
      delta: by how much the threshold rises towards the last layer.
      round_to: numbers of channels are raised to multiples of it.
    """

    def __init__(
        self,
        bench: Workbench,
        dense: networks.LoadedNetwork,
        seed: int,
        *,
        images: int,
        group_source: channels.GroupSource,
        delta: float,
        round_to: int | None,
    ) -> None:
        self._bench, self._variables = bench, dense.variables
        self._images = mapped_images(bench, seed, images)
        self._key = keys(seed).method
        self._group_source: channels.GroupSource = group_source
        self._delta, self._round_to = delta, round_to

    @functools.cached_property
    def redundancies(self) -> channels.ChannelScores[channels.Redundancies]:
        """Similarities and entropies of all layers."""
        return channels.measure(
            self._bench.traced, self._variables, self._images, group_source=self._group_source
        )

    def measure(self) -> float:
        """The seconds of recording and measuring, which is done once, compiling included."""
        started = time.perf_counter()
        _ = self.redundancies
        return time.perf_counter() - started

    def thresholds(self, tau: float) -> dict[str, float]:
        """The threshold of each group."""
        return self.redundancies.evidence.thresholds(tau, delta=self._delta)

    def plan(self, method: str, tau: float) -> network.Plan:
        """The plan of a method of ``METHODS`` at a threshold.

        Raises:
          ValueError: the method cannot score a layer, which is named.
        """
        if method == OURS:
            return self.redundancies.plan(tau, delta=self._delta, round_to=self._round_to)
        if method in KCORE:
            ranking = channels.rank_redundant(
                self.redundancies,
                tau,
                representative=KCORE[method],
                key=self._key,
                delta=self._delta,
            )
        else:
            ranking = channels.rank(
                self._bench.traced,
                self._variables,
                self._images,
                criterion=method,
                key=self._key,
                group_source=self._group_source,
            )
        ours = self.plan(OURS, tau).keep
        return ranking.plan({group: int(ours[group].sum()) for group in ranking.scores})
