"""When a bound is taken for one."""

from solvers.tolerances import CONTRADICTION


def certified(bound: float, value: float, floor: float) -> float:
    """A bound from below, unless a known solution contradicts it.

    Args:
        bound: what a solver says that no solution's objective is below.
        value: the objective of a solution.
        floor: a bound that needs no solver.

    Returns:
        The bound, at most the value; the floor where it lies above the value by more than solvers
        round.
    """
    if bound - value > CONTRADICTION * max(1.0, abs(value)):
        return floor
    return min(bound, value)
