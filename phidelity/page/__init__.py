"""What every page that we make has in common: escaping, style, layout and figures (over jinja2)."""
