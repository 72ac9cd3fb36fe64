"""Compiles the kernels of sparse layers: ``python -m prunejax.sparse.native``.

An installation calls it. Without it they are compiled when they are first used.
"""

import sys

from prunejax.sparse.native.building import UnavailableError, build


def main() -> int:
    """Compiles and says where; returns the process's exit status."""
    try:
        print(f"sparse layers: compiled kernels in {build()}")
    except UnavailableError as error:
        print(f"sparse layers go without compiled kernels, which costs speed only: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
