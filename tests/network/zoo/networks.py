"""All networks of the list by name."""

from tests.network.zoo import convolutional, language, operations

MODULES = (convolutional, operations, language)

NETWORKS = {entry.name: entry for module in MODULES for entry in module.ENTRIES}
