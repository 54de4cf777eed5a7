"""What methods remember between steps: learned numbers, means of an epoch's losses."""
