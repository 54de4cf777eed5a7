"""What a step costs: mtopt, JAX and PyTorch without it, and TorchJD, side by side."""
