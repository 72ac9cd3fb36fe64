"""The modes of ``solvers.critical_neurons.solve``, one file per mode."""
