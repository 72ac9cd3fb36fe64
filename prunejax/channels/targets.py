"""How much a plan removes, and the search for a plan that removes a given fraction."""

from collections.abc import Callable
from typing import NamedTuple

from prunejax.network import Plan
from prunejax.network.costs import Convention

Reduction = Callable[[Plan], float]
"""What fraction of something a plan removes."""

STEPS = 30
"""Steps of a bisection: after these, thresholds differ by less than float32 similarities can."""


def flops_reduction(plan: Plan, convention: Convention = "thop") -> float:
    """FR, Eq. 7 of Yang et al. 2025: the fraction of multiply-adds that a plan removes.

    Args:
      plan: the plan.
      convention: as in ``Network.cost``.

    Returns:
      A fraction in [0, 1).
    """
    before = plan.network.cost(convention).multiply_adds
    return 1 - plan.cost(convention).multiply_adds / before


def parameter_reduction(plan: Plan) -> float:
    """PR, Eq. 8 of Yang et al. 2025: the fraction of parameters that a plan removes.

    Args:
      plan: the plan.

    Returns:
      A fraction in [0, 1).
    """
    return 1 - plan.cost().parameters / plan.network.cost().parameters


class Reached(NamedTuple):
    """The best of the plans tried.

    Attributes:
      removal: the position in [0, 1] for which the plan was made: 0 removes least, 1 most.
      plan: the plan.
      reduction: what it removes.
    """

    removal: float
    plan: Plan
    reduction: float


def reach(
    plan_at: Callable[[float], Plan], target: float, reduction: Reduction, *, near: float = 1e-3
) -> Reached:
    """Bisects for the plan that removes a given fraction.

    Args:
      plan_at: makes a plan for a position in [0, 1]. A plan for a higher position removes more,
        with few exceptions.
      target: the fraction to remove, in (0, 1).
      reduction: what a plan removes.
      near: how far from the target is close enough.

    Returns:
      The closest of the plans tried.

    Raises:
      ValueError: the target is outside (0, 1), or more than the plan at position 1 removes.
    """
    if not 0 < target < 1:
        raise ValueError(f"the reduction to reach must be between 0 and 1, got {target}")
    last = plan_at(1.0)
    best = Reached(1.0, last, reduction(last))
    if best.reduction < target - near:
        raise ValueError(
            f"a reduction of {target:.3f} cannot be reached: the most is {best.reduction:.3f}"
        )
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        if abs(best.reduction - target) <= near:
            break
        middle = (low + high) / 2
        plan = plan_at(middle)
        tried = Reached(middle, plan, reduction(plan))
        if abs(tried.reduction - target) < abs(best.reduction - target):
            best = tried
        low, high = (middle, high) if tried.reduction < target else (low, middle)
    return best
