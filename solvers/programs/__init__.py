"""Rows and columns: the reduced, the explicit and the masked program, and their check in NumPy."""
