"""Where untrusted programs run: isolation, messages, and the three processes."""
