"""Networks from the papers, as Flax linen modules.

Every model is called as ``model.apply(variables, x, train=...)`` on images, (batch, height, width,
channels), and gives float32 logits, (batch, classes). Every number of channels or units that
pruning can change is a field, so that a physically smaller network is the same class with smaller
numbers: ``resized`` makes it.
"""

from prunejax.models.description import describe, from_description
from prunejax.models.registry import MODELS, build
from prunejax.models.resizing import resized

__all__ = ["MODELS", "build", "describe", "from_description", "resized"]
