"""Pruning at initialisation: methods compared under one protocol."""
