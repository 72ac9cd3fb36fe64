"""Signatures are checked at run time in tests: jaxtyping's shapes by beartype."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("prunejax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _strict_promotion():
    """Mixing dtypes by accident is an error in the library's own code."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Compiled programs pile up to gigabytes; those of a module are of little use to the next."""
    yield
    jax.clear_caches()


@pytest.fixture
def optax_mixes_dtypes(_strict_promotion):
    """For tests that run optax's own code, which is not strict."""
    with jax.numpy_dtype_promotion("standard"):
        yield
