"""The same model with fewer channels."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from prunejax.models.registry import CLASSES


def resized(module: nn.Module, kept: Mapping[str, Sequence[np.ndarray]]) -> nn.Module:
    """The same model with the channels that are left.

    With a plan of which channels stay (``prunejax.network``), the module is an ordinary one for the
    sliced variables, to be trained on, saved by ``describe`` or sliced again:
    ``resized(model, plan.by_leaf()).apply(plan.slice(variables), x)`` equals
    ``plan.apply_fn(plan.slice(variables), x)``, and that the masked network.

    The equality rests on batch normalisation, the only one of this zoo, which looks at each channel
    alone. A module with LayerNorm or GroupNorm that is built again with fewer features divides by
    their new number, and so computes something else than the masked network, in which the removed
    channels go on counting.

    >>> from prunejax.models import build
    >>> stays = np.array([True, False, True])
    >>> kept = {
    ...     "params/hidden1/kernel": [np.ones(784, bool), stays],
    ...     "params/hidden1/bias": [stays],
    ...     "params/classifier/kernel": [stays, np.ones(10, bool)],
    ... }
    >>> resized(build("mlp", num_classes=10, hidden_widths=(3,)), kept).hidden_widths
    (2,)

    Args:
      module: a model of this package.
      kept: for the path of each leaf that loses channels, "params/conv1/kernel" or
        "conv1/kernel", and for each axis of the leaf, which indices stay, a bool array; what
        ``Plan.by_leaf()`` returns.

    Returns:
      The smaller module; its variables have the shapes that ``kept`` leaves.

    Raises:
      ValueError: the module's class is not of this package, or its layers hold only their links, a
        path does not belong to the module, an array does not fit the module's widths, nothing of a
        layer stays, or the class cannot have the widths that are left.
    """
    if type(module) not in CLASSES.values():
        raise ValueError(
            f"{type(module).__name__} is none of {', '.join(CLASSES)}, and how another module is "
            "built with fewer features is not known here; Plan.apply_fn runs any sliced network"
        )
    if not kept:
        return module
    if not hasattr(module, "width_fields"):
        raise ValueError(
            f"channels of {type(module).__name__} cannot be cut out, because its layers hold only "
            "their links; sparse.to_dense gives an MLP's parameters and masks, and that can be cut"
        )
    shapes = _shapes(module)
    stays = {path: np.ones(shape[-1], bool) for path, shape in shapes.items()}
    for path, axes in kept.items():
        owner = path if path in shapes else f"params/{path}"
        if owner not in shapes:
            raise ValueError(
                f"{path!r} does not belong to this {type(module).__name__}, which has "
                f"{', '.join(list(shapes)[:6])}, ..."
            )
        stays[owner] = _last(path, axes, shapes[owner])
    model: Any = module
    fields = model.width_fields(lambda layer: stays[f"params/{layer}/kernel"])
    smaller = model.clone(**jax.tree.map(lambda counted: int(counted.sum()), fields))
    for path, shape in _shapes(smaller).items():
        if shape[-1] != stays[path].sum():
            raise ValueError(
                f"no {type(module).__name__} has the widths that are left: {stays[path].sum()} "
                f"channels of {path!r} stay, but {shape[-1]} follow from the other layers"
            )
    return smaller


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every leaf; the image decides over axes of inputs, never over the last axis."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
    leaves: Any = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), image), sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def _last(path: str, axes: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    if len(axes) != len(shape):
        raise ValueError(f"kept[{path!r}] must have {len(shape)} arrays, got {len(axes)}")
    last = np.asarray(axes[-1])
    if last.dtype != np.bool_ or last.shape != shape[-1:]:
        raise ValueError(
            f"the last of kept[{path!r}] must be a bool array of shape ({shape[-1]},), got "
            f"{last.dtype}{list(last.shape)}"
        )
    return last
