"""Batched, cached generation: the local implementation of a Completer."""
