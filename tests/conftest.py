"""Signatures are checked at run time in tests: jaxtyping's shapes by beartype."""

import ctypes
import gc
import os
import signal
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the tests' time is compiling: what one process has compiled, all others read.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# A shell that starts the tests in the background has its children ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("prunejax", "beartype.beartype")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

from tests.support import long_tests  # noqa: E402

# The first example of a test compiles, and a busy machine is slow: time says nothing here.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of some seconds are left to `make test-slow`."""
    named = long_tests.names()
    for item in items:
        if item.nodeid in named:
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def _strict_promotion():
    """Mixing dtypes by accident is an error in the library's own code."""
    with jax.numpy_dtype_promotion("strict"):
        yield


MOST = 1100e6
"""Bytes of memory from which on a test process forgets what it has compiled."""


GROWTH = 300e6
"""Bytes by which it must have grown since it forgot the last time: not all memory is programs."""


@pytest.fixture(autouse=True)
def _forget_compiled_programs():
    """Compiled programs pile up to gigabytes; from disk they come back soon."""
    yield
    if _memory() > max(MOST, _left + GROWTH):
        _forget()


_left = 0.0
"""Bytes that were left when the process forgot the last time."""


def _forget():
    global _left
    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # glibc keeps what was freed
    _left = _memory()


def _memory():
    """Bytes that this process holds now, where the system says so."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return float("inf")
    return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def without_type_checks():
    """What a user sees, for whom the library speaks: the checks above would speak first."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def optax_mixes_dtypes(_strict_promotion):
    """For tests that run optax's own code, which is not strict."""
    with jax.numpy_dtype_promotion("standard"):
        yield
