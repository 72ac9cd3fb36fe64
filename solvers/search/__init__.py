"""How solutions are found: cutting planes, local search, processes, and Ctrl-C."""
