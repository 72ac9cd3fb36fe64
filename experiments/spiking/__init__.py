"""Spiking networks, pruned and regrown by criticality (Chen et al. 2025)."""
