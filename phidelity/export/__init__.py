"""What leaves the house: checkpoints in the layouts other tools read."""
