"""Slow, obvious versions of what the library does, and networks to try it on."""
