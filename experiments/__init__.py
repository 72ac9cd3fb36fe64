"""Experiments: thin shells that parse a configuration, call the library and record results."""
