"""All networks of the list by name."""

from tests.network.zoo import (
    convolutional,
    experts,
    generative,
    graphs,
    language,
    operations,
    recurrent,
    sequences,
    vision,
)

MODULES = (
    convolutional,
    operations,
    language,
    vision,
    experts,
    recurrent,
    sequences,
    graphs,
    generative,
)

NETWORKS = {entry.name: entry for module in MODULES for entry in module.ENTRIES}
