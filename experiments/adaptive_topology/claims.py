"""What the paper claims, and what our networks show: one row per claim that can be tested."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

HOLDS, FAILS, CONTRADICTION = "holds", "does not hold", "the paper contradicts itself"
EQUAL = "no clear difference"

NEAR, CLOSE = 0.01, 0.003
"""Final accuracies this close are the same; means over strengths this close show no difference."""

LEVELS = np.linspace(0, 1, 401)
"""The strengths over which accuracy is averaged."""

LOW = 0.02
"""An accuracy within this of a curve's least has reached it."""


class Measured(NamedTuple):
    """What is measured of one rule of regrowth.

    Attributes:
      accuracy: the final test accuracy of each seed, in [0, 1].
      history: the median test accuracy after each epoch.
      update: seconds per update of the topology.
      strengths: perturbation -> its strengths.
      curves: perturbation -> accuracy of each seed at each strength, [seeds, strengths].
      magnitudes: |w| of all links, an array per seed.
    """

    accuracy: np.ndarray
    history: np.ndarray
    update: float
    strengths: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray]
    magnitudes: Sequence[np.ndarray]

    def mean(self, perturbation: str) -> np.ndarray:
        """The mean accuracy at each strength."""
        return self.curves[perturbation].mean(axis=0)

    def at(self, perturbation: str, strength: float) -> float:
        """The mean accuracy at a strength, between two measured ones by a straight line."""
        return float(np.interp(strength, self.strengths[perturbation], self.mean(perturbation)))

    def kept(self, perturbation: str) -> np.ndarray:
        """By seed, what is left of the accuracy at strength 0, averaged over all strengths."""
        strengths = self.strengths[perturbation]
        areas = [np.interp(LEVELS, strengths, curve).mean() for curve in self.curves[perturbation]]
        return np.array(areas) / self.curves[perturbation][:, 0]

    def lowest(self, perturbation: str) -> float:
        """The first strength that was measured at which the accuracy is as low as it gets."""
        curve = self.mean(perturbation)
        return float(self.strengths[perturbation][np.argmax(curve <= curve.min() + LOW)])

    def first(self, level: float) -> float:
        """The first epoch whose median accuracy reaches a level; infinite if none does."""
        reached = np.flatnonzero(self.history >= level)
        return float(reached[0] + 1) if reached.size else float("inf")


class Claim(NamedTuple):
    """A claim of Sulyok et al. 2026.

    Attributes:
      text: what is claimed.
      where: in the paper.
      needs: the perturbations that it is about.
      test: ``(random regrowth, CH3-L3) -> (our numbers, verdict)``.
    """

    text: str
    where: str
    needs: tuple[str, ...]
    test: Callable[[Measured, Measured], tuple[str, str]]


def _percent(number: float) -> str:
    return f"{100 * number:.1f} %"


def _verdict(holds: bool) -> str:
    return HOLDS if holds else FAILS


def _both(name: str, random: float, ch3: float) -> str:
    return f"{name}: random {_percent(random)}, ch3_l3 {_percent(ch3)}"


def _update_time(random: Measured, ch3: Measured) -> tuple[str, str]:
    ratio = random.update / ch3.update
    said = f"{1000 * random.update:.1f} and {1000 * ch3.update:.1f} ms, ratio {ratio:.2f}"
    return said, _verdict(0.25 <= ratio <= 0.75)


def _sooner(random: Measured, ch3: Measured) -> tuple[str, str]:
    level = 0.95 * min(random.history[-1], ch3.history[-1])
    epochs = random.first(level), ch3.first(level)
    said = (
        f"95 % of the lower final accuracy, {_percent(level)}, in epoch {epochs[0]:.0f} (random), "
        f"{epochs[1]:.0f} (ch3_l3)"
    )
    return said, _verdict(epochs[1] < epochs[0])


def _same_end(random: Measured, ch3: Measured) -> tuple[str, str]:
    ends = random.accuracy.mean(), ch3.accuracy.mean()
    return _both("final", *ends), _verdict(abs(ends[0] - ends[1]) <= NEAR)


def _least(perturbation: str, low: float, high: float) -> Callable[..., tuple[str, str]]:
    """That the least accuracy is reached at a strength within a window."""

    def test(random: Measured, ch3: Measured) -> tuple[str, str]:
        reached = random.lowest(perturbation), ch3.lowest(perturbation)
        said = f"reached at {reached[0]:g} (random), {reached[1]:g} (ch3_l3)"
        return said, _verdict(all(low <= strength <= high for strength in reached))

    return test


def _reverse(random: Measured, ch3: Measured) -> tuple[str, str]:
    lost = [
        rule.at("reverse_weight_order", 0) - rule.at("reverse_weight_order", 0.8)
        for rule in (random, ch3)
    ]
    return _both("lost at 80 %", *lost), _verdict(max(lost) <= 0.03)


def _stronger(perturbation: str, rule: str) -> Callable[[Measured, Measured], tuple[str, str]]:
    """That networks of one rule keep more of their accuracy, averaged over all strengths."""

    def test(random: Measured, ch3: Measured) -> tuple[str, str]:
        said, difference = _compared(perturbation, random, ch3)
        if difference == 0:
            return said, EQUAL
        return said, _verdict((difference > 0) == (rule == "ch3_l3"))

    return test


def _no_gate(perturbation: str) -> Callable[[Measured, Measured], tuple[str, str]]:
    """A comparison that the paper reports in two ways."""

    def test(random: Measured, ch3: Measured) -> tuple[str, str]:
        said, difference = _compared(perturbation, random, ch3)
        better = {0: "neither", 1: "ch3_l3", -1: "random"}[int(np.sign(difference))]
        return f"{said}; more resilient: {better}", CONTRADICTION

    return test


def _compared(perturbation: str, random: Measured, ch3: Measured) -> tuple[str, float]:
    """What both rules keep, and by how much more CH3-L3 does; 0 where seeds differ as much."""
    kept = random.kept(perturbation), ch3.kept(perturbation)
    said = _both("kept of the accuracy", *(float(each.mean()) for each in kept))
    return said, _difference(kept[0], kept[1], CLOSE)


def _difference(random: np.ndarray, ch3: np.ndarray, close: float) -> float:
    """By how much CH3-L3's mean over seeds is larger; 0 where seeds differ as much."""
    difference = float(ch3.mean() - random.mean())
    spread = math.sqrt(sum(each.var(ddof=1) / len(each) for each in (random, ch3) if len(each) > 1))
    return difference if abs(difference) > max(close, spread) else 0.0


def _order_of_harm(random: Measured, ch3: Measured) -> tuple[str, str]:
    names = ("weight_order", "random", "reverse_weight_order")
    kept = [[float(rule.kept(name).mean()) for name in names] for rule in (random, ch3)]
    said = "; ".join(
        f"{rule}: {', '.join(map(_percent, each))}"
        for rule, each in zip(("random", "ch3_l3"), kept, strict=True)
    )
    return f"kept of the accuracy, {said}", _verdict(all(each == sorted(each) for each in kept))


def _crossing(random: Measured, ch3: Measured) -> tuple[str, str]:
    rules = (random, ch3)
    early = [rule.at("shuffling", 0.05) - rule.at("noise", 0.05) for rule in rules]
    late = [rule.at("shuffling", 1.0) - rule.at("noise", 1.0) for rule in rules]
    said = (
        f"shuffling minus noise at .05: {100 * early[0]:+.1f}, {100 * early[1]:+.1f} points; at 1: "
        f"{100 * late[0]:+.1f}, {100 * late[1]:+.1f}"
    )
    return said, _verdict(max(early) < 0 < min(late))


def _middle_weights(random: Measured, ch3: Measured) -> tuple[str, str]:
    shares = [
        np.array([np.mean((seed > 0.2) & (seed < 1)) for seed in rule.magnitudes])
        for rule in (random, ch3)
    ]
    difference = _difference(shares[0], shares[1], close=0.0)
    said = _both("links with 0.2 < |w| < 1", *(float(each.mean()) for each in shares))
    return said, EQUAL if difference == 0 else _verdict(difference < 0)


CLAIMS = (
    Claim("an update with random regrowth takes about half of CH3-L3's time", "Fig. 2", (),
          _update_time),
    Claim("CH3-L3 networks approach their accuracy in fewer epochs", "Fig. 3", (), _sooner),
    Claim("both rules end at the same accuracy", "Fig. 3", (), _same_end),
    Claim("weight order pruning harms most, then random pruning, then reverse weight order",
          "Fig. 4", ("weight_order", "random", "reverse_weight_order"), _order_of_harm),
    Claim("weight order pruning: the least accuracy is reached at 1 to 5 % of the links "
          "(Section 2.2; 3 to 10 % in Section 3)", "Fig. 4", ("weight_order",),
          _least("weight_order", 0.01, 0.1)),
    Claim("random pruning: the least accuracy is reached near 80 %", "Fig. 4", ("random",),
          _least("random", 0.65, 0.95)),
    Claim("reverse weight order pruning: little is lost at 80 %", "Fig. 4",
          ("reverse_weight_order",), _reverse),
    Claim("reverse weight order pruning: random regrowth is more resilient", "Fig. 4",
          ("reverse_weight_order",), _stronger("reverse_weight_order", "random")),
    Claim("random pruning: CH3-L3 is more resilient (three of four data sets)", "Fig. 4",
          ("random",), _stronger("random", "ch3_l3")),
    Claim("weight order pruning: CH3-L3 is slightly more resilient (two of four)", "Fig. 4",
          ("weight_order",), _stronger("weight_order", "ch3_l3")),
    Claim("noise: CH3-L3 is more resilient (Section 2.2); random regrowth is (Section 3)", "Fig. 5",
          ("noise",), _no_gate("noise")),
    Claim("shuffling: CH3-L3 is more resilient on two of four data sets (2.2); on three (3)",
          "Fig. 5", ("shuffling",), _no_gate("shuffling")),
    Claim("shuffling costs more than noise at first, less at the end", "Fig. 5",
          ("shuffling", "noise"), _crossing),
    Claim("random regrowth has more links with 0.2 < |w| < 1", "Fig. 6", (), _middle_weights),
)  # fmt: skip
"""Also contradictory: the band of Fig. 3 is the 40th to 60th percentile in the text, the standard
deviation in the caption. We draw the percentiles."""


def tested(random: Measured, ch3: Measured) -> list[tuple[str, str, str, str]]:
    """Every claim that what was measured can test: (claim, where, our numbers, verdict)."""
    measured = set(random.curves) & set(ch3.curves)
    return [
        (claim.text, claim.where, *claim.test(random, ch3))
        for claim in CLAIMS
        if measured.issuperset(claim.needs)
    ]
