"""The only files that import a solver, each when it is first used.

A back end is a module with ``LinearProgram`` and ``solve_mip``; its name stands in
``solvers.settings.BACKENDS``.
"""
