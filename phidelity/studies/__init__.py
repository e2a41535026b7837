"""Packaged studies: TOML files, whole, without inheritance; `pipeline/study.py` says what one is."""
