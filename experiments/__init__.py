"""Experiments: thin shells that parse a configuration, call the library and record results."""

import sys

from experiments.common import early

if sys.argv[:1] == ["-m"]:  # so Python says while it looks for the module of `python -m`
    early.begin()
