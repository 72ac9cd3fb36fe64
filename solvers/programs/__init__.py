"""Rows and columns: the reduced, the explicit, the masked and the probed program, and a check."""
