"""Ctrl-C before a study has begun: while modules load, which takes seconds.

Python raises KeyboardInterrupt wherever it is. What is raised while a module loads may be caught,
or lost, by code that does not expect it. Here the process ends at once, with one line.
"""

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130
"""The exit status after Ctrl-C."""


def _stop(number: int, frame: Any) -> None:
    del number, frame
    sys.stderr.write("\nstopped before anything began\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def begin() -> None:
    """From now on Ctrl-C ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _stop)
        except ValueError:  # not the main thread, which alone hears signals
            return


def end() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt, as usual."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
