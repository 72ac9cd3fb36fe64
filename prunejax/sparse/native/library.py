"""The compiled kernels as targets of JAX's foreign-function interface, loaded when first used."""

import ctypes
import functools
import logging

import jax

from prunejax.sparse.native.building import UnavailableError, build

TARGETS = ("prunejax_product", "prunejax_l3_scores")
"""The names of the handlers in kernels.cc, and of the targets."""

LOG = logging.getLogger("prunejax.sparse")


def load() -> None:
    """Compiles the kernels if they are not compiled yet, and registers them, once per process.

    Raises:
      UnavailableError: they are not here and cannot be made; the message says what to do.
    """
    if problem := _problem():
        raise UnavailableError(problem)


def is_available() -> bool:
    """Whether the kernels can be used; they are compiled for it if they are not yet."""
    return _problem() is None


@functools.cache
def log_absence() -> None:
    """Says once per process that the kernels are missing, and what that costs."""
    LOG.warning(
        "The compiled kernels of sparse layers are not here. That costs speed only: other back "
        "ends compute the same. %s. Then `python -m prunejax.sparse.native` compiles them",
        _problem(),
    )


@functools.cache
def _problem() -> str | None:
    """Why the kernels cannot be used, or None after they have been registered."""
    try:
        library = ctypes.CDLL(str(build()))
    except UnavailableError as error:
        return str(error)
    except OSError as error:
        return f"the compiled kernels cannot be loaded: {error}"
    for name in TARGETS:
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    return None
