"""Packaged recipes, one TOML file each."""
