"""Bad fields are refused by the models themselves, not only by the checks of types in tests."""

import jaxtyping
import pytest


@pytest.fixture
def without_type_checks():
    """What a user sees: tests/conftest.py's run-time checks of annotations would speak first."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
