"""Experiments: thin shells that parse a configuration, call the library and record results."""

import sys
from types import TracebackType


def _in_one_line(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Ctrl-C while modules load is no fault, and needs no traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nstopped before anything began", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # so Python says while it looks for the module of `python -m`
    sys.excepthook = _in_one_line
