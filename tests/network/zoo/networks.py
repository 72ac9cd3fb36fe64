"""All networks of the list by name."""

from tests.network.zoo import (
    convolutional,
    experts,
    generative,
    graphs,
    language,
    operations,
    packages_keras,
    packages_other,
    recurrent,
    sequences,
    vision,
)

MODULES = (
    convolutional,
    operations,
    packages_keras,
    packages_other,
    language,
    vision,
    experts,
    recurrent,
    sequences,
    graphs,
    generative,
)

NETWORKS = {entry.name: entry for module in MODULES for entry in module.ENTRIES}
