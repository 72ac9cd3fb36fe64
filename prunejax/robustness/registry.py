"""The perturbations by name."""

import math

from prunejax import names
from prunejax.robustness.modifying import noise, shuffling
from prunejax.robustness.perturbation import Change, Perturbation, any_strength
from prunejax.robustness.removing import random, reverse_weight_order, weight_order

PERTURBATIONS: dict[str, Perturbation] = {
    "random": Perturbation(random),
    "weight_order": Perturbation(weight_order),
    "reverse_weight_order": Perturbation(reverse_weight_order),
    "shuffling": Perturbation(shuffling),
    "noise": Perturbation(noise, most=math.inf),
}


def as_perturbation(given: str | Perturbation | Change) -> Perturbation:
    """The perturbation that a name or a function stands for.

    Args:
      given: a name in ``PERTURBATIONS``, a ``Perturbation``, or a function ``(key, weights,
        strength) -> weights``. One that is not registered takes any strength of 0 or more.

    Returns:
      The perturbation.

    Raises:
      ValueError: there is no perturbation of that name, or it is neither name nor function.

    >>> as_perturbation("noise").most
    inf
    """
    if isinstance(given, Perturbation):
        return given
    if not callable(given):
        return PERTURBATIONS[names.choose("perturbation", given, PERTURBATIONS)]
    registered = (known for known in PERTURBATIONS.values() if known.change is given)
    return next(registered, any_strength(given))
