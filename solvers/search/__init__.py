"""Ways to a solution: cutting planes, local search, processes, and how Ctrl-C ends them."""
