"""One loop, its objectives, optimiser, checkpoints and metrics."""
