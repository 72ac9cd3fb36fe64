"""A network as a solver sees it: layers, the chain of steps they make, bounds on every step."""
