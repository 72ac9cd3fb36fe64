"""Sparse training that rewires itself, and how robust its networks are (Sulyok et al. 2026)."""
