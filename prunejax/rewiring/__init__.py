"""Which links go, which grow, and when: sparse training that rewires itself."""

from prunejax.rewiring.evolving import cosine, evolve
from prunejax.rewiring.predicting import scores
from prunejax.rewiring.registry import REGROWTH, REMOVAL, Removal
from prunejax.rewiring.regrowth import Regrowth
from prunejax.rewiring.state import Info, State

__all__ = [
    "REGROWTH",
    "REMOVAL",
    "Info",
    "Regrowth",
    "Removal",
    "State",
    "cosine",
    "evolve",
    "scores",
]
