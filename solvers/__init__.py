"""Mixed-integer programs about networks, on NumPy arrays: imports neither jax nor prunejax.

``critical_neurons.solve(critical_neurons.Problem(layers, inputs, labels))`` scores the neurons of a
network described by ``layers``.
"""
