"""Mixed-integer programs about networks, on NumPy arrays: imports neither jax nor prunejax.

``critical_neurons.solve(problem.Problem(layers, inputs, labels))`` scores the neurons of a network
that ``layers`` describe. These modules are the front: ``critical_neurons``, ``problem``,
``layers``, ``settings``, ``solution``, ``export``.
"""
