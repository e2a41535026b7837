"""The main path: every stage of the road in order, and the run that strings them together."""
