"""Criteria from outside the repository: a file, or a module that is installed, and a name in it."""

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from prunejax import names
from prunejax.criteria import Criterion, Score


def is_plugin(name: str) -> bool:
    """Whether a method's name is one of these: "mine.py:score", "package.module:score"."""
    return ":" in name


@functools.cache
def load(name: str) -> Criterion | Score:
    """The criterion that a name stands for.

    Args:
      name: "path/to/file.py:score" or "package.module:score"; what it names is a function
        ``(params, masks, batch, *, loss_fn, key) -> scores`` or a ``criteria.Criterion``.

    Returns:
      The criterion; the same object each time, so that what is compiled for it is used again.

    Raises:
      ValueError: there is no such file, module or name, or it is no function; a fault of the file
        itself is said with its line.
    """
    place, _, attribute = name.rpartition(":")
    try:
        of_file = place.endswith(".py")
        module = _from_file(Path(place)) if of_file else importlib.import_module(place)
    except (Exception, SystemExit) as error:  # whatever the file does
        what = f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"the method {name!r} cannot be loaded: {what}") from error
    found = getattr(module, attribute, None)
    if found is None:
        near = names.suggestion(attribute, vars(module))
        raise ValueError(f"{place} has no {attribute!r}{near}")
    if not callable(found):
        raise ValueError(
            f"the method {name!r} must be a function (params, masks, batch, *, loss_fn, key) -> "
            f"scores, or a criteria.Criterion; it is {type(found).__name__}"
        )
    return found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    called = f"prunejax_plugin_{abs(hash(path.resolve()))}_{path.stem}"
    spec = importlib.util.spec_from_file_location(called, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[called] = module  # its source is found by it, of which records keep a digest
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[called]
        raise
    return module
