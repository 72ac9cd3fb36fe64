"""The examples in docstrings, run as they stand."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import prunejax

MODULES = [
    module.name
    for module in pkgutil.walk_packages(prunejax.__path__, "prunejax.")
    if not module.ispkg or module.name.count(".") == 1
]


def examples(name):
    """The examples of a module's own functions and classes."""
    module = importlib.import_module(name)
    known = {"jax": jax, "jnp": jnp, "np": np}
    found = doctest.DocTestFinder().find(module, name, extraglobs=known)
    return [test for test in found if test.examples]


WITH_EXAMPLES = [name for name in MODULES if examples(name)]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
@jax.numpy_dtype_promotion("standard")
def test_examples_hold(name):
    for test in examples(name):
        outcome = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
        assert outcome.failed == 0, test.name


def test_there_are_examples():
    assert {"prunejax.masks", "prunejax.network.tracing", "prunejax.channels.ranking"} <= {
        *WITH_EXAMPLES
    }
