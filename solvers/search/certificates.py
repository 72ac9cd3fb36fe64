"""Which of a solver's bounds are believed."""

from solvers.tolerances import CONTRADICTION


def certified(bound: float, value: float, floor: float) -> float:
    """A bound from below, unless a known solution contradicts it.

    Args:
        bound: a solver's; by its word no solution has a smaller objective.
        value: the objective of a solution.
        floor: a bound that needs no solver.

    Returns:
        The bound, at most the value. If the bound is above the value by more than solvers round,
        it is wrong, and the floor is returned.
    """
    if bound - value > CONTRADICTION * max(1.0, abs(value)):
        return floor
    return min(bound, value)
