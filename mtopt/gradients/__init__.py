"""Per-task gradients as something that is asked for products, and last for arrays."""
