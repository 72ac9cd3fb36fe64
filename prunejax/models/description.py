"""A model as plain data, for JSON files."""

import dataclasses
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from prunejax import names
from prunejax.models.checks import check_fields
from prunejax.models.registry import CLASSES, LINEN_FIELDS
from prunejax.neurons import SURROGATES, Surrogate


def describe(module: nn.Module) -> dict[str, Any]:
    """A model's class and fields, as JSON can hold them.

    >>> from prunejax.models import build
    >>> describe(build("mlp", num_classes=10))
    {'class': 'MLP', 'fields': {'num_classes': 10, 'hidden_widths': [256, 128], 'dtype': None}}

    Args:
      module: a model of this package.

    Returns:
      The name of the class and all fields: tuples as lists, ``dtype`` by its name.

    Raises:
      ValueError: the module's class is not of this package, or a field's value has no name.
    """
    model = type(module).__name__
    if type(module) not in CLASSES.values():
        raise ValueError(f"{model} is none of {', '.join(CLASSES)}, which alone can be described")
    fields = {name: _plain(getattr(module, name)) for name in _fields(type(module))}
    if fields["dtype"] is not None:
        fields["dtype"] = jnp.dtype(fields["dtype"]).name
    return {"class": model, "fields": fields}


def from_description(description: Mapping[str, Any]) -> nn.Module:
    """Builds the model that ``describe`` described.

    Args:
      description: ``{"class": name, "fields": {...}}``; a field that is left out has its default.

    Returns:
      A module equal to the described one. A ``dtype`` is ``jnp.float32`` and the like; those equal
      NumPy's types, but not their names, if the described module holds such a string.

    Raises:
      ValueError: the description has other keys, there is no such class or field, or the
        model refuses a field's value.
    """
    if set(description) != {"class", "fields"}:
        raise ValueError(
            f"a description has the keys class and fields, got {', '.join(map(str, description))}"
        )
    model = names.choose("class of model", description["class"], CLASSES)
    if not isinstance(description["fields"], Mapping):
        raise ValueError(f"the fields must be a mapping, got {description['fields']!r}")
    check_fields(model, description["fields"], _fields(CLASSES[model]))
    fields = {name: _hashable(value) for name, value in description["fields"].items()}
    if fields.get("dtype") is not None:
        fields["dtype"] = _dtype(fields["dtype"])
    return CLASSES[model](**fields)


def _fields(model: type[nn.Module]) -> list[str]:
    fields = (field.name for field in dataclasses.fields(model))
    return [name for name in fields if name not in LINEN_FIELDS]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Surrogate):
        if value != SURROGATES.get(value.name):
            raise ValueError(
                f"the surrogate {value!r} cannot be described: its name alone stands for another "
                "shape or function"
            )
        return value.name
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _hashable(value: Any) -> Any:
    return tuple(_hashable(entry) for entry in value) if isinstance(value, list) else value


def _dtype(dtype_name: Any) -> Any:
    try:
        return getattr(jnp, jnp.dtype(dtype_name).name)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"no dtype is named {dtype_name!r}") from error
