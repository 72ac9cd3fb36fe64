"""Networks from the papers, as Flax linen modules.

Every model is called as ``model.apply(variables, x, train=...)`` on images, (batch, height, width,
channels), and gives float32 logits, (batch, classes). Every number of channels or units that
pruning can change is a field, so that a physically smaller network is the same class with smaller
numbers: ``resized`` makes it.
"""

from prunejax import extras

try:
    from prunejax.models.description import describe, from_description
    from prunejax.models.registry import MODELS, build
    from prunejax.models.resizing import resized
except ModuleNotFoundError as error:
    raise extras.missing(error, __name__) from error

__all__ = ["MODELS", "build", "describe", "from_description", "resized"]
