"""Speed and memory, each file one benchmark against a peer of the same run."""
