"""Benchmarks as values, the response store, and scores with their errors."""
