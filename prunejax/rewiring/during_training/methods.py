"""The methods by name."""

from prunejax.rewiring.during_training.keeping import KeepBest
from prunejax.rewiring.during_training.replacing import (
    DropAndGrow,
    at_random,
    by_gradient,
    by_paths,
)
from prunejax.rewiring.during_training.scores import chance, saliency

TrainingMethod = KeepBest | DropAndGrow

TRAINING_METHODS: dict[str, TrainingMethod] = {
    "gradual": KeepBest(),
    "gradual_saliency": KeepBest(saliency),
    "gradual_random": KeepBest(chance),
    "one_shot": KeepBest(schedule="at_once"),
    "straight_through": KeepBest(schedule="at_once", straight_through=True),
    "set": DropAndGrow(at_random),
    "rigl": DropAndGrow(by_gradient, annealing="cosine"),
    "ch3_l3": DropAndGrow(by_paths),
}
"""Gradual pruning of Zhu & Gupta 2017 (arXiv 1710.01878), pruning at one step, straight-through
masks (Bengio et al. 2013), SET (Mocanu et al. 2018), RigL (Evci et al. 2020), growth by
CH3-L3 (Zhang et al. 2024)."""
