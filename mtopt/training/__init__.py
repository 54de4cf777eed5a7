"""Training runs: programs over seeds, the loop, checkpoints, metric files."""
