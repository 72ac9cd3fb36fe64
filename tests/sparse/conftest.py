"""What tests of compiled kernels need, and what users see without checks of types."""

import jaxtyping
import pytest

from prunejax.sparse import native


@pytest.fixture
def kernels():
    """Skips where the kernels cannot be compiled."""
    if not native.is_available():
        pytest.skip("no C++ compiler: the kernels of sparse layers are not here")


@pytest.fixture
def without_type_checks():
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
