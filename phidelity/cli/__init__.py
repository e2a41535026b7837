"""The `phi` command, a file for each kind of asking; `main` puts them together."""
