"""Masked networks as graphs, and who ranks pruning methods best (Cunegatti et al. 2024)."""
