"""A network as a solver sees it: its layers, the chain of steps that they are, bounds on these."""
