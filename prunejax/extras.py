"""Optional packages: which extra of prunejax brings one that is missing."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

EXTRAS: dict[str, str] = {
    "flax": "models",
    "array_record": "data",
    "PIL": "data",
    "sklearn": "data",
    "tensorflow_datasets": "data",
    "highspy": "highs",
    "pyscipopt": "solvers",
    "threadpoolctl": "solvers",
    "networkx": "topology",
    "numba": "topology",
    "nir": "nir",
    "matplotlib": "experiments",
    "polars": "experiments",
    "rich": "experiments",
    "tyro": "experiments",
    "dask": "dask",
    "distributed": "dask",
}
"""Package -> the extra of ``pyproject.toml`` that brings it."""

P = ParamSpec("P")
R = TypeVar("R")


def missing(error: ModuleNotFoundError, what: str) -> ModuleNotFoundError:
    """The same error, saying which extra brings the package; of other packages, the error itself.

    Args:
      error: of an import that failed.
      what: what needs the package: "prunejax.models".

    >>> print(missing(ModuleNotFoundError(name="flax"), "prunejax.models"))
    prunejax.models needs flax: pip install 'prunejax[models]'
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return error
    return ModuleNotFoundError(
        f"{what} needs {package}: pip install 'prunejax[{EXTRAS[package]}]'", name=error.name
    )


def hinted(function: Callable[P, R]) -> Callable[P, R]:
    """Wraps a function that imports optional packages: it says how to get one that is missing."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            raise missing(error, function.__name__.strip("_")) from None

    return wrapped
