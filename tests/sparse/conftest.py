"""What tests of compiled kernels need."""

import pytest

from prunejax.sparse import native


@pytest.fixture
def kernels():
    """Skips where the kernels cannot be compiled."""
    if not native.is_available():
        pytest.skip("no C++ compiler: the kernels of sparse layers are not here")
