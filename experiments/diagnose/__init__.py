"""Whether balancing the tasks is worth its cost, from the conflict that they have."""
