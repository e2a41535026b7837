"""Procedural, verifiable problems: item = f(family, seed, index)."""
