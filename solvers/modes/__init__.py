"""The modes of ``solvers.critical_neurons.solve``: a file each."""
