"""Mixed-integer programs about networks, on NumPy arrays: imports neither jax nor prunejax.

The programs themselves (bounds, formulation, critical neurons) come with their own issue; this
package exists so that the import contracts already hold it.
"""
