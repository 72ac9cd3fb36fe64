"""The command ``prunejax``: ``prunejax compare ...`` is ``python -m experiments.compare ...``.

It finds the studies where they are installed, whatever the folders of the working directory are
called. Nothing heavy is imported before the study itself is.
"""

import importlib
import pkgutil
import sys

import experiments
from experiments.common import early
from prunejax import __version__, extras, names

HELP = ("-h", "--help", "help")


OF_ALL = ("report", "tables")
"""Commands that are about all studies."""


def studies() -> list[str]:
    """The names of all commands: each study's folder that has a ``__main__``, and two more."""
    found = [module.name for module in pkgutil.iter_modules(experiments.__path__) if module.ispkg]
    return [*sorted({*found} - {"common"}), *OF_ALL]


def main(arguments: list[str] | None = None) -> int:
    """Runs the study that is named first; the rest is its command line.

    Args:
      arguments: by default those of the process.

    Returns:
      The exit status, where the study does not end the process itself.
    """
    early.begin()
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        print(extras.missing(error, "this command"), file=sys.stderr)
        return 1
    finally:
        early.end()


def _main(given: list[str]) -> int:
    if not given or given[0] in HELP:
        return importlib.import_module("experiments.__main__").main()
    name, *rest = given
    if name in ("-V", "--version"):
        print(f"prunejax {__version__}")
        return 0
    if name not in studies():
        near = names.suggestion(name, studies())
        print(f"prunejax has no {name!r}; there are {', '.join(studies())}{near}", file=sys.stderr)
        return 2
    sys.argv[1:] = rest
    module = name if name in OF_ALL else f"{name}.__main__"
    importlib.import_module(f"experiments.{module}").start()
    return 0
