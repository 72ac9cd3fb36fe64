"""Entropy-guided k-core filter pruning (Yang et al. 2025)."""
