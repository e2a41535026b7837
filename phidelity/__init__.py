"""Phidelity: phi-4 as one open, end-to-end program, from raw documents to a model you can chat with."""
