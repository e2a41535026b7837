"""The network of phi-4: its configuration, its layers and its two seams to the outside."""
